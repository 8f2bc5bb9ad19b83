"""Metrics and log lines: exactly what the contract lists, and nothing that a caller can multiply or forge."""

from __future__ import annotations

import errno
import io
import json
import random
import string
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio.testing
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.raw import Raw
from tests.support.server import HELLO, Running, running
from vango.app.serve import serve
from vango.app.telemetry import make_log
from vango.providers.catalog import Catalog
from vango.types.script import Hang, Script, Send

LABELS = {
    "vango_requests_total": {"method", "path", "status", "provider", "model"},
    "vango_request_duration_seconds": {"method", "path", "provider"},
    "vango_time_to_first_token_seconds": {"provider"},
    "vango_tokens_total": {"provider", "direction"},
    "vango_cost_usd_total": {"provider"},
    "vango_requests_in_flight": set(),
    "vango_streams_cancelled_total": {"provider", "by"},
    "vango_upstream_errors_total": {"provider", "type"},
    "vango_retries_total": {"provider"},
    # Beyond the contract's list: what Vango itself adds to a request.
    "vango_overhead_seconds": {"path"},
}
UP: dict[str, Any] = {
    "providers": {"anthropic": {"api_key": "sk", "base_url": "sandbox://anthropic"}},
    "retries": {"max_attempts": 0},
}
ASKED: dict[str, Any] = {**HELLO, "model": "anthropic/claude-haiku-4-5"}


async def samples(server: Running) -> list[Sample]:
    await trio.testing.wait_all_tasks_blocked()
    text = (await server.http.get("/metrics")).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(found: list[Sample], name: str, **labels: str) -> float:
    """Return the sum of the samples of a name that have these labels."""
    return sum(item.value for item in found if item.name == name and labels.items() <= item.labels.items())


def message(**fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 200},
        **fields,
    }


async def exercise(server: Running) -> None:
    """Let every series that there is come into being."""
    await server.post()
    await server.post({**HELLO, "stream": True})
    server.sandbox.replies(Script.json(200, message()), Script.error(500, "x"))
    await server.post(ASKED)
    await server.post(ASKED)
    await server.http.get("/nope")


async def test_the_series_are_those_of_the_contract_with_their_labels() -> None:
    async with running(
        {**UP, "retries": {"max_attempts": 1, "max_wait_seconds": 0.01}}, randomness=lambda: 0.0
    ) as server:
        server.sandbox.replies(Script.error(529, "x"))
        await server.post(ASKED)
        await exercise(server)
        text = (await server.http.get("/metrics")).text
        reply = await server.http.get("/metrics")

    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(text))
    assert {item.name + ("_total" if item.type == "counter" else "") for item in families} == set(LABELS)
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == LABELS[name], sample
            assert not sample.name.endswith("_created")


async def test_what_is_counted_is_what_happened() -> None:
    async with running(UP) as server:
        await exercise(server)
        found = await samples(server)

    requests = "vango_requests_total"
    assert value(found, requests, path="/v1/messages", method="POST") == 4
    assert value(found, requests, provider="sandbox", model="sandbox/chat", status="200") == 2
    assert value(found, requests, provider="anthropic", model="anthropic/claude-haiku-4-5-20251001", status="200") == 1
    assert value(found, requests, provider="anthropic", status="502") == 1
    assert value(found, requests, path="unmatched", status="404", provider="none", model="none") == 1
    assert value(found, "vango_request_duration_seconds_count", path="/v1/messages") == 4
    assert value(found, "vango_time_to_first_token_seconds_count", provider="sandbox") == 1
    assert value(found, "vango_tokens_total", provider="anthropic", direction="input") == 1000
    assert value(found, "vango_tokens_total", provider="anthropic", direction="output") == 200
    # 1000 tokens at 1 $ and 200 at 5 $ a million
    assert value(found, "vango_cost_usd_total", provider="anthropic") == pytest.approx(0.002)
    assert value(found, "vango_upstream_errors_total", provider="anthropic", type="provider_error") == 1
    assert value(found, "vango_requests_in_flight") == 1  # the one that asks


async def hear_some_and_leave(server: Running, text: str) -> None:
    """Ask for a stream, and hang up when `text` has come; nothing would follow it."""
    said = Script.text(text)
    server.sandbox.replies(replace(said, steps=(*said.steps[:4], Hang())))
    body = json.dumps({**ASKED, "stream": True}).encode()
    async with await Raw.connect(server.port) as client:
        await client.send(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await client.until(text.encode())


async def test_a_client_that_leaves_is_counted_for_its_provider() -> None:
    async with running(UP) as server:
        await hear_some_and_leave(server, "Hello")
        found: list[Sample] = []
        while not value(found, "vango_streams_cancelled_total", provider="anthropic", by="client"):
            found = await samples(server)
        assert value(found, "vango_requests_in_flight") == 1
        assert server.lines()[0]["cancelled_by"] == "client"


def noise(seed: int) -> Iterator[str]:
    chance = random.Random(seed)
    while True:
        yield "".join(chance.choices(string.ascii_letters + string.digits, k=chance.randint(1, 30)))


async def test_a_caller_cannot_make_series() -> None:
    aliases = {"quick": "anthropic/claude-haiku-4-5"}
    async with running({**UP, "aliases": aliases}) as server:
        await exercise(server)
        name = noise(7)
        for _ in range(3):  # the kinds of series that such requests have at all
            await stray(server, name)
            await samples(server)
        before = {(item.name, *sorted(item.labels.items())) for item in await samples(server)}
        for _ in range(20):  # with ten names each
            await stray(server, name)
        after = {(item.name, *sorted(item.labels.items())) for item in await samples(server)}

    assert after == before
    assert {item[1] for series in after for item in series[1:] if item[0] == "model"} <= {
        *("none", "other", "sandbox/chat"),
        *(model.full_id for model in Catalog.load().models()),
    }


async def stray(server: Running, names: Iterator[str]) -> None:
    """Send one request of each kind with names that nobody has heard of."""
    word = next(names)
    async with await Raw.connect(server.port) as client:
        await client.ask(f"{word.upper()} /{next(names)} HTTP/1.1\r\nHost: {word}\r\n\r\n".encode())
        await client.ask(f"GET /v1/models/{word}/{next(names)}?{word}={word} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await client.ask(f"{word} /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await server.post({**HELLO, "model": word})
    await server.post({**HELLO, "model": f"{word}/{word}"})
    await server.post({**HELLO, "model": f"sandbox/{word}"})
    await server.post({**HELLO, "fallbacks": [f"sandbox/{word}"], "model": f"sandbox/{word}"})
    server.sandbox.replies(
        Script.json(200, message(model=word)), Script.json(418, {"error": {"type": word, "message": word}})
    )
    await server.post({**HELLO, "model": f"anthropic/{word}"})
    await server.post({**HELLO, "model": f"anthropic/{word}"})
    day = f"{random.Random(word).randint(20000101, 20991231)}"
    server.sandbox.replies(Script.json(200, message(model=f"claude-haiku-4-5-{day}")))
    await server.post({**ASKED, "model": f"anthropic/claude-haiku-4-5-{day}"})


NONSENSE = [
    {"input_tokens": -5, "output_tokens": 1},
    {"input_tokens": 10**40, "output_tokens": 1},
    {"input_tokens": 2**63 - 1, "output_tokens": 2**63 - 1},
    {"input_tokens": 1.5, "output_tokens": "x"},
    {"input_tokens": None, "output_tokens": None},
    {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": -1},
    {"input_tokens": 1, "output_tokens": 1, "server_tool_use": {"web_search_requests": -(10**30)}},
    {"input_tokens": 1, "output_tokens": 1, "iterations": [{"input_tokens": -1}]},
    {"input_tokens": 0, "output_tokens": 0, "service_tier": 5},
    [],
    None,
    "x",
]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_usage_that_cannot_be_is_not_counted_and_harms_nothing(stream: bool) -> None:
    async with running(UP) as server:
        for usage in NONSENSE:
            script = Script.json(200, message(usage=usage))
            if stream:
                begun = Script.text("Hello")
                end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
                start = {"type": "message_start", "message": message(usage=usage, content=[])}
                steps = (frame(start), *begun.steps[1:-2], frame(end), begun.steps[-1])
                script = Script(200, begun.headers, steps)
            server.sandbox.replies(script)
            reply = await server.post({**ASKED, "stream": stream})

            assert reply.status_code == 200, usage
            assert "error" not in reply.text
            await trio.testing.wait_all_tasks_blocked()
            line = server.lines()[-1]
            assert (line["total_tokens"], line["cost_usd"]) == (None, None)
        found = await samples(server)
        assert value(found, "vango_tokens_total") == 0
        assert value(found, "vango_requests_total", path="/v1/messages", status="200") == len(NONSENSE)
        assert "failed" not in server.log.getvalue()


def frame(event: dict[str, Any]) -> Send:
    return Send(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())


# Log lines

FIELDS = {
    *("timestamp", "level", "event", "request_id", "method", "path", "status", "model", "provider", "stream"),
    *("input_tokens", "output_tokens", "total_tokens", "cost_usd", "duration_ms", "ttft_ms", "stop_reason", "attempts"),
    *("provider_request_id", "error", "cancelled_by", "user_id", "key", "ip"),
}


async def test_every_request_has_one_line_with_the_fields_of_the_contract() -> None:
    async with running(UP) as server:
        server.sandbox.replies(
            Script.json(200, message(), {"request-id": "req_up"}), Script.text("Hi"), Script.error(400, "x")
        )
        for fields in ({}, {"stream": True}, {}):
            await server.post({**ASKED, **fields}, headers={"x-request-id": "mine"})
        await server.http.get("/v1/models")
        await server.http.get("/secret-path")
        await trio.testing.wait_all_tasks_blocked()
        whole, streamed, refused, listed, stray_line = server.lines()

    assert all(set(line) == FIELDS for line in (whole, streamed, refused, listed, stray_line))
    assert whole["request_id"] == "mine"
    assert whole | {"duration_ms": 0, "timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "request_complete",
        "request_id": "mine",
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "model": "anthropic/claude-haiku-4-5",
        "provider": "anthropic",
        "stream": False,
        "input_tokens": 1000,
        "output_tokens": 200,
        "total_tokens": 1200,
        "cost_usd": 0.002,
        "duration_ms": 0,
        "ttft_ms": None,
        "stop_reason": "end_turn",
        "attempts": 1,
        "provider_request_id": "req_up",
        "error": None,
        "cancelled_by": None,
        "user_id": "127.0.0.1",
        "key": None,
        "ip": "127.0.0.1",
    }
    assert streamed["stream"] is True
    assert streamed["ttft_ms"] >= 0
    assert (refused["status"], refused["error"]) == (400, "invalid_request_error")
    assert (listed["path"], listed["provider"]) == ("/v1/models", None)
    assert (stray_line["path"], stray_line["status"]) == ("unmatched", 404)


FORGED = ['a\r\n{"event":"request_complete","status":200}z', "\x1b[2Jz", "a\x9b2J", "a\u2028b", "\u202ez"]


@pytest.mark.parametrize("style", ["json", "text"])
async def test_nothing_that_is_sent_begins_a_line_or_moves_a_cursor(style: str) -> None:
    async with running({**UP, "observability": {"logging": {"format": style}}}) as server:
        for forged in FORGED:
            server.sandbox.replies(Script.json(200, message(model=forged, stop_reason=forged), {"request-id": forged}))
            await server.post(ASKED)
            await server.post({**ASKED, "model": forged})
            await server.http.get(f"/v1/models/{quote(forged)}")
        await trio.testing.wait_all_tasks_blocked()
        lines = server.log.getvalue().split("\n")

    assert lines.pop() == ""
    assert len([line for line in lines if "request_complete" in line]) == len(lines) == 3 * len(FORGED)
    if style == "json":
        assert all(json.loads(line)["event"] == "request_complete" and "\x1b" not in line for line in lines)
    else:
        assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("style", ["json", "text"])
async def test_content_is_logged_only_where_that_is_asked_for(style: str) -> None:
    asked = {**HELLO, "messages": [{"role": "user", "content": "PLANTED words"}]}
    for wanted in (False, True):
        async with running({"observability": {"logging": {"content": wanted, "format": style}}}) as server:
            for stream in (False, True):
                await server.post({**asked, "model": "sandbox/echo", "stream": stream})
            await trio.testing.wait_all_tasks_blocked()

            # Asked and answered, twice
            assert server.log.getvalue().count("PLANTED") == (4 if wanted else 0)


@pytest.mark.parametrize("style", ["json", "text"])
async def test_content_that_only_its_provider_understands_is_logged_on_one_line(style: str) -> None:
    text = (
        '{"model":"sandbox/chat","messages":[{"role":"user","content":"hi","x":1e999,\n"y":[\n{"event":"forged"}\n]}]}'
    )
    async with running({"observability": {"logging": {"content": True, "format": style}}}) as server:
        reply = await server.http.post("/v1/messages", content=text)
        await trio.testing.wait_all_tasks_blocked()
        (line,) = server.log.getvalue().splitlines()

    assert reply.status_code == 200
    assert "1e999" in line


async def test_what_a_client_was_told_before_it_left_is_logged() -> None:
    async with running({**UP, "observability": {"logging": {"content": True}}}) as server:
        await hear_some_and_leave(server, "PLANTED")
        (line,) = await server.wait_lines(1)

    assert line["cancelled_by"] == "client"
    assert line["content"]["output"] == [{"type": "text", "text": "PLANTED"}]


START: dict[str, Any] = {"type": "message_start", "message": {"content": []}}
NUMBER_FOR_TEXT: list[dict[str, Any]] = [
    START,
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}},
]


@pytest.mark.parametrize(
    "odd",
    [
        [{"type": "message_start", "message": {"content": 5}}, {"type": "content_block_delta", "index": 7, "delta": 5}],
        [{"type": "message_start", "message": {}}],
        NUMBER_FOR_TEXT,
    ],
)
async def test_a_stream_that_adds_up_to_nothing_is_relayed_though_it_cannot_be_logged(
    odd: list[dict[str, Any]],
) -> None:
    async with running({**UP, "observability": {"logging": {"content": True}}}) as server:
        server.sandbox.replies(Script.sse([*odd, {"type": "message_stop"}]))
        reply = await server.post({**ASKED, "stream": True})
        await trio.testing.wait_all_tasks_blocked()

    assert reply.text.count("event: ") == len(odd) + 1
    assert "event: error" not in reply.text
    assert "failed" not in server.log.getvalue()


async def test_a_log_that_cannot_be_written_stops_no_request() -> None:
    """Standard output is a full disk, or a pipe whose reader has died."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(serve, {"server": {"port": 0}}, log=Full()))
        async with httpx.AsyncClient(base_url=serving.urls[0], trust_env=False) as http:
            statuses = [(await http.post("/v1/messages", json=HELLO)).status_code for _ in range(3)]
        nursery.cancel_scope.cancel()

    assert statuses == [200, 200, 200]


@pytest.mark.parametrize(("level", "lines"), [("debug", 3), ("info", 3), ("warning", 2), ("error", 1), ("critical", 0)])
def test_the_level_decides_what_is_written(level: str, lines: int) -> None:
    stream = io.StringIO()
    log = make_log(stream, level=level, style="json")

    for write in (log.info, log.warning, log.error):
        write("something_happened", about="x")

    written = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in written] == ["info", "warning", "error"][3 - lines :]
