"""HTTP/1.1 as bytes, without I/O: the head of a request, and the meaning of what comes back.

llhttp does the parsing and is strict about framing (both lengths at once, folded headers, odd chunk sizes); added here
are the bounds it does not have and the answers it lets through that a client must not take.
"""

from __future__ import annotations

import re
from typing import NoReturn

import httptools

from vango.errors import TransportError
from vango.wire.call import HttpCall, ReplyHead

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 256
MAX_INFORMATIONAL = 8

MAX_BARREN_BYTES = 2 * MAX_HEAD_BYTES
"""Bound of bytes in a row that bring neither head nor body: unfinished headers, trailers, chunk extensions."""

_TARGET = re.compile(r"/[!-~]*")
_AUTHORITY = re.compile(r"[-.:%_\[\]0-9A-Za-z]+")
_NAMES = re.compile(r"[-!#$%&'*+.^_`|~0-9a-z]+")
_VALUES = re.compile(r"[\t -~\x80-\xff]*")
# The link frames the request itself; a second word on it from the call would be request smuggling.
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_METHODS = _METHODS_WITH_BODY | {"GET", "HEAD", "DELETE", "OPTIONS"}


def encode_head(call: HttpCall) -> bytes:
    """Return request line and headers, with `host` and `content-length` added.

    Raises ValueError where the call holds what HTTP cannot carry; the sentence names the header, never its value.
    """
    authority = call.origin.authority
    if call.method not in _METHODS:
        raise ValueError(f"expected one of the methods {', '.join(sorted(_METHODS))}")
    if not _TARGET.fullmatch(call.target):
        raise ValueError("expected a target of printable ASCII that begins with a slash")
    if not _AUTHORITY.fullmatch(authority):
        raise ValueError("expected a host of printable ASCII (an international name in its xn-- form)")
    names = [name for name, _ in call.headers]
    # One match over all of them joined costs a tenth of one match each; which one it was matters only when it fails.
    if not (all(names) and _NAMES.fullmatch("x".join(names) or "x")):
        raise ValueError("expected header names of lower-case letters, digits and dashes")
    if not _FRAMING.isdisjoint(names):
        raise ValueError(f"expected no header that frames the request, got {', '.join(_FRAMING.intersection(names))}")
    if not _VALUES.fullmatch("".join([value for _, value in call.headers])):
        bad = next(name for name, value in call.headers if not _VALUES.fullmatch(value))
        raise ValueError(f"the value of the header {bad!r} has a character that HTTP does not allow")
    length = ""
    if call.body or call.method in _METHODS_WITH_BODY:
        length = f"content-length: {len(call.body)}\r\n"
    lines = "".join([f"{name}: {value}\r\n" for name, value in call.headers])
    return f"{call.method} {call.target} HTTP/1.1\r\nhost: {authority}\r\n{lines}{length}\r\n".encode("latin-1")


class ResponseParser:
    """Reads one answer from bytes in any pieces.

    `head` is there once the final head has come, `pieces` holds body not yet taken, `is_complete` says that nothing
    more belongs to this answer, and `keep_alive` that the connection may carry another.
    What came before a fault stays readable: `fault` is for whoever wants more.
    """

    __slots__ = (
        "_barren_bytes",
        "_head_bytes",
        "_header_count",
        "_headers",
        "_informational",
        "_is_head_request",
        "_parser",
        "_refusal",
        "_until_eof",
        "fault",
        "has_begun",
        "head",
        "is_complete",
        "keep_alive",
        "on_body",
        "pieces",
    )

    def __init__(self, method: str) -> None:
        self.head: ReplyHead | None = None
        self.pieces: list[bytes] = []
        self.is_complete = False
        self.keep_alive = False
        self.has_begun = False
        self.fault: TransportError | None = None
        # llhttp calls this for every chunk: the list's own method spares a Python frame.
        self.on_body = self.pieces.append
        self._is_head_request = method == "HEAD"
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._header_count = 0
        self._informational = 0
        self._barren_bytes = 0
        self._until_eof = False
        self._refusal = ""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Parse what arrived. Bytes after the end of the answer only make the connection unfit for another."""
        self.has_begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if self.is_complete:
                self.keep_alive = False
            else:
                self._fail(self._refusal or f"The provider's answer is not valid HTTP/1.1: {exc}.", exc)
        if self._is_head_request:
            self.pieces.clear()
        self._barren_bytes = 0 if self.pieces else self._barren_bytes + len(data)
        if self._barren_bytes > MAX_BARREN_BYTES and not self.is_complete and self.fault is None:
            self._fail("The provider's answer has no end of headers.", None)

    def feed_eof(self) -> None:
        """Take note that no more will come, which ends an answer without a length and breaks any other."""
        if self.is_complete:
            return
        if self._until_eof:
            self.is_complete = True
        else:
            self._fail("The provider ended its answer early.", None)

    def take(self) -> bytes:
        """Return the body that has come since the last time, joined."""
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    def release(self) -> None:
        """Let go of llhttp's parser, which holds this object in turn: no call leaves a cycle for the collector."""
        del self._parser

    def _fail(self, sentence: str, cause: Exception | None) -> None:
        self.fault = TransportError(sentence)
        self.fault.__cause__ = cause

    def _refuse(self, sentence: str) -> NoReturn:
        self._refusal = sentence
        raise ValueError(sentence)  # stops llhttp, which reports only that a callback failed

    def on_message_begin(self) -> None:
        if self.is_complete:
            self._refuse("The provider sent more than its answer.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        self._header_count += 1
        if self._head_bytes > MAX_HEAD_BYTES or self._header_count > MAX_HEADERS:
            self._refuse("The provider's answer has more headers than are allowed.")
        if self.head is not None:
            return  # a trailer
        key, text = name.decode("latin-1").lower(), value.rstrip(b" \t").decode("latin-1")
        before = self._headers.get(key)
        self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        status, headers = self._parser.get_status_code(), self._headers
        if self._parser.get_http_version() not in ("1.1", "1.0") or status < 100:
            self._refuse("The provider's answer is not HTTP/1.1.")
        if status < 200:
            self._informational += 1
            if status == 101:
                self._refuse("The provider switched protocols, which was not asked for.")
            if self._informational > MAX_INFORMATIONAL:
                self._refuse("The provider sent informational answers without end.")
            self._headers = {}
            return
        coding = headers.get("transfer-encoding")
        # Only chunked is offered by saying nothing; llhttp would pass compressed bytes on as if they were the body.
        if coding is not None and coding.lower() != "chunked":
            self._refuse("The provider's answer has a transfer coding that was not asked for.")
        self._until_eof = coding is None and "content-length" not in headers
        self.head = ReplyHead(status, headers)
        # llhttp cannot be told that this answer has no body whatever its length says, so the connection ends with it.
        self.is_complete = self._is_head_request

    def on_message_complete(self) -> None:
        if self.head is not None and not self.is_complete:
            self.is_complete = True
            self.keep_alive = self._parser.should_keep_alive()
