"""Cross-origin requests: nothing unless origins are configured, and then for those alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.server import HELLO, Running, running

APP = "https://app.example.com"
CONFIGURED = {"server": {"cors_origins": [APP, "http://localhost:3000"]}}
ASK = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-api-key,anthropic-version",
}
EXPOSED = {
    *("x-request-id", "request-id", "x-model", "x-input-tokens", "x-output-tokens", "x-duration-ms", "x-cost-usd"),
    *("x-vango-loss", "x-provider-request-id", "retry-after"),
}


def cross(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


async def everything(server: Running, headers: dict[str, str]) -> list[Any]:
    """Return an answer of each kind: from both sorts of endpoint, and refusals."""
    return [
        await server.http.get("/health", headers=headers),
        await server.http.get("/nope", headers=headers),
        await server.http.get("/v1/messages", headers=headers),
        await server.post(headers=headers),
        await server.post({**HELLO, "stream": True}, headers=headers),
        await server.post({}, headers=headers),
        await server.http.options("/v1/messages", headers={**headers, **ASK}),
    ]


async def test_without_configured_origins_there_are_no_such_headers() -> None:
    async with running() as server:
        for reply in await everything(server, {"origin": APP}):
            assert cross(reply.headers) == {}
            assert "vary" not in reply.headers
        preflight = await server.http.options("/v1/messages", headers={"origin": APP, **ASK})
        assert preflight.status_code == 405


@pytest.mark.parametrize("origin", [APP, "http://localhost:3000"])
async def test_a_configured_origin_may_read_every_answer(origin: str) -> None:
    async with running(CONFIGURED) as server:
        for reply in await everything(server, {"origin": origin}):
            assert reply.headers["access-control-allow-origin"] == origin
            assert reply.headers["vary"] == "origin"
            assert set(reply.headers["access-control-expose-headers"].split(", ")) == EXPOSED
            # Keys travel in headers that the page sets itself; the browser's own credentials have no business here.
            assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize(
    "origin",
    [
        *(
            None,
            "",
            "null",
            "https://evil.example.com",
            "http://app.example.com",
            f"{APP}:444",
            f"{APP}.evil.com",
            f"{APP}/",
        ),
        *(APP.upper(), f"{APP}, {APP}", "*", "\u00e9"),
    ],
)
async def test_others_may_not_and_caches_are_told_of_the_difference(origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin.encode("latin-1")}
    async with running(CONFIGURED) as server:
        for reply in await everything(server, headers):  # type: ignore[arg-type]
            assert cross(reply.headers) == {}
            assert reply.headers["vary"] == "origin"
        preflight = await server.http.options("/v1/messages", headers={**headers, **ASK})  # type: ignore[dict-item]
        assert preflight.status_code == 405


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/health", "/nope"])
async def test_a_preflight_is_answered_before_any_key_is_asked_for(path: str) -> None:
    keys = {"auth": {"mode": "api_key", "api_keys": [{"key": "vango_sk_1"}]}}
    async with running({**CONFIGURED, **keys}) as server:
        reply = await server.http.options(path, headers={"origin": APP, **ASK})
        refused = await server.post(headers={"origin": APP})

    assert (reply.status_code, reply.content) == (204, b"")
    assert cross(reply.headers) == {
        "access-control-allow-origin": APP,
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": ASK["access-control-request-headers"],
        "access-control-max-age": "600",
        "access-control-expose-headers": reply.headers["access-control-expose-headers"],
    }
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == APP


async def test_options_without_a_question_is_no_preflight() -> None:
    async with running(CONFIGURED) as server:
        reply = await server.http.options("/v1/messages", headers={"origin": APP})

    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.headers["access-control-allow-origin"] == APP


async def test_a_star_lets_every_origin_read() -> None:
    async with running({"server": {"cors_origins": ["*"]}}) as server:
        for origin in (APP, "null", "https://anything.example"):
            reply = await server.post(headers={"origin": origin})
            assert reply.headers["access-control-allow-origin"] == origin
        assert cross((await server.post()).headers) == {}
