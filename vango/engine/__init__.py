"""Requests to upstream calls, and upstream bytes to events: resolve, encode, open, decode; retries and deadlines."""

from __future__ import annotations

from vango.engine.calls import Deadlines
from vango.engine.engine import Engine
from vango.engine.retry import RetryPolicy
from vango.engine.routes import Provider, Route, Routes
from vango.engine.stream import Stream

__all__ = ["Deadlines", "Engine", "Provider", "RetryPolicy", "Route", "Routes", "Stream"]
