"""Whatever is sent, the answer says what was wrong with it, no traceback is logged, and the server goes on."""

from __future__ import annotations

import io
import json
import random
import socket
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.raw import Raw
from tests.support.server import HELLO, Running, running
from vango.app.factory import make_app
from vango.app.server import Drain
from vango.app.telemetry import make_log
from vango.config import Settings
from vango.gateway import LocalGateway

TYPES = {
    400: {"invalid_request_error"},
    401: {"authentication_error"},
    404: {"not_found_error"},
    405: {"invalid_request_error"},
    408: {"invalid_request_error"},
    413: {"invalid_request_error"},
    415: {"invalid_request_error"},
    431: {"invalid_request_error"},
    501: {"invalid_request_error"},
    505: {"invalid_request_error"},
}
"""The refusals of what a client sent. The last two are HTTP's own words for what it asks of the protocol."""


def check_refusal(status: int, headers: Any, body: bytes) -> dict[str, Any]:
    """Hold a refusal against the contract, and return its error."""
    assert status in TYPES, (status, body)
    assert headers["content-type"] == "application/json"
    envelope = json.loads(body)
    error: dict[str, Any] = envelope["error"]
    assert envelope["type"] == "error"
    assert error["type"] in TYPES[status]
    assert error["message"]
    assert envelope["request_id"] == error["request_id"] == headers["x-request-id"] == headers["request-id"]
    return error


def check_log(log: str) -> None:
    assert "request_failed" not in log
    assert "Traceback" not in log


async def check_alive(server: Running) -> None:
    """See that the server still answers, and had nothing to complain about so far."""
    assert (await server.http.get("/ready")).status_code == 200
    assert (await server.post()).status_code == 200
    await trio.testing.wait_all_tasks_blocked()
    check_log(server.log.getvalue())


# Bodies, without a socket: the application itself

log = io.StringIO()


@cache
def application() -> Any:
    gateway = LocalGateway(Settings.model_validate({"observability": {"logging": {"content": True}}}))
    return make_app(gateway, drain=Drain(), log=make_log(log, level="info", style="json"))


async def ask(body: bytes, path: str = "/v1/messages") -> tuple[int, dict[str, str], bytes]:
    """Post a body to the application; return status, headers and body of its answer."""
    asked = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not asked:
            await trio.sleep_forever()
        return asked.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    log.seek(0)
    log.truncate()
    await application()(scope, receive, send)
    check_log(log.getvalue())
    start, *pieces = sent
    headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return start["status"], headers, b"".join(piece["body"] for piece in pieces)


async def answered(body: bytes) -> dict[str, Any] | None:
    """Return the error that a body gets, or None where it is a request."""
    status, headers, answer = await ask(body)
    return None if status == 200 else check_refusal(status, headers, answer)


FULL: dict[str, Any] = {
    "model": "sandbox/chat",
    "max_tokens": 20,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "temperature": 0.5,
    "top_k": 5,
    "stop_sequences": ["END"],
    "tools": [{"name": "look", "description": "Looks", "input_schema": {"type": "object", "properties": {"at": {}}}}],
    "tool_choice": {"type": "auto"},
    "stream": False,
    "metadata": {"user_id": "u"},
    "output": {"modalities": ["text"]},
    "output_config": {"effort": "low"},
    "extensions": {"sandbox": {"x": 1}, "anthropic": {}},
    "provider_keys": {"anthropic": "sk"},
    "fallbacks": ["sandbox/echo"],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}, {"type": "image", "source": {"type": "url", "url": "x"}}],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}]},
    ],
}


class Spelt:
    """A value that only the wire can say: its exact bytes."""

    def __init__(self, text: str) -> None:
        self.text = text


ODD = [
    *(
        "1e999",
        "-1e-999",
        "1" * 5000,
        "0.1e1",
        "-0",
        '"\\u0000"',
        '"\\ud83d\\ude00"',
        '"' + "x" * 5000 + '"',
        "[[[[[]]]]]",
    ),
    *(
        '{"":{}}',
        '{"a":1,"a":2}',
        '{"type":"text","text":"x","text":5}',
        "[{}]",
        '"sandbox/fail-500x"',
        "1e5",
        "true",
        "null",
    ),
    *('"\\r\\nx: y"', '{"\\r\\nx":1}', '{"\\u0000":null}', "18446744073709551616", "-9223372036854775809"),
]

values = (
    st.sampled_from([Spelt(text) for text in ODD])
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.just([])
    | st.just({})
)


def write(value: Any) -> str:
    """Write JSON, as `Spelt` wants it."""
    if isinstance(value, Spelt):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{write(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a value with another one at a path; `...` leaves the node out."""
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        changed = {name: put(item, rest, new) if name == key else item for name, item in value.items()}
        return {name: item for name, item in changed.items() if item is not ...}
    return [
        item for item in (put(old, rest, new) if at == key else old for at, old in enumerate(value)) if item is not ...
    ]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(list(places(FULL))[1:]), values | st.just(...), st.booleans())
@example(("max_tokens",), Spelt("1e999"), False)
@example(("messages", 0, "content", 0, "text"), Spelt("1e999"), False)
@example(("messages", 0, "content", 1, "source"), {"type": "x", "a": Spelt("1e999")}, True)
@example(("metadata",), {"a\r\nx-evil: 1": 1, "\u00e9; x=y": 2}, False)
@example(("metadata",), {"a\r\nx-evil: 1": 1}, True)
async def test_a_request_with_any_node_changed_is_answered_or_refused(
    path: tuple[Any, ...], new: Any, stream: bool
) -> None:
    body = write(put({**FULL, "stream": stream}, path, new)).encode()

    status, headers, answer = await ask(body)

    assert status < 500 or b'"provider":' in answer, answer
    if status >= 400:
        error = check_refusal(status, headers, answer)
        # The field at fault is named, or else the model: a name that nobody knows has no other place.
        assert error["param"] or "provider_error" in error, error
    assert not any(name.startswith("x-evil") or "\n" in value for name, value in headers.items())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 900), st.integers(0, 40))
async def test_a_body_with_noise_in_it_is_answered_or_refused(noise: bytes, at: int, gone: int) -> None:
    whole = json.dumps(FULL).encode()

    await answered(whole[:at] + noise + whole[at + gone :])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(places(FULL))[1:]), values | st.just(...))
async def test_what_cannot_be_counted_is_refused_alike(path: tuple[Any, ...], new: Any) -> None:
    status, headers, answer = await ask(write(put(FULL, path, new)).encode(), "/v1/messages/count_tokens")

    if status == 200:
        assert json.loads(answer)["input_tokens"] > 0
    else:
        check_refusal(status, headers, answer)


# Bodies over HTTP

START = b'{"model":"sandbox/chat","messages":[{"role":"user","content":"x"}],"x":'

BODIES: list[tuple[bytes, str]] = [
    (b"", "The body is empty"),
    (b"  \r\n", "The body is empty"),
    (b"null", "must be a JSON object"),
    (b"[]", "must be a JSON object"),
    (b'"{}"', "must be a JSON object"),
    (b"5", "must be a JSON object"),
    (b"{", "not valid JSON"),
    (START + b"1", "not valid JSON"),
    (START + b"NaN}", "not valid JSON"),
    (START + b"Infinity}", "not valid JSON"),
    (START + b"-Infinity}", "not valid JSON"),
    (START + b"undefined}", "not valid JSON"),
    (START + b"'x'}", "not valid JSON"),
    (START + b"01}", "not valid JSON"),
    (START + b".5}", "not valid JSON"),
    (START + b"1}garbage", "not valid JSON"),
    (START + b"1}{}", "not valid JSON"),
    (START + b"1,}", "not valid JSON"),
    (START + b'"\x01"}', "not valid JSON"),
    (START + b'"\\x41"}', "not valid JSON"),
    (START + b'"\\ud800"}', "lone surrogate"),
    (START + b'"\\ud800 and more text behind it"}', "lone surrogate"),
    (START + b'"\\udc00"}', "lone surrogate"),
    (START + b'{"\\udfff":1}}', "lone surrogate"),
    (START + b'"\xff"}', "not valid UTF-8"),
    (START + b'"\xc3"}', "not valid UTF-8"),
    (START + b'"\xed\xa0\x80"}', "not valid UTF-8"),
    (b"\xef\xbb\xbf" + START + b"1}", "not valid JSON"),
    ((START + b"1}").decode().encode("utf-16"), "not valid UTF-8"),
    ((START + b"1}").decode().encode("utf-16-le"), "not valid JSON"),
    (START + b"[" * 101 + b"]" * 101 + b"}", "nested deeper than 100 levels"),
    (START + b'{"a":' * 101 + b"1" + b"}" * 102, "nested deeper than 100 levels"),
    (START + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    (START + b"[" * 200_000, "nested too deeply"),
    (b"<xml/>", "not valid JSON"),
    (b"model=sandbox/chat", "not valid JSON"),
]


@pytest.mark.parametrize("stream", [b"", b"?beta=true"])
async def test_what_is_not_a_json_object_is_refused_with_the_reason(stream: bytes) -> None:
    async with running() as server:
        for body, complaint in BODIES:
            reply = await server.http.post(f"/v1/messages{stream.decode()}", content=body)

            assert reply.status_code == 400, body[:100]
            error = check_refusal(400, reply.headers, reply.content)
            assert complaint in error["message"]
            assert error["param"] is None
        await check_alive(server)


@pytest.mark.parametrize(
    ("number", "stays"),
    [(b"1e400", b"1e400"), (b"9" * 5000, b"9" * 5000), (b"-0.0", b"-0.0"), (b"1.10", b"1.10"), (b"1E+2", b"1E+2")],
    ids=["1e400", "digits", "-0.0", "1.10", "1E+2"],
)
async def test_numbers_that_python_would_spoil_reach_the_provider_as_written(number: bytes, stays: bytes) -> None:
    async with running() as server:
        reply = await server.http.post("/v1/messages", content=START + number + b"}")

        assert reply.status_code == 200
        assert b'"x":' + stays in server.sandbox.calls[-1].body


async def test_a_body_of_another_kind_is_415() -> None:
    async with running() as server:
        for headers in (
            {"content-type": "text/plain"},
            {"content-type": "application/x-www-form-urlencoded"},
            {"content-type": "multipart/form-data; boundary=x"},
            {"content-type": "application/jsonx"},
            {"content-type": ";"},
            {"content-type": "\u00e9"},
            {"content-type": "application/json", "content-encoding": "gzip"},
            {"content-encoding": "br, identity"},
        ):
            reply = await server.http.post(
                "/v1/messages", content=json.dumps(HELLO), headers=httpx.Headers(headers, "latin-1")
            )
            expected = 200 if headers.get("content-type") == ";" else 415

            assert reply.status_code == expected, headers
            if expected == 415:
                check_refusal(415, reply.headers, reply.content)
        for kind in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json", ""):
            reply = await server.http.post("/v1/messages", content=json.dumps(HELLO), headers={"content-type": kind})
            assert reply.status_code == 200, kind
        await check_alive(server)


LIMITS = {"server": {"limits": {"max_body_bytes": 2048, "max_messages": 3, "max_nesting": 5}}}


async def test_a_body_beyond_the_limit_is_413_and_the_connection_ends() -> None:
    async with running(LIMITS) as server:
        for request in (
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2049\r\n\r\n",
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999\r\n\r\n",
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"400\r\n%b\r\n" % (b" " * 1024) * 3,
            b"POST /v1/messages/count_tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n" + b" " * 4096,
        ):
            async with await Raw.connect(server.port) as client:
                reply = await client.ask(request)
                _, end = await client.rest()

            assert reply.status == 413
            assert reply.headers["connection"] == "close"
            assert end == "eof"
            assert check_refusal(413, reply.headers, reply.body)["message"] == "The body is larger than 2048 bytes."
        body = json.dumps(HELLO).encode()
        exact = await server.http.post("/v1/messages", content=body + b" " * (2048 - len(body)))
        assert exact.status_code == 200
        await check_alive(server)


async def test_the_limits_of_a_request_are_those_of_the_configuration() -> None:
    message = HELLO["messages"][0]
    async with running(LIMITS) as server:
        many = await server.post({**HELLO, "messages": [message] * 4})
        deep = await server.post({**HELLO, "x": [[[[[]]]]]})

        assert check_refusal(400, many.headers, many.content)["param"] == "messages"
        assert "nested deeper than 5 levels" in check_refusal(400, deep.headers, deep.content)["message"]
        assert (await server.post({**HELLO, "messages": [message] * 3, "x": [[[[]]]]})).status_code == 200


# Targets, hosts and heads


def get(target: bytes, *lines: bytes, host: bytes = b"x", method: bytes = b"GET") -> bytes:
    extra = b"".join(line + b"\r\n" for line in lines)
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, extra)


TARGETS = {
    **dict.fromkeys(
        [b"?x", b"http://[::1", b"*", b"http://evil/health", b"http://", b"http:///health", b"x", b"#"], 400
    ),
    **dict.fromkeys(
        [b"ftp://x/health", b"x:80", b"http://user@x/health", b"http://x:80/health", b"://x/", b"%2fhealth"], 400
    ),
    **dict.fromkeys(
        [b"http://x/health", b"HTTP://X/health", b"https://x/health?y", b"/health?%ff=%", b"/health?"], 200
    ),
    **dict.fromkeys([b"/health/", b"/HEALTH", b"/health#x", b"/health;x", b"/./health", b"/x/../health"], 404),
    **dict.fromkeys(
        [b"/health%00", b"/%", b"/%zz", b"/%ff%fe", b"/%0d%0aSet-Cookie:x", b"/\\health", b"/health%20"], 404
    ),
    **dict.fromkeys(
        [b"/v1/models/%ff", b"/v1/models/%00", b"/v1/models/a%0d%0ab", b"/v1/models//x", b"/v1/models/"], 404
    ),
    **dict.fromkeys([b"/v1/models/..%2f..%2fetc", b"/v1/models/%25", b"/" + b"a" * 20_000], 404),
    **dict.fromkeys([b"/%68ealth", b"/h%65alth", b"//health"], 200),
    b"/" + b"a" * 40_000: 431,
}


async def test_odd_targets_are_answered_or_refused() -> None:
    async with running() as server:
        for target, status in TARGETS.items():
            async with await Raw.connect(server.port) as client:
                reply = await client.ask(get(target))

            assert reply.status == status, target[:100]
            if status >= 400:
                check_refusal(status, reply.headers, reply.body)
        await check_alive(server)


HOSTS = {
    **dict.fromkeys(
        [b"x", b"example.com", b"example.com.", b"EXAMPLE.com:80", b"[::1]:8080", b"127.0.0.1:1", b"a_b-c"], 200
    ),
    **dict.fromkeys([b"", b"x:", b"a" * 63, b"xn--nxasmq6b"], 200),
    **dict.fromkeys(
        [b"a" * 64, b"..", b"a..b", b".a", b"\xff\xfe", b'"><script>', b"a b", b"a/b", b"a@b", b"%00"], 400
    ),
    **dict.fromkeys([b"x:y", b"x:123456", b"[::1", b"[x]", b"x\ty", b"x,y", b"x?y", b"x#y"], 400),
}


@pytest.mark.parametrize("target", [b"/", b"/health", b"/nope", b"/v1/messages"])
async def test_odd_hosts_are_refused_before_anything_looks_at_them(target: bytes) -> None:
    statuses = {b"/": 200, b"/health": 200, b"/nope": 404, b"/v1/messages": 405}
    async with running() as server:
        for host, status in HOSTS.items():
            async with await Raw.connect(server.port) as client:
                reply = await client.ask(get(target, host=host))

            assert reply.status == (statuses[target] if status == 200 else 400), host
            assert b"<script>" not in reply.body
            if reply.status >= 400:
                check_refusal(reply.status, reply.headers, reply.body)
        await check_alive(server)


HANDSHAKE = [
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
]


async def test_a_websocket_that_nobody_takes_is_answered_as_the_get_that_it_is() -> None:
    async with running() as server:
        for target, host, status in [
            (b"/v1/messages/live", b"x", 404),
            (b"/nope", b"x", 404),
            (b"/v1/messages", b"x", 405),
            (b"/health", b"x", 200),
            (b"?x", b"x", 400),
            (b"http://[::1", b"x", 400),
            (b"/health", b"..", 400),
        ]:
            async with await Raw.connect(server.port) as client:
                reply = await client.ask(get(target, *HANDSHAKE, host=host))

            assert reply.status == status, target
            assert len(reply.headers["x-request-id"]) > 8
            if status >= 400:
                check_refusal(status, reply.headers, reply.body)
        await check_alive(server)
    assert {line["path"] for line in server.lines()} >= {"/health", "/v1/messages", "unmatched"}


MALFORMED = [
    (b"GET /health\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\n\r\n", 400),
    (b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    (b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    (b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /he alth HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /h\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /h\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"G\x00T /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 400),
    (b"SSH-2.0-x\r\n\r\n", 400),
    (get(b"/health", b"Host: y"), 400),
    (get(b"/health", b"No colon"), 400),
    (get(b"/health", b": x"), 400),
    (get(b"/health", b"A b: x"), 400),
    (get(b"/health", b"X: a\x00b"), 400),
    (get(b"/health", b"X\xff: a"), 400),
    (get(b"/health", b"X : a"), 400),
    (get(b"/health", b"X: " + b"a" * 40_000), 431),
    (get(b"/health", *[b"X-%d: a" % at for at in range(300)]), 431),
    (get(b"/health", b"Content-Length: -1"), 400),
    (get(b"/health", b"Content-Length: 1e3"), 400),
    (get(b"/health", b"Content-Length: 5", b"Content-Length: 6"), 400),
    (get(b"/health", b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    (get(b"/health", b"Transfer-Encoding: gzip, chunked"), 501),
    (get(b"/health", b"Transfer-Encoding: chunked, chunked"), 501),
    (get(b"/v1/messages", b"Transfer-Encoding: chunked", method=b"POST") + b"zz\r\n", 400),
    (get(b"/v1/messages", b"Transfer-Encoding: chunked", b"Content-Length: 3", method=b"POST") + b"0\r\n\r\n", 400),
]


async def test_what_is_not_http_is_refused_in_the_same_envelope() -> None:
    async with running() as server:
        for request, status in MALFORMED:
            async with await Raw.connect(server.port) as client:
                reply = await client.ask(request)
                rest, end = await client.rest()

            assert reply.status == status, request[:80]
            assert (rest, end) == (b"", "eof"), request[:80]
            check_refusal(status, reply.headers, reply.body)
        await check_alive(server)


WHOLE = json.dumps(HELLO).encode()
VALID = (
    get(b"/v1/messages", b"Content-Type: application/json", b"Content-Length: %d" % len(WHOLE), method=b"POST") + WHOLE
)
PIECES = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b"\xff",
        b" ",
        b"\t",
        b":",
        b"?",
        b"%",
        b"/",
        b"//",
        b"..",
        b"HTTP/1.1",
        b"HTTP/0.9",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99999\r\n", b"Upgrade: h2c\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n"),
    *(
        b"Host: \r\n",
        b"Host: ..\r\n",
        b"X-API-Key: \xff\r\n",
        b"X-Provider-Key-: x\r\n",
        b"X-Provider-Key-Anthropic: \r\n",
    ),
    *(
        b"X-Request-ID: \xff\r\n",
        b"Origin: \xff\r\n",
        b"Cookie: \xff=;;\r\n",
        b"Content-Type: \xff\r\n",
        b"anthropic-beta: \xff\r\n",
    ),
    *(
        b"OPTIONS",
        b"HEAD",
        b"get",
        b"*",
        b"http://[",
        b"{",
        b"}",
        b'"',
        b"\\ud800",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
    ),
]


def damaged(seed: int) -> bytes:
    """Return a request with a few accidents."""
    chance = random.Random(seed)
    data = VALID if seed % 8 else chance.randbytes(200)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        if chance.random() < 0.3:
            at = chance.choice([0, data.find(b"\r\n") + 2, data.find(b"\r\n\r\n") + 2])
        piece = chance.choice([*PIECES, chance.randbytes(chance.randint(1, 6))])
        data = data[:at] + piece + data[at + chance.choice([0, 0, 1, len(piece), 30]) :]
    return data


async def test_damaged_requests_never_break_the_server() -> None:
    statuses: set[int] = set()
    async with running() as server:
        for seed in range(400):
            async with await Raw.connect(server.port) as client:
                await client.send(damaged(seed))
                # Whatever there is to answer is answered; whoever waits for more then hears that there is none.
                await trio.testing.wait_all_tasks_blocked(0.003)
                client.sock.shutdown(socket.SHUT_WR)
                received, _ = await client.rest()
            for head, body in answers(received):
                status = int(head.split(b" ", 2)[1])
                statuses.add(status)
                if status >= 400:
                    check_refusal(status, headers_of(head), body)
        await check_alive(server)
    assert statuses >= {200, 400, 404, 405}


def answers(received: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Cut what a connection brought into heads and bodies; one that was cut off by the end is left out."""
    while received:
        head, found, received = received.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"HTTP/1.1 1"):
            continue
        size = int(headers_of(head).get("content-length", "0"))
        if b"HEAD" in head or len(received) < size:
            return
        yield head, received[:size]
        received = received[size:]


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


async def test_request_ids_are_the_callers_where_they_are_fit() -> None:
    async with running() as server:
        for given_id, taken in [
            (b"mine-1", True),
            (b"A.b_c-9" * 18, True),
            (b"x" * 128, True),
            (b"x" * 129, False),
            (b"two words", False),
            (b"\xff", False),
            (b"", False),
            (b"a;b", False),
            (b"../x", False),
        ]:
            for target in (b"/health", b"/nope", b"/v1/messages", b"?x"):
                async with await Raw.connect(server.port) as client:
                    reply = await client.ask(get(target, b"X-Request-ID: " + given_id))

                found = reply.headers["x-request-id"]
                assert (found == given_id.decode("latin-1")) is taken
                assert found == reply.headers["request-id"]
                assert taken or found.startswith("req_")
