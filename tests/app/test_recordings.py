"""Recorded Anthropic traffic through a whole server: what a provider said reaches the caller, and what a caller said the provider.

Values are compared as bytes (`split`), so that key order, number spelling, white space and escapes count.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.support.raw import Raw, Reply
from tests.support.recordings import FOLDER, Case, cases
from tests.support.server import Running, running
from tests.support.split import at_random, bytewise
from tests.support.upstream import LAST_CHUNK, Peer, Received, Upstream, chunk, chunked, chunked_head, head, http

KEY = "sk-ant-configured-here"

ADDED = ["total_tokens", "cache_read_tokens", "cache_write_tokens"]

BYTEWISE_BYTES = 3000
"""Streams up to here go byte by byte as a whole, longer ones at both their ends: each byte costs a segment and a wake-up."""

ALL_CUTS_BYTES = 500
SAMPLED_CUTS = 40

split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
Play = Callable[[Peer], Awaitable[None]]


def fields(data: bytes) -> dict[str, bytes]:
    return {name: bytes(raw) for name, raw in split(data).items()}


def raw(case: Case, api: str, file: str) -> bytes:
    """Return `body` of one of the case's files, in the spelling that it has there."""
    return fields((FOLDER / api / case.name / file).read_bytes())["body"]


def asked(case: Case, api: str = "anthropic-messages") -> bytes:
    return raw(case, api, "request.json")


def answered(case: Case, api: str = "anthropic-messages") -> bytes:
    if case.streamed or not isinstance(case.json, dict):
        return case.body
    return raw(case, api, "response.json")


def addressed(body: bytes) -> bytes:
    """Return a request's bytes with `anthropic/` before the name of its model."""
    model = fields(body)["model"]
    for match in re.finditer(rb'"model"\s*:\s*' + re.escape(model), body):
        end = match.end()
        changed = body[: end - len(model)] + b'"anthropic/' + model[1:] + body[end:]
        if fields(changed)["model"] != model:
            return changed
    raise AssertionError("the request names no model")


@dataclass
class Stage:
    """A server whose provider `anthropic` is an upstream of this test, and one client connection that is kept."""

    server: Running
    upstream: Upstream
    client: Raw
    play: Play = field(init=False)

    async def answer_with(self, peer: Peer) -> None:
        """Be the upstream's script: every request is answered as the test says at that moment."""
        while await peer.request():
            await self.play(peer)

    async def ask(
        self, body: bytes, play: Play, *, path: str = "/v1/messages", headers: Mapping[str, str] | None = None
    ) -> Reply:
        self.play = play
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        start = f"POST {path} HTTP/1.1\r\nhost: vango\r\ncontent-type: application/json\r\n{lines}"
        return await self.client.ask(f"{start}content-length: {len(body)}\r\n\r\n".encode() + body)

    async def replay(self, case: Case, api: str, play: Play) -> Reply:
        """Send the case's own request, its query and headers along."""
        path = "/v1/messages" + ("/count_tokens" if api == "anthropic-count-tokens" else "")
        query = "&".join(f"{name}={value}" for name, value in case.request["query"].items())
        headers = {name: value for name, value in case.request["headers"].items() if name.startswith("anthropic-")}
        return await self.ask(
            addressed(asked(case, api)), play, path=f"{path}?{query}" if query else path, headers=headers
        )

    @property
    def received(self) -> Received:
        return self.upstream.requests[-1]


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    async def script(peer: Peer) -> None:
        await here.answer_with(peer)

    async with Upstream(script) as upstream:
        settings = {
            "providers": {"anthropic": {"api_key": KEY, "base_url": upstream.base_url}},
            "retries": {"max_attempts": 0},
        }
        async with running(settings) as server, await Raw.connect(server.port) as client:
            here = Stage(server, upstream, client)
            yield here


def whole(case: Case, body: bytes) -> Play:
    return pieces(http(body, case.status, case.headers))


def pieces(*sent: bytes) -> Play:
    async def play(peer: Peer) -> None:
        await peer.send(*sent)

    return play


def bytewise_at_the_ends(data: bytes) -> list[bytes]:
    if len(data) <= BYTEWISE_BYTES:
        return bytewise(data)
    half = BYTEWISE_BYTES // 2
    return [*bytewise(data[:half]), *at_random(data[half:-half], 1, largest=20_000), *bytewise(data[-half:])]


def ways(case: Case) -> Iterable[Play]:
    """Return ways to deliver a stream: the cuts of its chunks, and of what one segment holds, have nothing to do with events."""
    body, headers = case.body, case.headers
    yield pieces(chunked(body, headers=headers))
    for seed in range(2):
        yield pieces(*at_random(chunked(*at_random(body, seed), headers=headers), seed + 100, largest=400))
    yield pieces(chunked(*bytewise(body), headers=headers))
    yield pieces(chunked_head(headers=headers), *bytewise_at_the_ends(chunk(body)), LAST_CHUNK)


def told(stream: bytes) -> list[tuple[str, bytes]]:
    """Read the events of a recorded stream by the rules of server-sent events, as far as the recordings use them."""
    events = []
    for paragraph in re.sub(rb"\r\n|\r", b"\n", stream).split(b"\n\n")[:-1]:
        lines = [line.partition(b":") for line in paragraph.split(b"\n")]
        values = {name: value.removeprefix(b" ") for name, _, value in lines if name}
        if "data" in {name.decode() for name in values}:
            events.append((values[b"event"].decode(), values[b"data"]))
    return events


def relayed(body: bytes) -> list[tuple[str, bytes]]:
    """Read a stream as Vango writes it: nothing but whole frames of two lines."""
    frames = re.findall(rb"event: ([a-z_]+)\ndata: ([^\n]+)\n\n", body)
    assert b"".join(b"event: %b\ndata: %b\n\n" % item for item in frames) == body
    for name, data in frames:
        assert json.loads(data)["type"] == name.decode()
    return [(name.decode(), data) for name, data in frames]


def check_usage(original: Mapping[str, bytes], got: bytes) -> None:
    """Hold a usage object against the provider's: its fields as they were, and Vango's after them."""
    usage = fields(got)
    known = len(original)
    assert list(usage.items())[:known] == list(original.items())
    assert list(usage)[known:] in (ADDED, [*ADDED, "cost_usd"])
    told, ours = ({name: json.loads(value) for name, value in part.items()} for part in (original, usage))
    assert ours["cache_read_tokens"] == (told.get("cache_read_input_tokens") or 0)
    assert ours["cache_write_tokens"] == (told.get("cache_creation_input_tokens") or 0)
    spent = ours["cache_read_tokens"] + ours["cache_write_tokens"] + told["input_tokens"] + told["output_tokens"]
    inner = told.get("iterations") or []  # inner calls are billed too, and the top level may leave them out
    assert ours["total_tokens"] == max([spent, sum(call["input_tokens"] + call["output_tokens"] for call in inner)])
    assert Decimal(usage.get("cost_usd", b"1").decode()) > 0


def check_message(original: bytes, got: bytes) -> None:
    before, after = fields(original), fields(got)
    assert list(after) == list(before)
    assert after.pop("model") == b'"anthropic/' + before.pop("model")[1:]
    check_usage(fields(before.pop("usage")), after.pop("usage"))
    assert after == before


def check_stream(original: list[tuple[str, bytes]], got: list[tuple[str, bytes]]) -> None:
    assert [name for name, _ in got] == [name for name, _ in original]
    counted: dict[str, bytes] = {}
    for (name, before), (_, after) in zip(original, got, strict=True):
        if name == "message_start":
            old, new = fields(before), fields(after)
            message, answered = fields(old.pop("message")), fields(new.pop("message"))
            assert new == old
            assert list(answered) == list(message)
            assert answered.pop("model") == b'"anthropic/' + message.pop("model")[1:]
            assert answered == message
            counted = fields(message["usage"])
        elif name == "message_delta":
            old, new = fields(before), fields(after)
            assert list(new) == list(old)
            # Counts are cumulative; what only the start told is told again, so that the last usage is complete.
            counted = {**counted, **{key: value for key, value in fields(old["usage"]).items() if value != b"null"}}
            for key, value in fields(old.pop("usage")).items():
                counted.setdefault(key, value)
            check_usage(counted, new.pop("usage"))
            assert new == old
        else:
            assert after == before


def check_heads(case: Case, reply: Reply, received: Received, api: str) -> None:
    """Check who was told what beside the bodies."""
    sent = case.request["headers"]
    assert received.target == ("/v1/messages" if api == "anthropic-messages" else "/v1/messages/count_tokens")
    assert received.header("x-api-key") == KEY
    assert received.header("anthropic-version") == sent.get("anthropic-version", "2023-06-01")
    assert received.header("anthropic-beta") == sent.get("anthropic-beta")
    provider_id = case.headers.get("request-id")
    if provider_id is None and reply.status != 200:
        refusal = told(case.body)[-1][1] if case.streamed else case.body
        provider_id = json.loads(refusal)["request_id"]
    assert reply.headers.get("x-provider-request-id") == provider_id
    assert reply.headers["x-request-id"] == reply.headers["request-id"] != provider_id


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=False, ok=True))
async def test_a_recorded_answer_gains_vangos_fields_and_is_otherwise_the_same(case: Case) -> None:
    body = answered(case)
    async with stage() as here:
        for play in (
            whole(case, body),
            pieces(*at_random(chunked(*at_random(body, 1), headers=case.headers), 2, largest=400)),
        ):
            reply = await here.replay(case, "anthropic-messages", play)

            assert reply.status == 200
            check_message(body, reply.body)
            check_heads(case, reply, here.received, "anthropic-messages")
            assert here.received.body == asked(case)
            usage = json.loads(reply.body)["usage"]
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["x-model"] == json.loads(reply.body)["model"]
            assert reply.headers["x-input-tokens"] == str(usage["input_tokens"]) or usage.get("iterations")
            assert reply.headers["x-output-tokens"] == str(usage["output_tokens"]) or usage.get("iterations")
            if "cost_usd" in usage:
                assert abs(Decimal(reply.headers["x-cost-usd"]) - Decimal(str(usage["cost_usd"]))) <= Decimal("5e-7")
            else:
                assert "x-cost-usd" not in reply.headers
        assert here.upstream.accepted == 1


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=True, ok=True))
async def test_a_recorded_stream_is_relayed_event_by_event_however_it_is_delivered(case: Case) -> None:
    original = told(case.body)
    failed = original[-1][0] == "error"
    has_content = any(name == "content_block_delta" for name, _ in original)
    async with stage() as here:
        for play in ways(case):
            reply = await here.replay(case, "anthropic-messages", play)

            check_heads(case, reply, here.received, "anthropic-messages")
            assert here.received.body == asked(case)
            if failed and not has_content:
                assert reply.status == 503
                check_error(case, json.loads(reply.body), json.loads(original[-1][1]))
                continue
            assert reply.status == 200
            assert reply.headers["content-type"].startswith("text/event-stream")
            events = relayed(reply.body)
            assert reply.headers["x-model"] == json.loads(events[0][1])["message"]["model"]
            if failed:
                check_error(case, json.loads(events.pop()[1]), json.loads(original[-1][1]))
                check_stream(original[:-1], events)
            else:
                check_stream(original, events)
        assert here.upstream.accepted == 1 or failed


ERRORS = {
    400: (400, "invalid_request_error"),
    404: (404, "not_found_error"),
    429: (429, "rate_limit_error"),
    500: (502, "provider_error"),
    529: (503, "overloaded_error"),
}
MID_STREAM = {"overloaded_error": "overloaded_error", "api_error": "provider_error"}


def check_error(case: Case, got: dict[str, Any], original: dict[str, Any]) -> None:
    """Hold an envelope against what the provider said, in an answer of its own or inside a stream."""
    said = original["error"]
    kind = ERRORS[case.status][1] if case.status != 200 else MID_STREAM[said["type"]]
    error = got["error"]
    assert got["type"] == "error"
    assert error["type"] == kind
    assert error["provider"] == "anthropic"
    assert error["provider_error"] == {"type": said["type"], "message": said["message"]}
    assert said["message"] in error["message"]
    assert error["request_id"] == got["request_id"] != original.get("request_id")


@pytest.mark.parametrize(
    ("api", "case"),
    [
        pytest.param(api, *item.values, id=item.id, marks=item.marks)
        for api in ("anthropic-messages", "anthropic-count-tokens")
        for item in cases(api, ok=False)
    ],
)
async def test_a_recorded_refusal_becomes_the_error_of_the_contract(api: str, case: Case) -> None:
    async with stage() as here:
        reply = await here.replay(case, api, whole(case, answered(case, api)))

        assert reply.status == ERRORS[case.status][0]
        assert reply.headers["content-type"] == "application/json"
        check_error(case, json.loads(reply.body), case.json)
        check_heads(case, reply, here.received, api)
        assert here.received.body == asked(case, api)
        assert reply.headers.get("retry-after") == case.headers.get("retry-after")
        wait = case.headers.get("retry-after")
        assert json.loads(reply.body)["error"]["retry_after"] == (None if wait is None else float(wait))
        (line,) = here.server.lines()
        assert (line["status"], line["error"]) == ERRORS[case.status]


@pytest.mark.parametrize("case", cases("anthropic-count-tokens", ok=True))
async def test_a_recorded_count_is_given_back(case: Case) -> None:
    api = "anthropic-count-tokens"
    async with stage() as here:
        reply = await here.replay(case, api, whole(case, answered(case, api)))

        assert reply.status == 200
        assert json.loads(reply.body) == {"input_tokens": case.json["input_tokens"]}
        check_heads(case, reply, here.received, api)
        assert here.received.body == asked(case, api)


def endings(case: Case) -> dict[str, Callable[[bytes], Play]]:
    """Return the ways in which a stream can stop in the middle, by name."""
    opening = chunked_head(headers=case.headers)

    def aborted(end: str) -> Callable[[bytes], Play]:
        def ending(part: bytes) -> Play:
            async def play(peer: Peer) -> None:
                await peer.send(opening + (chunk(part) if part else b""))
                getattr(peer, end)()

            return play

        return ending

    def cut_inside_a_chunk(part: bytes) -> Play:
        async def play(peer: Peer) -> None:
            await peer.send(opening + chunk(case.body)[: len(b"%x\r\n" % len(case.body)) + len(part)])
            peer.cut()

        return play

    def closed(part: bytes) -> Play:
        async def play(peer: Peer) -> None:
            await peer.send(head(headers={**case.headers, "connection": "close"}) + part)
            await peer.finish()

        return play

    return {
        "clean": lambda part: pieces(opening + (chunk(part) if part else b"") + LAST_CHUNK),
        "reset": aborted("reset"),
        "cut": aborted("cut"),
        "cut inside a chunk": cut_inside_a_chunk,
        "closed": closed,
    }


def cuts(case: Case) -> list[int]:
    """Return the positions to end a stream at: each of a short one; of a long one its ends, edges of events and a sample."""
    last = len(case.body)
    if last <= ALL_CUTS_BYTES:
        return list(range(last))
    edges = [match.end() for match in re.finditer(rb"\n\n", case.body)]
    rng = random.Random(case.name)
    some = {0, 1, last - 1, last - 2, last - 3, *edges[:4], *edges[-4:-1]}
    return sorted({*some, *(rng.randrange(last) for _ in range(SAMPLED_CUTS - len(some)))})


def first_content(case: Case) -> int:
    """Return the position after the first event that has content; beyond the stream where there is none."""
    position = 0
    for paragraph in re.findall(rb".+?\n\n", case.body, re.DOTALL):
        position += len(paragraph)
        (event,) = [json.loads(data) for _, data in told(paragraph)] or [{}]
        block, delta = event.get("content_block"), event.get("delta") or {}
        begun = block is not None and (block["type"] not in ("text", "thinking") or block.get("text"))
        if begun or (event.get("type") == "content_block_delta" and any(delta.get(name) for name in CONTENT)):
            return position
    return len(case.body) + 1


CONTENT = ("text", "thinking", "partial_json", "signature", "citation", "content")


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=True, ok=True))
async def test_a_truncated_stream_never_ends_well(case: Case) -> None:
    begins = first_content(case)
    original = told(case.body)
    async with stage() as here:
        for name, ending in endings(case).items():
            positions = cuts(case) if name in ("clean", "reset") else cuts(case)[:: 4 if name == "closed" else 8]
            for position in positions:
                reply = await here.replay(case, "anthropic-messages", ending(case.body[:position]))

                events = relayed(reply.body) if reply.status == 200 else []
                # A reset may take along what came before it, so there the answer may be either.
                assert reply.status != 200 or position >= begins
                assert reply.status == 200 or position < begins or name == "reset"
                if events:
                    name_of_last, data = events.pop()
                    assert name_of_last == "error"
                    assert [kind for kind, _ in events] == [kind for kind, _ in original[: len(events)]]
                    assert "message_stop" not in {kind for kind, _ in events}
                else:
                    assert reply.status in (502, 503)
                    data = reply.body
                assert json.loads(data)["error"]["type"] in ("provider_error", "overloaded_error")
                assert json.loads(data)["error"]["provider"] == "anthropic"


HELLO = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
HELLO_ANSWER = pieces(http(json.dumps(HELLO).encode(), headers={"content-type": "application/json"}))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"anthropic/claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
        b'{"messages": [{"content": "hi", "role": "user"}], "max_tokens": 9, "model": "anthropic/claude-sonnet-4-5"}',
        b'\n{ "max_tokens" :9,\r\n\t"model"  :\t"anthropic/claude-sonnet-4-5" ,"messages":[ { "role":"user","content":"hi" } ]\n}\n',
        (
            b'{"model":"anthropic/claude-sonnet-4-5","max_tokens":9,"temperature":1.0,"top_p":0.10,"messages":'
            b'[{"role":"user","content":"hi"}],"x":1E2,"y":-0.0,"z":12345678901234567890123,"w":0.1000000000000000055511151231257827}'
        ),
        (
            b'{"model":"anthropic/claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":'
            b'"\\u00e9\\u4E2d\\ud83d\\ude00\\/\\b \xc3\xa9"}],"\\u0066uture":{"b":1,"a":[]},"":null}'
        ),
        b'{"model":"anthropic\\/claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
        (
            b'{"x":"\\"model\\":\\"anthropic/claude-sonnet-4-5\\"","y":{"model":"anthropic/claude-sonnet-4-5"},'
            b'"model":"anthropic/claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":false}'
        ),
        (
            b'{"model":"anthropic/claude-sonnet-4-5","max_tokens":9,"metadata":{"user_id": "u-1"},"messages":[{"role":"user",'
            b'"content":[{"type": "future_block","n":1.50}]}],"tools":[{"type":"future_20300101" , "name":"f"}],"stop_sequences":[ ]}'
        ),
    ],
    ids=["compact", "key order", "white space", "numbers", "escapes", "escaped name", "decoys", "unknown parts"],
)
async def test_a_request_arrives_as_it_was_written(body: bytes) -> None:
    async with stage() as here:
        reply = await here.ask(body, HELLO_ANSWER)

        assert reply.status == 200, reply.body
        name = fields(body)["model"]
        assert here.received.body in [
            body[: match.start()] + b'"claude-sonnet-4-5"' + body[match.end() :]
            for match in re.finditer(re.escape(name), body)
        ]
        assert fields(here.received.body)["model"] == b'"claude-sonnet-4-5"'


async def test_vangos_own_fields_stay_here_and_all_else_keeps_its_bytes() -> None:
    body = (
        b'{ "provider_keys": {"openai": "sk-of-another"}, "model": "anthropic/claude-sonnet-4-5", "fallbacks": [],\n'
        b'  "max_tokens": 9, "messages": [ {"role": "user", "content": "h\\u00ef"} ], "temperature": 1.0,'
        b' "extensions": {"anthropic": {"service_tier":  "auto"}, "openai": {"seed": 1}} }'
    )
    async with stage() as here:
        await here.ask(body, HELLO_ANSWER)

        arrived = fields(here.received.body)
        assert list(arrived.items()) == [
            ("model", b'"claude-sonnet-4-5"'),
            ("max_tokens", b"9"),
            ("messages", b'[ {"role": "user", "content": "h\\u00ef"} ]'),
            ("temperature", b"1.0"),
            ("service_tier", b'"auto"'),
        ]
        assert b"sk-of-another" not in here.received.body


async def test_a_repeated_field_reaches_the_provider_once_as_the_gate_read_it() -> None:
    body = (
        b'{"model":"claude-opus-4-1", "max_tokens":9, "model":"anthropic/claude-sonnet-4-5",'
        b' "messages":[{"role":"user","content":"hi"}]}'
    )
    async with stage() as here:
        await here.ask(body, HELLO_ANSWER)

        assert here.received.body.count(b'"model"') == 1
        assert fields(here.received.body)["model"] == b'"claude-sonnet-4-5"'


async def test_no_header_of_the_client_goes_along_but_anthropics_two() -> None:
    secrets = {
        "authorization": "Bearer vango-key-of-the-client",
        "x-api-key": "vango-key-of-the-client",
        "cookie": "session=of-the-client",
        "user-agent": "of-the-client",
        "x-stainless-lang": "of-the-client",
        "x-forwarded-for": "203.0.113.9",
        "accept-encoding": "gzip, br",
        "x-provider-key-openai": "of-the-client",
        "origin": "http://of-the-client",
        "x-request-id": "of-the-client",
    }
    body = json.dumps({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO_ASKED}).encode()
    async with stage() as here:
        given = {**secrets, "anthropic-version": "2023-01-01", "anthropic-beta": "a-2025-01-01,b-2025-01-01"}
        await here.ask(body, HELLO_ANSWER, headers=given)

        headers = dict(here.received.headers)
        assert len(headers) == len(here.received.headers)
        assert not [name for name, value in headers.items() if "of-the-client" in value or "203.0.113.9" in value]
        assert headers.pop("host") == here.upstream.origin.authority
        assert headers == {
            "content-type": "application/json",
            "accept": "application/json",
            "anthropic-version": "2023-01-01",
            "anthropic-beta": "a-2025-01-01,b-2025-01-01",
            "x-api-key": KEY,
            "content-length": str(len(here.received.body)),
        }


HELLO_ASKED = [{"role": "user", "content": "hi"}]
