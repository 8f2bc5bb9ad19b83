"""Vango: one API for every model provider, on Trio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vango.errors import VangoError as Error

if TYPE_CHECKING:
    from vango.app.serve import serve
    from vango.config import Settings

__all__ = ["Error", "Settings", "serve"]


def __getattr__(name: str) -> Any:
    # What is heavy loads for those who use it, not for everyone who imports Vango.
    if name == "serve":
        from vango.app.serve import serve

        return serve
    if name == "Settings":
        from vango.config import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
