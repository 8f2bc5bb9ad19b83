"""Vango: one API for every model provider, on Trio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vango.config import Settings
from vango.errors import VangoError as Error

if TYPE_CHECKING:
    from vango.app.serve import serve

__all__ = ["Error", "Settings", "serve"]


def __getattr__(name: str) -> Any:
    # The server's libraries load for those who serve, not for everyone who imports Vango.
    if name == "serve":
        from vango.app.serve import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
