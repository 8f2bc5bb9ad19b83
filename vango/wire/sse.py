"""Server-sent events: bytes to events, however the bytes were split, and events to bytes.

Follows the WHATWG parsing rules (LF, CRLF and CR; several data lines; comments; byte-order mark); an event whose closing blank
line never came is discarded. Frames that already have the shape Vango writes are cut out whole by one expression.
"""

from __future__ import annotations

import re

import msgspec

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Whole images travel inline in one event; beyond this an event is refused, never cut."""

PING_COMMENT = b": ping\n\n"
"""Keeps a connection alive before the first event; every client ignores comments."""

_WHOLE = re.compile(rb"event: ([^\r\n:]+)\ndata: [^\r\n]*\n\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Frame(msgspec.Struct, gc=False):
    """One event: its type and its bytes as they go to the client, always `event: …`, one line of `data: …`, a blank line."""

    type: str
    raw: bytes

    @property
    def data(self) -> bytes:
        """The event's data: one line of JSON."""
        return self.raw[self.raw.index(b"\ndata: ") + 7 : -2]


class EventTooLarge(ValueError):
    """One event outgrew the splitter's bound."""


def frame(type: str, data: bytes) -> Frame:
    """Write an event; `data` must be free of line breaks, as encoded JSON is."""
    return Frame(type, b"event: %b\ndata: %b\n\n" % (type.encode(), data))


class Splitter:
    """Cuts a stream of bytes into frames. `type` is "" where the sender named no event."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._event = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._in_lines = False
        self._skip_lf = False
        self._at_start = True
        self._types: dict[bytes, str] = {}

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes; raises EventTooLarge."""
        if not data:
            return []
        if self._at_start:
            data = self._without_bom(data)
        if self._held:
            if b"\n" not in data and b"\r" not in data:
                self._hold(data)  # joined when a line ends, so that a long line costs what it weighs
                return []
            self._held.append(data)
            data = b"".join(self._held)
            self._held.clear()
            self._held_bytes = 0
        frames: list[Frame] = []
        position, end, match = 0, len(data), _WHOLE.match
        while position < end:
            if not self._in_lines:
                whole = match(data, position)
                if whole is not None:
                    frames.append(Frame(self._type(whole[1]), whole[0]))
                    position = whole.end()
                    continue
                if _may_become_whole(data, position):
                    break
                self._in_lines = True
            taken = self._line(data, position, frames)
            if taken == position:
                break
            position = taken
        if position < end:
            self._hold(data[position:])
        return frames

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished event are held."""
        return bool(self._held or self._data or self._event)

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > self._max:
            raise EventTooLarge(f"one event of the stream is larger than {self._max} bytes")

    def _without_bom(self, data: bytes) -> bytes:
        start = b"".join(self._held) + data
        if len(start) < len(_BOM) and _BOM.startswith(start):
            return data
        self._at_start = False
        if start.startswith(_BOM):
            self._held.clear()
            return start[len(_BOM) :]
        return data

    def _line(self, data: bytes, position: int, frames: list[Frame]) -> int:
        """Take one line and return where the next begins: `position` itself where the line is not complete."""
        if self._skip_lf:
            self._skip_lf = False
            if data[position] == 0x0A:
                return position + 1
        end = _LINE_END.search(data, position)
        if end is None:
            return position
        line = data[position : end.start()]
        self._skip_lf = end[0] == b"\r" and end.end() == len(data)
        if line:
            self._field(line)
        else:
            self._dispatch(frames)
        return end.end()

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(line)
            if self._data_bytes > self._max:
                raise EventTooLarge(f"one event of the stream is larger than {self._max} bytes")
        elif name == b"event":
            self._event = value

    def _dispatch(self, frames: list[Frame]) -> None:
        name, lines = self._event, self._data
        self._event, self._data, self._data_bytes = b"", [], 0
        self._in_lines = self._skip_lf  # the second half of a CRLF may still come
        if lines:
            # Line breaks inside JSON are white space only, so one line says the same.
            frames.append(frame(self._type(name), b" ".join(lines)))

    def _type(self, name: bytes) -> str:
        known = self._types.get(name)
        if known is None:
            known = name.decode(errors="replace")
            if len(self._types) < 64:  # the sender chooses the names, so what is remembered is bounded
                self._types[name] = known
        return known


def _may_become_whole(data: bytes, position: int) -> bool:
    """Whether what is left is the beginning of one well-formed frame, so that it need not be taken apart yet.

    Such a frame has two lines. What has more is taken line by line: held as a whole, it would be joined again with every line.
    """
    return data.count(b"\n", position) <= 2 and data.find(b"\n\n", position) < 0 and data.find(b"\r", position) < 0
