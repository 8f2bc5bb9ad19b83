"""What the pure pieces of a request cost, in microseconds: the best of several repetitions, on whatever core this runs.

    python bench/micro.py                   all of them
    python bench/micro.py stream price      those whose names hold one of these words

These are bounds for thinking with, not the gateway's cost: most of that is the kernel's and the event loop's (bench/run.py).
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import json
import time
from typing import TYPE_CHECKING, Any

import messages
from chunked import Dechunker
from pydantic import SecretStr

from vango.app.exchange import Exchange
from vango.app.telemetry import Metrics, completed, make_log
from vango.governance.pricing import cost
from vango.providers.anthropic import AnthropicCodec
from vango.providers.base import Target
from vango.providers.catalog import Catalog
from vango.types.call import Caller, Credential, Outcome
from vango.types.messages import read_request
from vango.types.usage import Usage
from vango.wire.call import BaseUrl
from vango.wire.json import read_object, too_deep
from vango.wire.sse import Splitter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHUNKS = 200

Piece = tuple["Callable[[], object]", int]
"""What to run, and how many of the thing that is counted one run does."""


def pieces() -> dict[str, Piece]:
    """Return everything that is measured, by name."""
    return {**_requests(), **_answers(), **_streams(), **_accounts()}


def _target() -> Target:
    entry = Catalog.load().find("anthropic", messages.MODEL)
    assert entry is not None
    price = entry.price_at(dt.datetime.now(dt.UTC))
    return Target(
        "anthropic",
        messages.MODEL,
        BaseUrl.parse("https://api.anthropic.com"),
        lambda usage: cost(price, usage),
        key=Credential(SecretStr("sk-bench")),
        entry=entry,
    )


def _body(request: str) -> bytes:
    return request.partition("\r\n\r\n")[2].encode()


def _conversation(turns: int) -> bytes:
    """Return a request as agents send it: system text, tools, and a history of blocks."""
    content = [{"type": "text", "text": messages.CHUNK_TEXT * 20}]
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}}}
    return json.dumps(
        {
            "model": f"anthropic/{messages.MODEL}",
            "max_tokens": 1024,
            "stream": True,
            "system": [{"type": "text", "text": messages.CHUNK_TEXT * 60, "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": f"tool_{n}", "description": "Does it.", "input_schema": schema} for n in range(10)],
            "messages": [{"role": ("user", "assistant")[n % 2], "content": content} for n in range(turns)],
        }
    ).encode()


def _requests() -> dict[str, Piece]:
    codec, target = AnthropicCodec(), _target()
    small = _body(messages.request(0, f"anthropic/{messages.MODEL}", [], None))
    large = _conversation(40)
    size = f"{len(large) // 1024} KiB"
    small_request, large_request = read_request(small), read_request(large)
    return {
        "strict JSON, small request": (lambda: read_object(small, max_nesting=100), 1),
        f"strict JSON, {size} request": (lambda: read_object(large, max_nesting=100), 1),
        f"nesting check, {size} request": (lambda: too_deep(large, 100), 1),
        "read_request, small": (lambda: read_request(small), 1),
        f"read_request, {size}": (lambda: read_request(large), 1),
        "encode, small": (lambda: codec.encode(small_request, target), 1),
        f"encode, {size}": (lambda: codec.encode(large_request, target), 1),
    }


def _answers() -> dict[str, Piece]:
    codec, target = AnthropicCodec(), _target()
    answer = _body(messages.answers()[0])
    return {"decode a whole answer": (lambda: codec.decode(answer, target), 1)}


def _stream() -> tuple[bytes, bytes, bytes]:
    """Return the opening, one chunk and the closing of a stream, without HTTP's framing."""
    _, opening, chunk, closing = (text.encode() for text in messages.answers())
    body = opening.partition(b"\r\n\r\n")[2]
    opened, one, closed = (Dechunker().feed(text) for text in (body, chunk, closing))
    return opened, one, closed


def _streams() -> dict[str, Piece]:
    codec, target = AnthropicCodec(), _target()
    opening, chunk, closing = _stream()

    def splitter(data: Sequence[bytes]) -> None:
        feed = Splitter().feed
        for piece in data:
            feed(piece)

    def decoder(data: Sequence[bytes]) -> None:
        decoder = codec.decoder(target)
        decoder.feed(opening)
        for piece in data:
            decoder.feed(piece)
        decoder.feed(closing)
        decoder.finish()

    singly, joined = [chunk] * CHUNKS, [chunk * CHUNKS]
    halves = [half for _ in range(CHUNKS) for half in (chunk[:60], chunk[60:])]
    return {
        "SSE splitter, a chunk, one by one": (lambda: splitter(singly), CHUNKS),
        "SSE splitter, a chunk, cut in two": (lambda: splitter(halves), CHUNKS),
        f"SSE splitter, a chunk, {CHUNKS} joined": (lambda: splitter(joined), CHUNKS),
        "stream decoder, a chunk, one by one": (lambda: decoder(singly), CHUNKS),
        f"stream decoder, a chunk, {CHUNKS} joined": (lambda: decoder(joined), CHUNKS),
        "stream decoder, opening and closing": (lambda: decoder([chunk]), 1),
    }


def _accounts() -> dict[str, Piece]:
    target = _target()
    usage = Usage(input_tokens=1200, cache_read_tokens=8000, cache_write_5m_tokens=300, output_tokens=640)
    exchange = _exchange(usage, target.price(usage))
    metrics = Metrics(lambda _provider, model: model)
    log = make_log(io.StringIO(), level="info", style="json")
    return {
        "price of a usage": (lambda: target.price(usage), 1),
        "exchange, from a request's headers": (lambda: _exchange(usage, None), 1),
        "log line": (lambda: log.info("request_complete", **completed(exchange, 0.5)), 1),
        "metric update": (lambda: metrics.count(exchange, 0.5), 1),
    }


def _exchange(usage: Usage, price: int | None) -> Exchange:
    scope: dict[str, Any] = {
        "method": "POST",
        "client": ("127.0.0.1", 50000),
        "headers": [
            (b"host", b"127.0.0.1:8080"),
            (b"content-type", b"application/json"),
            (b"anthropic-version", b"2023-06-01"),
            (b"x-api-key", b"vango_sk_bench"),
            (b"content-length", b"120"),
        ],
    }
    exchange = Exchange(scope, 100.0)
    exchange.path, exchange.status, exchange.finished, exchange.overhead = "/v1/messages", 200, True, 0.0004
    exchange.caller = Caller("bench", key_name="bench")
    exchange.outcome = Outcome(
        provider="anthropic",
        model=f"anthropic/{messages.MODEL}",
        stream=True,
        attempts=1,
        first_token_at=100.2,
        upstream_seconds=0.49,
        usage=usage,
        cost=price,
        stop_reason="end_turn",
    )
    return exchange


def microseconds(run: Callable[[], object], *, seconds: float, repetitions: int) -> float:
    """Return the shortest time of one run, of several repetitions that share `seconds`."""
    clock = time.perf_counter
    run()
    count = 1
    while True:
        began = clock()
        for _ in range(count):
            run()
        took = clock() - began
        if took >= seconds / repetitions / 2:
            break
        count *= 2
    best = took
    for _ in range(repetitions - 1):
        began = clock()
        for _ in range(count):
            run()
        best = min(best, clock() - began)
    return best / count * 1e6


def main() -> None:
    """Print a line for each piece."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only pieces whose names hold one of these")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each piece (default 0.5)")
    parser.add_argument("--json", action="store_true", help="print an object in place of lines")
    options = parser.parse_args()
    found: dict[str, float] = {}
    for name, (run, count) in pieces().items():
        if not options.words or any(word.lower() in name.lower() for word in options.words):
            found[name] = microseconds(run, seconds=options.seconds, repetitions=5) / count
            if not options.json:
                print(f"{name:40}{found[name]:10.2f} µs", flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
