from __future__ import annotations

import json

from tests.support.server import HELLO, running
from vango.app.exchange import Exchange
from vango.app.messages import provider_headers


async def test_a_message_is_answered_with_its_headers() -> None:
    async with running() as server:
        reply = await server.post(headers={"x-request-id": "mine-1"})

    body = reply.json()
    assert reply.status_code == 200
    assert body["model"] == reply.headers["x-model"] == "sandbox/chat"
    assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] + body["usage"]["output_tokens"]
    assert body["usage"]["cost_usd"] == 0
    assert reply.headers["x-request-id"] == reply.headers["request-id"] == "mine-1"
    assert reply.headers["x-input-tokens"] == str(body["usage"]["input_tokens"])
    assert reply.headers["x-output-tokens"] == str(body["usage"]["output_tokens"])
    assert reply.headers["x-cost-usd"] == "0.000000"
    assert int(reply.headers["x-duration-ms"]) >= 0
    assert reply.headers["x-provider-request-id"].startswith("req_")


async def test_a_stream_has_the_events_of_the_contract() -> None:
    async with running() as server:
        reply = await server.post({**HELLO, "stream": True})

    frames = [frame.split("\n") for frame in reply.text.split("\n\n") if frame]
    events = [json.loads(data.removeprefix("data: ")) for _, data in frames]
    assert [name for name, _ in frames] == [f"event: {event['type']}" for event in events]
    assert events[0]["type"] == "message_start"
    assert events[-1] == {"type": "message_stop"}
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["x-model"] == "sandbox/chat"


async def test_one_line_is_logged_for_a_request() -> None:
    async with running() as server:
        await server.post()
        (line,) = await server.wait_lines(1)

    assert line["status"] == 200
    assert line["model"] == "sandbox/chat"
    assert line["provider"] == "sandbox"
    assert line["total_tokens"] == line["input_tokens"] + line["output_tokens"]
    assert line["user_id"] == line["ip"] == "127.0.0.1"
    assert "Hello" not in server.log.getvalue()


async def test_what_is_said_is_logged_only_where_the_operator_wants_it() -> None:
    async with running({"observability": {"logging": {"content": True}}}) as server:
        whole = await server.post()
        await server.post({**HELLO, "stream": True})
        lines = await server.wait_lines(2)

    for line in lines:
        assert line["content"] == {"messages": HELLO["messages"], "output": whole.json()["content"]}


async def test_what_is_lost_on_the_way_is_reported_or_in_strict_mode_refused() -> None:
    asked = {**HELLO, "metadata": {"user_id": "u", "team": "x", "cost;centre": "y"}}
    async with running() as server:
        whole = await server.post(asked)
        streamed = await server.post({**asked, "stream": True})
        strict = await server.post(asked, headers={"x-vango-strict": "true"})
        nothing = await server.post()

    assert whole.headers["x-vango-loss"] == "metadata.team=dropped; metadata.cost?centre=dropped"
    assert streamed.headers["x-vango-loss"] == whole.headers["x-vango-loss"]
    assert strict.status_code == 400
    assert strict.json()["error"]["param"] == "metadata.team"
    assert strict.json()["error"]["code"] == "lossy"
    assert "x-vango-loss" not in nothing.headers


def test_a_long_report_of_losses_is_cut_visibly() -> None:
    scope = {"method": "POST", "headers": [], "client": ("127.0.0.1", 1)}
    exchange = Exchange(scope, 0.0)
    exchange.outcome.losses = tuple(f"messages[{number}].content[0].cache_control=dropped" for number in range(100))

    ((name, report),) = provider_headers(exchange)

    assert name == b"x-vango-loss"
    assert len(report.decode()) == 2049
    assert report.decode().endswith("…")
