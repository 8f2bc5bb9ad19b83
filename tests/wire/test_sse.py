from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.split import every_way
from vango.wire.sse import EventTooLarge, Splitter, frame


def events(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    splitter = Splitter()
    return [(f.type, f.data) for piece in pieces for f in splitter.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b'event: a\ndata: {"x":1}\n\n', [("a", b'{"x":1}')]),
        (b'event: a\r\ndata: {"x":1}\r\n\r\n', [("a", b'{"x":1}')]),
        (b"event: a\rdata: 1\r\rdata: 2\r\r", [("a", b"1"), ("", b"2")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("", b"1")]),
        (b"data:1\ndata: 2\n\n", [("", b"1 2")]),
        (b": comment\n\nevent: ping\ndata: {}\n\n", [("ping", b"{}")]),
        (b": comment\nid: 7\nretry: 10\nevent: a\ndata: {}\n\n", [("a", b"{}")]),
        (b"event: only-a-name\n\ndata: 1\n\n", [("", b"1")]),
        (b"data: 1\n\n\n\n\ndata: 2\n\n", [("", b"1"), ("", b"2")]),
        (b"data: {}   \n\n", [("", b"{}   ")]),
        (
            b"event: a\ndata: 1\n\nevent: b\r\ndata: 2\r\n\r\nevent: c\ndata: 3\n\n",
            [("a", b"1"), ("b", b"2"), ("c", b"3")],
        ),
        ("data: größe 😀\n\n".encode(), [("", "größe 😀".encode())]),
        (b"event: a\nid: 7\ndata: 1\ndata: 2\ndata: 3\n\nevent: b\ndata: {}\n\n", [("a", b"1 2 3"), ("b", b"{}")]),
        (b"event: a\ndata: cut off", []),
        (b"event: a\ndata: no blank line\n", []),
        (b"data\n\n", [("", b"")]),
    ],
)
def test_events_do_not_depend_on_the_split(stream: bytes, expected: list[tuple[str, bytes]]) -> None:
    for pieces in every_way(stream):
        assert events(pieces) == expected


def test_a_frame_of_our_own_shape_is_kept_byte_for_byte() -> None:
    raw = b'event: content_block_delta\ndata: {"type": "x",  "padding": 1}   \n\n'

    for pieces in every_way(raw):
        splitter = Splitter()

        assert [f.raw for piece in pieces for f in splitter.feed(piece)] == [raw]
        assert not splitter.pending


def test_other_shapes_are_written_as_ours() -> None:
    assert Splitter().feed(b"data:1\r\n\r\n")[0].raw == frame("", b"1").raw


def test_a_held_event_is_pending() -> None:
    splitter = Splitter()

    splitter.feed(b"event: a\ndata: 1\n")

    assert splitter.pending


@pytest.mark.parametrize("piece", [b"data: xxxx\n", b"data: xxxx\r\n", b"data\n", b"x" * 10])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    splitter = Splitter(max_event_bytes=1000)

    with pytest.raises(EventTooLarge):
        for _ in range(300):
            splitter.feed(piece)


def test_an_event_of_many_lines_costs_what_it_weighs() -> None:
    splitter = Splitter()
    splitter.feed(b"event: a\n")

    began = time.process_time()
    for _ in range(30_000):
        splitter.feed(b"data: xxxxxxxxxxxxxxxxxxxxxx\n")
    seconds = time.process_time() - began

    # 0.1 s; joined anew with every line it was a minute.
    assert seconds < 10
    assert [len(item.data) for item in splitter.feed(b"\n")] == [30_000 * 23 - 1]


@given(
    st.lists(
        st.sampled_from([b"event: a", b"data: 1", b"data:", b": c", b"", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"x"])
    )
)
def test_any_bytes_split_alike(parts: list[bytes]) -> None:
    stream = b"".join(parts)

    whole = events([stream])

    for pieces in every_way(stream, seeds=2):
        assert events(pieces) == whole
