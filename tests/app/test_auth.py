"""Who gets in, as whom, and with whose key at the provider."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import trio.testing
from structlog.testing import CapturingLogger

from tests.support.raw import Raw, Reply
from tests.support.server import HELLO, Running, running
from vango.app.factory import make_app
from vango.app.server import Drain
from vango.config import Settings
from vango.gateway import LocalGateway
from vango.types.script import Script

KEY = "vango_sk_PLANTED"
HASHED = "vango_sk_HASHED"
UP = {"api_key": "sk-ant-operators", "base_url": "sandbox://anthropic"}
ASKED: dict[str, Any] = {**HELLO, "model": "anthropic/claude-sonnet-4-5"}

KEYS: list[dict[str, Any]] = [
    {"key": KEY, "name": "Production", "user_id": "user_1"},
    {"key_hash": hashlib.sha256(HASHED.encode()).hexdigest().upper(), "name": "Hashed"},
    {"key": "vango_sk_DISABLED", "name": "Disabled", "disabled": True},
    {"key": "vango_sk_EXPIRED", "name": "Expired", "expires_at": "2020-01-01T00:00:00Z"},
    {"key": "vango_sk_FUTURE", "name": "Future", "expires_at": "2999-01-01T00:00:00Z"},
    {"key": "vango_sk_LIMITED", "name": "Limited", "models": ["anthropic/*", "sandbox/ch?t"]},
]
GUARDED: dict[str, Any] = {"auth": {"mode": "api_key", "api_keys": KEYS}, "providers": {"anthropic": UP}}
PASSTHROUGH: dict[str, Any] = {"auth": {"mode": "passthrough"}, "providers": {"anthropic": UP}}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def error(reply: Any) -> dict[str, Any]:
    return reply.json()["error"]  # type: ignore[no-any-return]


async def last_line(server: Running) -> dict[str, Any]:
    await trio.testing.wait_all_tasks_blocked()
    return server.lines()[-1]


async def ask(server: Running, *lines: bytes, target: bytes = b"/v1/messages", body: Any = HELLO) -> Reply:
    """Post with exactly these header lines."""
    data = json.dumps(body).encode()
    head = b"".join(line + b"\r\n" for line in (b"Host: x", *lines, b"Content-Length: %d" % len(data)))
    async with await Raw.connect(server.port) as client:
        return await client.ask(b"POST %b HTTP/1.1\r\n%b\r\n%b" % (target, head, data))


def keys_of(server: Running) -> dict[str, str]:
    """Return the key headers of the last call to a provider."""
    return {name: value for name, value in server.sandbox.calls[-1].headers if name in ("x-api-key", "authorization")}


# Keys of this server

LET_IN = [
    ([b"Authorization: Bearer " + KEY.encode()], "user_1"),
    ([b"authorization: bearer " + KEY.encode()], "user_1"),
    ([b"AUTHORIZATION: BEARER   " + KEY.encode() + b"  "], "user_1"),
    ([b"X-API-Key: " + KEY.encode()], "user_1"),
    ([b"x-api-key:" + KEY.encode()], "user_1"),
    ([b"X-API-Key: ", b"Authorization: Bearer " + KEY.encode()], "user_1"),
    ([b"X-API-Key: leftover", b"Authorization: Bearer " + KEY.encode()], "user_1"),
    ([b"X-API-Key: " + KEY.encode(), b"Authorization: Bearer leftover"], "user_1"),
    ([b"X-API-Key: " + HASHED.encode()], "Hashed"),
    ([b"X-API-Key: vango_sk_FUTURE"], "Future"),
]
KEPT_OUT = [
    [],
    [b"Authorization: Bearer"],
    [b"Authorization: Bearer "],
    [b"Authorization: " + KEY.encode()],
    [b"Authorization: Basic " + KEY.encode()],
    [b"Authorization: Bearer" + KEY.encode()],
    [b"Authorization: Bearer " + KEY.encode() + b" x"],
    [b"Authorization: Bearer " + KEY.encode() + b","],
    [b"Authorization: Bearer " + KEY.lower().encode()],
    [b"Authorization: Bearer " + KEY[:-1].encode()],
    [b"X-API-Key: "],
    [b"X-API-Key: wrong"],
    [b"X-API-Key: Bearer " + KEY.encode()],
    [b"X-API-Key: schl\xc3\xbcssel"],
    [b"X-API-Key: \xff\xfe"],
    [b"X-API-Key: " + hashlib.sha256(HASHED.encode()).hexdigest().encode()],
    [b"X-API-Key: vango_sk_DISABLED"],
    [b"X-API-Key: vango_sk_EXPIRED"],
    [b"Cookie: x-api-key=" + KEY.encode()],
    [b"X-Provider-Key-Anthropic: " + KEY.encode()],
    [b"Proxy-Authorization: Bearer " + KEY.encode()],
    [b"X_API_Key: " + KEY.encode()],
]


async def test_a_key_is_shown_in_either_header_whatever_its_case() -> None:
    async with running(GUARDED) as server:
        for lines, principal in LET_IN:
            reply = await ask(server, *lines)

            assert reply.status == 200, lines
            assert (await last_line(server))["user_id"] == principal


async def test_everything_else_is_401() -> None:
    async with running(GUARDED) as server:
        for lines in KEPT_OUT:
            for target in (b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/messages?x-api-key=" + KEY.encode()):
                reply = await ask(server, *lines, target=target)

                assert reply.status == 401, lines
                assert json.loads(reply.body)["error"]["type"] == "authentication_error"
                assert (await last_line(server))["user_id"] is None
        assert not server.sandbox.calls


async def test_an_expired_key_says_so_and_a_disabled_one_does_not() -> None:
    async with running(GUARDED) as server:
        expired = error(await server.post(headers={"x-api-key": "vango_sk_EXPIRED"}))
        disabled = error(await server.post(headers={"x-api-key": "vango_sk_DISABLED"}))

    assert (expired["code"], disabled["code"]) == ("key_expired", None)


async def test_who_may_not_come_in_is_told_before_the_body_is_read() -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\nExpect: 100-continue\r\n\r\n"
    async with running(GUARDED) as server, await Raw.connect(server.port) as client:
        reply = await client.ask(head)

        assert (reply.status, reply.headers["connection"]) == (401, "close")


async def test_a_key_may_be_limited_to_models() -> None:
    settings = {**GUARDED, "aliases": {"smart": "anthropic/claude-sonnet-4-5", "chatty": "sandbox/echo"}}
    headers = {"x-api-key": "vango_sk_LIMITED"}
    async with running(settings) as server:
        statuses = {
            model: (await server.post({**HELLO, "model": model}, headers=headers)).status_code
            for model in (
                *("sandbox/chat", "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5", "smart", "anthropic/fable"),
                *("sandbox/echo", "chatty", "sandbox/chat2", "sandbox/CHAT"),
            )
        }
        refused = await server.post({**HELLO, "model": "chatty"}, headers=headers)
        counted = await server.http.post(
            "/v1/messages/count_tokens", json={**HELLO, "model": "chatty"}, headers=headers
        )
        fallback = await server.post({**HELLO, "fallbacks": ["sandbox/echo"]}, headers=headers)
        extended = {**HELLO, "extensions": {"sandbox": {"model": "echo"}}}
        smuggled = await server.post(extended, headers=headers)
        doubled = b'{"model":"sandbox/echo",' + json.dumps(HELLO).encode()[1:]
        double = await server.http.post("/v1/messages", content=doubled, headers=headers)

        assert statuses == {
            "sandbox/chat": 200,
            "anthropic/claude-sonnet-4-5": 404,  # let through: it is the sandbox that has no such model
            "claude-sonnet-4-5": 404,
            "smart": 404,
            "anthropic/fable": 404,
            "sandbox/echo": 403,
            "chatty": 403,
            "sandbox/chat2": 403,
            "sandbox/CHAT": 403,
        }
        assert error(refused)["type"] == "permission_error"
        assert error(refused)["code"] == error(counted)["code"] == error(fallback)["code"] == "model_not_allowed"
        assert (smuggled.status_code, error(smuggled)["param"]) == (400, "extensions.sandbox.model")
        assert double.status_code == 200
        assert server.sandbox.calls[-1].body.count(b'"model"') == 1


async def test_without_authentication_the_callers_key_goes_nowhere() -> None:
    async with running({"providers": {"anthropic": UP}}) as server:
        for headers in ({"x-api-key": "sk-callers"}, bearer("sk-callers")):
            await server.post(ASKED, headers=headers)

            assert keys_of(server) == {"x-api-key": "sk-ant-operators"}
            await server.post(headers=headers)
            assert keys_of(server) == {}
            assert (await last_line(server))["user_id"] == "127.0.0.1"


# Every way to every route

PUBLIC = {"/", "/health", "/ready", "/metrics", "/openapi.json"}
CLOSED = {"/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/models/<path:name>"}


def routes() -> dict[str, set[str]]:
    """Return all routes that the application has, with their methods."""
    app: Any = make_app(LocalGateway(Settings()), drain=Drain(), log=CapturingLogger())
    found = {path: set(methods) for path, methods in app._plain.items()}
    for rule in app._inner.url_map.iter_rules():
        found.setdefault(rule.rule, set()).update(rule.methods - {"HEAD"})
    return found


def test_the_public_routes_are_exactly_the_documented_ones() -> None:
    assert set(routes()) == PUBLIC | CLOSED


@pytest.mark.parametrize("settings", [GUARDED, PASSTHROUGH], ids=["api_key", "passthrough"])
async def test_every_route_but_the_public_ones_asks_for_a_key(settings: dict[str, Any]) -> None:
    async with running(settings) as server:
        for path, methods in routes().items():
            for method in methods | ({"HEAD"} if "GET" in methods else set()):
                reply = await server.http.request(method, path.replace("<path:name>", "sandbox/chat"))

                expected = 200 if path in PUBLIC else 401
                assert reply.status_code == expected, (method, path)
                if expected == 401 and method != "HEAD":
                    assert error(reply)["type"] == "authentication_error"
        assert not server.sandbox.calls


VARIANTS = [
    *(b"//v1/messages", b"///v1/messages", b"/v1//messages", b"/v1/messages/", b"/v1/messages//", b"/V1/MESSAGES"),
    *(
        b"/v1/%6dessages",
        b"/%76%31/messages",
        b"/v1%2fmessages",
        b"/v1%2Fmessages",
        b"/%2fv1/messages",
        b"/v1/messages%2f",
    ),
    *(b"/v1/./messages", b"/health/../v1/messages", b"/health/..%2fv1/messages", b"/v1/messages;x", b"/v1/messages%00"),
    *(b"/v1/messages%20", b"/v1/messages?health", b"/v1/messages#/health", b"/v1/messages?/health", b"\\v1\\messages"),
    *(
        b"http://x/v1/messages",
        b"http://x//v1/messages",
        b"HTTP://X/v1/%6dessages",
        b"http://evil/v1/messages",
        b"?/v1/messages",
    ),
    *(
        b"/health?/../v1/messages",
        b"//x/v1/messages",
        b"/metrics/v1/messages",
        b"/v1/models",
        b"//v1/models",
        b"/v1/%6dodels",
    ),
    *(
        b"/v1/models/sandbox/chat",
        b"/v1/models/sandbox%2fchat",
        b"//v1/models/sandbox/chat",
        b"http://x//v1/models",
        b"/v1/models/",
    ),
]


@pytest.mark.parametrize("method", [b"POST", b"GET", b"HEAD", b"post", b"get"])
async def test_no_spelling_of_a_path_gets_past_the_gate(method: bytes) -> None:
    body = json.dumps(HELLO).encode()
    lines = (
        b"Host: x\r\nConnection: close\r\nContent-Length: %d\r\nX-Original-URL: /health\r\nX-Rewrite-URL: /health\r\n\r\n"
        % len(body)
    )
    async with running(GUARDED) as server:
        for target in VARIANTS:
            async with await Raw.connect(server.port) as client:
                await client.send(b"%b %b HTTP/1.1\r\n%b%b" % (method, target, lines, body))
                reply = await client.reply(head_only=method == b"HEAD")

            assert reply.status in (400, 401, 404, 405) or target.startswith(b"/health?"), target
            assert b'"data"' not in reply.body
            assert b'"model"' not in reply.body
        assert not server.sandbox.calls


# Keys for the provider


@pytest.mark.parametrize(
    "headers", [{"x-api-key": "sk-ant-callers"}, bearer("sk-ant-callers")], ids=["x-api-key", "bearer"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_is_passed_through_as_it_came(headers: dict[str, str], stream: bool) -> None:
    async with running(PASSTHROUGH) as server:
        await server.post({**ASKED, "stream": stream}, headers=headers)
        line = await last_line(server)

        assert {name: value.lower() for name, value in keys_of(server).items()} == {
            name: value.lower() for name, value in headers.items()
        }
        assert line["user_id"].startswith("key-")
        assert "callers" not in json.dumps(line)


async def test_a_key_is_passed_through_to_a_provider_of_ones_own() -> None:
    settings = {
        "auth": {"mode": "passthrough"},
        "providers": {"mine": {"kind": "anthropic", "base_url": "sandbox://mine"}},
    }
    async with running(settings) as server:
        server.sandbox.replies(Script.text("Hello"))
        await server.post({**HELLO, "model": "mine/x"}, headers=bearer("sk-callers"))

        assert keys_of(server) == {"authorization": "Bearer sk-callers"}


async def test_a_key_is_not_passed_through_to_the_sandbox() -> None:
    async with running(PASSTHROUGH) as server:
        reply = await server.post(headers=bearer("sk-ant-callers"))

        assert (reply.status_code, keys_of(server)) == (200, {})


HEADER = {"x-provider-key-anthropic": "sk-header"}
BODY = {"provider_keys": {"anthropic": "sk-body"}}
SHOWN = {"x-api-key": "sk-shown"}


@pytest.mark.parametrize(
    ("settings", "headers", "body", "expected"),
    [
        (PASSTHROUGH, {**SHOWN, **HEADER}, BODY, "sk-header"),
        (PASSTHROUGH, {**SHOWN, "X-PROVIDER-KEY-ANTHROPIC": "sk-header"}, BODY, "sk-header"),
        (PASSTHROUGH, SHOWN, BODY, "sk-body"),
        (PASSTHROUGH, SHOWN, {"provider_keys": {"Anthropic": "sk-body"}}, "sk-body"),
        (PASSTHROUGH, SHOWN, {}, "sk-shown"),
        (GUARDED, {"x-api-key": KEY, **HEADER}, {}, "sk-header"),
        (GUARDED, {"x-api-key": KEY}, BODY, "sk-body"),
        (GUARDED, {"x-api-key": KEY}, {}, "sk-ant-operators"),
        ({"providers": {"anthropic": UP}}, {"x-provider-key-openai": "sk-other"}, {}, "sk-ant-operators"),
        ({"providers": {"anthropic": UP}}, {}, {"provider_keys": {"openai": "sk-other"}}, "sk-ant-operators"),
    ],
)
async def test_the_first_provider_key_found_wins(
    settings: dict[str, Any], headers: dict[str, str], body: dict[str, Any], expected: str
) -> None:
    async with running(settings) as server:
        await server.post({**ASKED, **body}, headers=headers)

        assert keys_of(server) == {"x-api-key": expected}
        assert b"provider_keys" not in server.sandbox.calls[-1].body


async def test_without_any_key_the_caller_is_told_where_to_put_one() -> None:
    async with running() as server:
        reply = await server.post(ASKED)

    assert reply.status_code == 401
    assert error(reply)["type"] == "authentication_error"
    assert (error(reply)["code"], error(reply)["provider"]) == ("provider_key_missing", "anthropic")
    assert "X-Provider-Key-Anthropic" in error(reply)["message"]


@pytest.mark.parametrize(("headers", "body"), [(HEADER, {}), ({}, BODY), ({"x-provider-key-x": ""}, {})])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_a_server_may_take_no_provider_keys(headers: dict[str, str], body: dict[str, Any], path: str) -> None:
    settings = {"auth": {"allow_byok": False}, "providers": {"anthropic": UP}}
    async with running(settings) as server:
        reply = await server.http.post(path, json={**ASKED, **body}, headers=headers)

        assert reply.status_code == 403
        assert (error(reply)["type"], error(reply)["code"]) == ("permission_error", "byok_disabled")
        assert not server.sandbox.calls


@pytest.mark.parametrize(
    ("headers", "body", "param"),
    [
        ({"x-provider-key-anthropic": ""}, {}, "X-Provider-Key-anthropic"),
        ({"x-provider-key-anthropic": "two words"}, {}, "X-Provider-Key-anthropic"),
        ({}, {"provider_keys": {"anthropic": ""}}, "provider_keys.anthropic"),
        ({}, {"provider_keys": {"anthropic": "a\r\nx-evil: 1"}}, "provider_keys.anthropic"),
        ({}, {"provider_keys": {"anthropic": "schl\u00fcssel"}}, "provider_keys.anthropic"),
        ({}, {"provider_keys": {"anthropic": ["sk"]}}, "provider_keys.anthropic"),
    ],
)
async def test_a_provider_key_that_is_none_is_refused(
    headers: dict[str, str], body: dict[str, Any], param: str
) -> None:
    async with running({"providers": {"anthropic": UP}}) as server:
        reply = await server.post({**ASKED, **body}, headers=headers)

        assert (reply.status_code, error(reply)["param"]) == (400, param)
        assert not server.sandbox.calls


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind"), [(401, "authentication_error"), (403, "permission_error")])
@pytest.mark.parametrize("headers", [HEADER, {}], ids=["caller's", "operator's"])
async def test_a_refused_key_is_the_callers_to_know_only_if_it_is_theirs(
    headers: dict[str, str], status: int, kind: str, stream: bool
) -> None:
    async with running({"providers": {"anthropic": UP}}) as server:
        server.sandbox.replies(Script.error(status, "Bad key."), Script.error(status, "Bad key."))
        reply = await server.post({**ASKED, "stream": stream}, headers=headers)

        if headers:
            assert (reply.status_code, error(reply)["type"]) == (status, kind)
        else:
            assert (reply.status_code, error(reply)["type"]) == (502, "provider_error")
        assert error(reply)["code"] == "provider_key_refused"
        assert len(server.sandbox.calls) == 1


# The address of the client

PROXIED = {"server": {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"]}}


@pytest.mark.parametrize(
    ("settings", "forwarded", "address"),
    [
        ({}, [b"203.0.113.9"], "127.0.0.1"),
        ({"server": {"trusted_proxies": ["192.0.2.0/24"]}}, [b"203.0.113.9"], "127.0.0.1"),
        (PROXIED, [], "127.0.0.1"),
        (PROXIED, [b"203.0.113.9"], "203.0.113.9"),
        (PROXIED, [b"6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (PROXIED, [b"6.6.6.6, 203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (PROXIED, [b"6.6.6.6", b"203.0.113.9,10.1.2.3"], "203.0.113.9"),
        (PROXIED, [b"2001:db9::1, 2001:db8::7"], "2001:db9::1"),
        (PROXIED, [b"::ffff:203.0.113.9, ::ffff:10.1.2.3"], "203.0.113.9"),
        (PROXIED, [b"10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        (PROXIED, [b"203.0.113.9, unknown"], "127.0.0.1"),
        (PROXIED, [b"203.0.113.9:4711"], "127.0.0.1"),
        (PROXIED, [b", ,"], "127.0.0.1"),
        (PROXIED, [b"203.0.113.9, \xff\xfe"], "127.0.0.1"),
    ],
)
async def test_a_forwarded_address_counts_from_trusted_proxies_only(
    settings: dict[str, Any], forwarded: list[bytes], address: str
) -> None:
    async with running(settings) as server:
        reply = await ask(server, *(b"X-Forwarded-For: " + value for value in forwarded))
        line = await last_line(server)

    assert reply.status == 200
    assert line["ip"] == line["user_id"] == address
