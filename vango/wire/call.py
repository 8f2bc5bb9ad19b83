"""A call as a value: what a codec returns and a transport sends."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Where a connection goes. `scheme` picks the transport (`http`, `https`, `sandbox`)."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the Host header: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"


class BaseUrl(NamedTuple):
    """A provider's address, parsed once: its origin and the path that every call's path is appended to."""

    origin: Origin
    prefix: str

    @classmethod
    def parse(cls, url: str) -> BaseUrl:
        """Parse `https://host[:port][/prefix]`; raises ValueError with a sentence that says what is wrong."""
        parts = urlsplit(url)
        if parts.scheme not in {*DEFAULT_PORTS, "sandbox"} or not parts.hostname:
            raise ValueError(f"expected a URL like https://host/path, got {parts.scheme or 'no scheme'!r}")
        if parts.username or parts.query or parts.fragment:
            raise ValueError("expected a URL without user, query or fragment")
        origin = Origin(parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme, 0))
        return cls(origin, parts.path.rstrip("/"))


class HttpCall(msgspec.Struct, frozen=True):
    """One HTTP request to a provider.

    `target` is path and query; header names are lower case.
    Headers and body stay out of the repr: they hold keys and prompts.
    """

    origin: Origin
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpCall({self.method} {self.origin.scheme}://{self.origin.authority}{self.target})"


class ReplyHead(NamedTuple):
    """Status and headers of a reply; names are lower case, values of a repeated name are joined by a comma."""

    status: int
    headers: dict[str, str]
