"""Where the server writes what went wrong."""

from __future__ import annotations

import logging
import sys
from typing import Any, Protocol

import structlog


class Log(Protocol):
    """Takes failures of the app, and of the server itself; structlog's loggers fit."""

    def exception(self, event: str, **fields: Any) -> Any:
        """Write the exception that is being handled, with its traceback."""


def plain_log() -> Log:
    """Return a log to standard error: tracebacks without the values of variables, which may be secrets."""
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer(key_order=["event"])],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
    return log
