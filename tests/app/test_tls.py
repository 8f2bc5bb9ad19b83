from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from tests.support.server import HELLO, running
from vango.errors import ConfigError


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def settings(authority: trustme.CA, folder: Path, **server: object) -> dict[str, object]:
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    files = {"enabled": True, "cert_file": str(folder / "chain.pem"), "key_file": str(folder / "key.pem")}
    return {"server": {"tls": files, **server}}


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_messages_and_streams_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    async with running(settings(authority, tmp_path)) as server:
        assert server.url.startswith("https://")
        async with httpx.AsyncClient(base_url=server.url, verify=trusting(authority), trust_env=False) as http:
            whole = await http.post("/v1/messages", json=HELLO)
            streamed = await http.post("/v1/messages", json={**HELLO, "stream": True})
            health = await http.get("/health")

    assert whole.status_code == streamed.status_code == health.status_code == 200
    assert streamed.text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


async def test_http_2_is_spoken_only_where_it_is_configured(authority: trustme.CA, tmp_path: Path) -> None:
    for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
        async with (
            running(settings(authority, tmp_path, http2=http2)) as server,
            httpx.AsyncClient(base_url=server.url, verify=trusting(authority), http2=True, trust_env=False) as http,
        ):
            whole = await http.post("/v1/messages", json=HELLO)
            streamed = await http.post("/v1/messages", json={**HELLO, "stream": True})

        assert whole.http_version == version
        assert whole.status_code == 200
        assert streamed.text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


async def test_a_certificate_that_is_none_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    given = settings(authority, tmp_path)
    (tmp_path / "chain.pem").write_text("not a certificate")

    with pytest.raises(ExceptionGroup) as caught:
        async with running(given):
            pass

    assert caught.group_contains(ConfigError, match="server.tls")
