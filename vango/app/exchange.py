"""One HTTP exchange: what the edge knows about a request, from its first header to its log line."""

from __future__ import annotations

import ipaddress
import re
import secrets
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from vango.app.server.wire import CLIENT
from vango.types.call import Credential, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vango.app.server.exchange import Exchange as Client
    from vango.types.call import Caller

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_BEARER = re.compile(rb"bearer +(\S+)\s*", re.IGNORECASE)
_PROVIDER_KEY = b"x-provider-key-"

RawHeaders = list[tuple[bytes, bytes]]


class Exchange:
    """State of one request. Times are trio's; `path` is the route's template, never what the caller wrote.

    `status` is 0 until an answer begins; `finished` says that the whole answer has been handed to the server.
    `content` is what was asked and answered, kept only where the operator wants it in the log.
    `client` is the server's own side of the exchange, where the server shows it.
    """

    def __init__(self, scope: Mapping[str, Any], began: float, trusted: Sequence[Network] = ()) -> None:
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.raw_headers: RawHeaders = scope["headers"]
        self.began = began
        self.path = "unmatched"
        self.address = client_address(scope, self.raw_headers, trusted)
        given = self.headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else new_request_id()
        self.caller: Caller | None = None
        self.outcome = Outcome()
        self.status = 0
        self.finished = False
        self.overhead: float | None = None
        self.error_type: str | None = None
        self.content: dict[str, Any] | None = None
        self.client: Client | None = scope.get("extensions", {}).get(CLIENT)

    @property
    def id_headers(self) -> RawHeaders:
        """The request id as headers."""
        return id_headers(self.request_id)

    def credentials(self) -> list[Credential]:
        """Return the keys that the caller showed: some clients send a leftover one beside the one they mean."""
        shown: list[Credential] = []
        if key := self.headers.get(b"x-api-key", b"").strip():
            shown.append(Credential(SecretStr(key.decode("latin-1"))))
        if match := _BEARER.fullmatch(self.headers.get(b"authorization", b"")):
            shown.append(Credential(SecretStr(match[1].decode("latin-1")), bearer=True))
        return shown

    def provider_keys(self) -> dict[str, SecretStr]:
        """Return the provider keys that came as headers, by provider name in lower case."""
        return {
            name.removeprefix(_PROVIDER_KEY).decode("latin-1"): SecretStr(value.strip().decode("latin-1"))
            for name, value in self.raw_headers
            if name.startswith(_PROVIDER_KEY)
        }

    def provider_headers(self) -> dict[str, str]:
        """Return the headers that go on to the provider; a repeated `anthropic-beta` is one list."""
        out: dict[str, str] = {}
        for name, value in self.raw_headers:
            if name in (b"anthropic-beta", b"anthropic-version") and value.isascii():
                key, text = name.decode(), value.decode()
                out[key] = f"{out[key]},{text}" if key in out and name == b"anthropic-beta" else text
        return out

    @property
    def strict(self) -> bool:
        """Whether the caller wants an error rather than a loss in translation."""
        return self.headers.get(b"x-vango-strict", b"").strip().lower() == b"true"


def new_request_id() -> str:
    """Return an id for a request whose caller gave none."""
    return f"req_{secrets.token_hex(12)}"


def id_headers(request_id: str) -> RawHeaders:
    """Return a request id under both of its names; the Anthropic SDKs read `request-id`."""
    value = request_id.encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def client_address(scope: Mapping[str, Any], headers: RawHeaders, trusted: Sequence[Network]) -> str:
    """Return the client's address: the peer's, or the nearest untrusted one in X-Forwarded-For where the peer is trusted."""
    peer = _plain((scope.get("client") or ("unknown",))[0])
    if not trusted or not _within(peer, trusted):
        return peer
    forwarded = [
        part.strip()
        for name, value in headers
        if name == b"x-forwarded-for"
        for part in value.decode("latin-1").split(",")
    ]
    for address in reversed(forwarded):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            break
        peer = _plain(address)
        if not _within(peer, trusted):
            break
    return peer


def _plain(address: str) -> str:
    """Write an IPv4 address that came mapped into IPv6 (`::ffff:192.0.2.1`, of a socket that takes both) as what it is."""
    if not address.lower().startswith("::ffff:"):
        return address
    try:
        return str(ipaddress.IPv6Address(address).ipv4_mapped or address)
    except ValueError:
        return address


def _within(address: str, networks: Sequence[Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks)
