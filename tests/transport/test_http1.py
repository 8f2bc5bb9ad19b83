"""Heads of requests, and answers in every framing, whole and in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.split import every_way
from tests.support.upstream import LAST_CHUNK, chunk, chunked, chunked_head, head, http
from vango.transport.http1 import (
    MAX_BARREN_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_INFORMATIONAL,
    ResponseParser,
    encode_head,
)
from vango.wire.call import HttpCall, Origin, ReplyHead

ORIGIN = Origin("https", "api.example.com", 443)
EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


def call(
    method: str = "POST",
    target: str = "/v1/messages",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    origin: Origin = ORIGIN,
) -> HttpCall:
    return HttpCall(origin, method, target, headers, body)


class Outcome:
    """What a parser made of an answer; the body counts as far as it came before a fault."""

    def __init__(self, pieces: list[bytes], *, method: str = "POST", eof: bool = False) -> None:
        parser, body = ResponseParser(method), b""
        for piece in pieces:
            if parser.fault is None:
                parser.feed(piece)
                body += parser.take()
        if eof and parser.fault is None:
            parser.feed_eof()
        self.head, self.body = parser.head, body
        self.is_complete, self.keep_alive = parser.is_complete, parser.keep_alive
        self.fault = None if parser.fault is None else parser.fault.message
        parser.release()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        return repr(self.__dict__)


def read(data: bytes, *, method: str = "POST", eof: bool = False) -> Outcome:
    """Parse in every way of cutting, which must make no difference."""
    outcomes = [Outcome(pieces, method=method, eof=eof) for pieces in every_way(data)]
    assert outcomes == [outcomes[0]] * len(outcomes)
    return outcomes[0]


class TestRequestHead:
    def test_adds_host_and_length(self) -> None:
        encoded = encode_head(call(headers=(("x-api-key", "k"), ("x-empty", "")), body=b"{}"))

        assert encoded == (
            b"POST /v1/messages HTTP/1.1\r\nhost: api.example.com\r\n"
            b"x-api-key: k\r\nx-empty: \r\ncontent-length: 2\r\n\r\n"
        )

    @pytest.mark.parametrize(
        ("method", "body", "line"),
        [
            ("GET", b"", b""),
            ("HEAD", b"", b""),
            ("DELETE", b"", b""),
            ("POST", b"", b"content-length: 0\r\n"),
            ("PUT", b"", b"content-length: 0\r\n"),
            ("DELETE", b"xy", b"content-length: 2\r\n"),
        ],
    )
    def test_length_is_given_where_a_body_is_expected(self, method: str, body: bytes, line: bytes) -> None:
        encoded = encode_head(call(method=method, body=body))

        assert encoded.endswith(b"host: api.example.com\r\n" + line + b"\r\n")

    def test_host_names_a_port_that_is_not_the_schemes_own(self) -> None:
        assert b"host: [::1]:8080\r\n" in encode_head(call(origin=Origin("http", "::1", 8080)))

    def test_latin_1_values_pass(self) -> None:
        assert b"x: caf\xe9\r\n" in encode_head(call(headers=(("x", "café"),)))

    @pytest.mark.parametrize("value", ["a\r\nb: c", "a\n", "\r", "a\0b", "\x7f", "\x1b[0m", "kl\u00fc\u20ac", "\ud800"])
    def test_a_value_that_http_cannot_carry_is_refused_and_not_shown(self, value: str) -> None:
        secret = "sk-secret" + value

        with pytest.raises(ValueError, match="header 'x-api-key'") as caught:
            encode_head(call(headers=(("accept", "*/*"), ("x-api-key", secret))))

        assert "sk-secret" not in repr(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    @pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "X-Upper", "ä", "a\0", "\t"])
    def test_a_name_that_is_no_token_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="header names"):
            encode_head(call(headers=(("accept", "*/*"), (name, "v"))))

    @pytest.mark.parametrize("name", ["content-length", "transfer-encoding", "host", "connection", "expect", "upgrade"])
    def test_headers_that_frame_the_request_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            encode_head(call(headers=((name, "1"),)))

    @pytest.mark.parametrize("target", ["", "*", "x", "/a b", "/a\r\nx: y", "/\x7f", "/é", "http://elsewhere/"])
    def test_a_target_that_is_no_path_is_refused(self, target: str) -> None:
        with pytest.raises(ValueError, match="target"):
            encode_head(call(target=target))

    @pytest.mark.parametrize("method", ["", "post", "CONNECT", "GET /x HTTP/1.1\r\n"])
    def test_an_unknown_method_is_refused(self, method: str) -> None:
        with pytest.raises(ValueError, match="method"):
            encode_head(call(method=method))

    @pytest.mark.parametrize("host", ["a\r\nb", "a b", "a/b", "a@b", "bücher.example"])
    def test_a_host_that_is_no_authority_is_refused(self, host: str) -> None:
        with pytest.raises(ValueError, match="host"):
            encode_head(call(origin=Origin("https", host, 443)))


class TestFraming:
    def test_a_length(self) -> None:
        outcome = read(http(b"hello", headers={"X-Two": "1 ", "x-two": "2"}))

        assert outcome.head == ReplyHead(200, {"x-two": "1, 2", "content-length": "5"})
        assert (outcome.body, outcome.is_complete, outcome.keep_alive) == (b"hello", True, True)

    def test_no_body(self) -> None:
        outcome = read(http(b""))

        assert (outcome.body, outcome.is_complete, outcome.keep_alive) == (b"", True, True)

    def test_chunks_with_extensions_and_trailers(self) -> None:
        data = chunked_head() + b"5;a=b\r\nhello\r\n" + chunk(b" world") + b"0\r\nx-trailer: 1\r\nx-two: 2\r\n\r\n"

        outcome = read(data)

        assert outcome.head == ReplyHead(200, {"transfer-encoding": "chunked"})
        assert (outcome.body, outcome.is_complete, outcome.keep_alive) == (b"hello world", True, True)

    @pytest.mark.parametrize("status", [204, 304])
    @pytest.mark.parametrize("headers", [{}, {"content-length": "5"}])
    def test_statuses_without_a_body(self, status: int, headers: dict[str, str]) -> None:
        outcome = read(head(status, headers))

        assert (outcome.body, outcome.is_complete, outcome.keep_alive) == (b"", True, True)

    @pytest.mark.parametrize("body", [b"", b"hello"])
    def test_an_answer_to_head_has_no_body_and_ends_the_connection(self, body: bytes) -> None:
        outcome = read(head(200, {"content-length": "5"}) + body, method="HEAD")

        assert outcome.head == ReplyHead(200, {"content-length": "5"})
        assert (outcome.body, outcome.is_complete, outcome.keep_alive) == (b"", True, False)

    @pytest.mark.parametrize(
        "opening",
        [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200\r\nconnection: close\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"],
    )
    def test_without_a_length_the_body_lasts_until_the_end(self, opening: bytes) -> None:
        open_end, ended = read(opening + b"hello"), read(opening + b"hello", eof=True)

        assert (open_end.body, open_end.is_complete) == (b"hello", False)
        assert (ended.body, ended.is_complete, ended.keep_alive, ended.fault) == (b"hello", True, False, None)

    @pytest.mark.parametrize(
        ("data", "keeps"),
        [
            (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx", False),
            (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", False),
            (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\nx", True),
            (b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", False),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: Keep-Alive, close\r\n\r\nx", False),
        ],
    )
    def test_the_connection_is_kept_where_both_ends_agree(self, data: bytes, keeps: bool) -> None:
        outcome = read(data)

        assert (outcome.body, outcome.is_complete, outcome.keep_alive) == (b"x", True, keeps)

    def test_informational_answers_are_skipped(self) -> None:
        outcome = read(b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY * (MAX_INFORMATIONAL - 1) + http(b"hello"))

        assert outcome.head == ReplyHead(200, {"content-length": "5"})
        assert outcome.body == b"hello"

    @pytest.mark.parametrize("surplus", [b"x", http(b"second"), b"HTTP/1.1 5"])
    @pytest.mark.parametrize(
        "answer", [http(b"hello"), chunked(b"hello"), http(b"hello", headers={"connection": "close"})]
    )
    def test_what_follows_the_answer_is_dropped_and_ends_the_connection(self, answer: bytes, surplus: bytes) -> None:
        outcome = read(answer + surplus)

        assert (outcome.body, outcome.is_complete, outcome.keep_alive) == (b"hello", True, False)
        assert outcome.fault is None

    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/1.1 200",
            head(200, {"content-length": "5"})[:-2],
            http(b"hello")[:-1],
            chunked(b"hello")[:-1],
            chunked(b"hello")[: -len(LAST_CHUNK)],
            chunked_head() + b"5\r\nhel",
            EARLY,
        ],
    )
    def test_an_end_inside_the_framing_is_a_fault(self, data: bytes) -> None:
        outcome = read(data, eof=True)

        assert not outcome.is_complete
        assert outcome.fault == "The provider ended its answer early."


class TestRefusals:
    @pytest.mark.parametrize(
        "data",
        [
            head(200, {"content-length": "5", "transfer-encoding": "chunked"}),
            head(200, {"transfer-encoding": "chunked", "content-length": "5"}),
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
            head(200, {"content-length": "-1"}),
            head(200, {"content-length": "+1"}),
            head(200, {"content-length": "0x1"}),
            head(200, {"content-length": "9" * 30}),
            head(200, {"content-length": ""}),
            b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx : a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
            b"HTTP/1.1 200 OK\nx: a\n\n",
            b"HTTP/1.1 99 OK\r\n\r\n",
            b"HTTP/1.1 1000 OK\r\n\r\n",
            b"HTTP/1.1 000 OK\r\n\r\n",
            b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\x15\x03\x01\x00\x02\x02\x50",
        ],
    )
    def test_a_head_that_is_not_http(self, data: bytes) -> None:
        outcome = read(data)

        assert outcome.head is None
        assert outcome.fault is not None
        assert "HTTP/1.1" in outcome.fault

    @pytest.mark.parametrize("size", [b"zz", b"", b"-1", b"0x5", b"5 ", b"f" * 20, b"5\n"])
    def test_an_odd_chunk_size_after_good_body(self, size: bytes) -> None:
        outcome = read(chunked_head() + chunk(b"hello") + size + b"\r\nhello\r\n0\r\n\r\n")

        assert (outcome.body, outcome.is_complete) == (b"hello", False)
        assert outcome.fault is not None

    def test_a_chunk_longer_than_its_size(self) -> None:
        outcome = read(chunked_head() + b"5\r\nhello!\r\n0\r\n\r\n")

        assert (outcome.body, outcome.is_complete) == (b"hello", False)

    @pytest.mark.parametrize(
        "coding", ["gzip, chunked", "gzip", "chunked, gzip", "identity", "chunked, chunked", "xchunked"]
    )
    def test_a_transfer_coding_that_was_not_asked_for(self, coding: str) -> None:
        outcome = read(head(200, {"transfer-encoding": coding}))

        assert outcome.fault == "The provider's answer has a transfer coding that was not asked for."

    @pytest.mark.parametrize("headers", [{}, {"upgrade": "websocket", "connection": "upgrade"}])
    def test_switching_protocols(self, headers: dict[str, str]) -> None:
        outcome = read(head(101, headers) + b"other bytes")

        assert outcome.fault == "The provider switched protocols, which was not asked for."

    def test_informational_answers_without_end(self) -> None:
        assert read(EARLY * (MAX_INFORMATIONAL + 1) + http(b"")).fault is not None

    def test_too_many_headers(self) -> None:
        most = {f"x-{number}": "" for number in range(MAX_HEADERS)}

        assert Outcome([head(204, most)]).fault is None
        assert Outcome([head(204, most | {"one-more": ""})]).fault is not None

    def test_too_long_headers(self) -> None:
        assert Outcome([head(204, {"x": "a" * (MAX_HEAD_BYTES - 5)})]).fault is None
        assert Outcome([head(204, {"x": "a" * (MAX_HEAD_BYTES - 4)})]).fault is not None

    @pytest.mark.parametrize(
        "opening", [b"HTTP/1.1 200 ", head()[:-2] + b"x: ", chunked_head() + b"5;", chunked_head() + b"0\r\nx: "]
    )
    def test_bytes_without_end_that_bring_nothing(self, opening: bytes) -> None:
        parser = ResponseParser("POST")
        parser.feed(opening)

        fed = 0
        while parser.fault is None:
            parser.feed(b"a" * 1000)
            fed += 1000

        assert fed <= MAX_BARREN_BYTES + 1000
        parser.release()


def test_many_small_chunks_are_no_bytes_without_end() -> None:
    parser = ResponseParser("POST")
    parser.feed(chunked_head())
    for _ in range(2 * MAX_BARREN_BYTES // 100):
        parser.feed(b"1;" + b"a" * 98 + b"\r\n")
        parser.feed(b"x\r\n")

    assert parser.fault is None
    assert parser.take() == b"x" * (2 * MAX_BARREN_BYTES // 100)
    parser.release()


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Make an answer with any framing, perhaps with something before and after."""
    body = draw(st.lists(st.binary(max_size=40), max_size=4))
    names = st.sampled_from(["x-a", "x-b", "Content-Type", "connection"])
    headers = draw(st.dictionaries(names, st.sampled_from(["", "a", "close", "keep-alive"]), max_size=3))
    status = draw(st.sampled_from([200, 204, 304, 400, 429, 529]))
    data = draw(
        st.sampled_from(
            [
                http(b"".join(body), status, headers),
                chunked(*filter(None, body), status=status, headers=headers),
                head(status, headers) + b"".join(body),
            ]
        )
    )
    return draw(st.sampled_from([b"", EARLY])) + data + draw(st.sampled_from([b"", b"", b"surplus", http(b"2")]))


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    bounds = [0, *sorted({min(position, len(data)) for position in positions}), len(data)]
    return [data[a:b] for a, b in pairwise(bounds) if a < b]


@given(answers(), st.lists(st.integers(1, 400), max_size=12), st.sampled_from(["POST", "HEAD"]))
def test_an_answer_is_the_same_however_it_is_cut(data: bytes, positions: list[int], method: str) -> None:
    assert Outcome(cut(data, positions), method=method, eof=True) == Outcome([data], method=method, eof=True)


@given(answers(), st.lists(st.integers(1, 400), max_size=12), st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_damaged_answer_is_the_same_however_it_is_cut(
    data: bytes, positions: list[int], at: int, damage: bytes
) -> None:
    damaged = data[: at % len(data)] + damage + data[at % len(data) + 1 :]

    whole, pieces = Outcome([damaged], eof=True), Outcome(cut(damaged, positions), eof=True)

    assert (pieces.head, pieces.body, pieces.is_complete, pieces.keep_alive) == (
        whole.head,
        whole.body,
        whole.is_complete,
        whole.keep_alive,
    )
    assert (pieces.fault is None) == (whole.fault is None)
