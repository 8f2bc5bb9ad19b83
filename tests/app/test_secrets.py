"""No key is ever seen again, whole or in part: not in answers to anybody but its provider, in logs, metrics, reprs or tracebacks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio.testing

from tests.support.raw import Raw
from tests.support.server import HELLO, Running, running
from vango.app.exchange import Exchange
from vango.app.gate import Gate
from vango.app.telemetry import Metrics
from vango.cli import main
from vango.config import Settings, load
from vango.errors import ConfigError
from vango.gateway import LocalGateway
from vango.providers.anthropic import AnthropicCodec
from vango.providers.anthropic.stream import AnthropicDecoder
from vango.types.messages import read_request
from vango.types.script import Break, Script, Send, Wait
from vango.wire.call import HttpCall

PLACES = [
    *("server", "passed", "header", "body", "configured", "extra", "environment", "store", "authorization"),
]
KEYS = {place: f"sk-{hashlib.sha256(place.encode()).hexdigest()}" for place in PLACES}
CONFIG = f"""
[auth]
mode = "api_key"
[[auth.api_keys]]
key = "{KEYS["server"]}"
name = "Production"
[providers.anthropic]
base_url = "sandbox://anthropic"
[providers.anthropic.headers]
x-extra = "{KEYS["extra"]}"
[providers.mine]
kind = "anthropic"
base_url = "sandbox://mine"
api_key = "{KEYS["configured"]}"
[rate_limits]
store = "redis://:{KEYS["store"]}@127.0.0.1/0"
"""
ENVIRON = {"ANTHROPIC_API_KEY": KEYS["environment"]}
ASKED: dict[str, Any] = {**HELLO, "model": "anthropic/claude-sonnet-4-5"}


def leaks(text: str) -> list[str]:
    """Name the places whose key a text holds eight characters of."""
    return [
        place
        for place, key in KEYS.items()
        if any(key[at : at + 8].lower() in text.lower() for at in range(3, len(key) - 7))
    ]


def shown(reply: httpx.Response) -> str:
    """Write an answer as a client sees it."""
    return f"{reply.status_code} {reply.headers!r} {reply.text}"


def settings(style: str = "json", mode: str = "api_key") -> Settings:
    changed = CONFIG.replace('mode = "api_key"', f'mode = "{mode}"')
    return load(f'{changed}\n[observability.logging]\nformat = "{style}"\nlevel = "debug"\n', ENVIRON)


async def check_silence(server: Running, capsys: pytest.CaptureFixture[str], *answers: httpx.Response) -> None:
    """See that neither answers, nor logs, nor metrics, nor the terminal show a key."""
    await trio.testing.wait_all_tasks_blocked()
    assert server.log.getvalue()
    assert leaks(server.log.getvalue()) == []
    for path in ("/metrics", "/health", "/openapi.json", "/"):
        assert leaks(shown(await server.http.get(path))) == []
    for reply in answers:
        assert leaks(shown(reply)) == [], shown(reply)[:500]
    assert leaks("".join(capsys.readouterr())) == []


def test_the_keys_are_told_apart() -> None:
    assert leaks(f"x{KEYS['body'][10:18]}y {KEYS['extra'].upper()}") == ["body", "extra"]
    assert leaks("sk-ant-api03 and other words") == []


# What carries keys: each way in, alone and all together

AUTHORIZED = {"authorization": f"Bearer {KEYS['server']}"}
BROUGHT = {"x-provider-key-anthropic": KEYS["header"]}
WAYS: list[tuple[dict[str, str], dict[str, Any]]] = [
    (AUTHORIZED, {}),
    ({"x-api-key": KEYS["server"]}, {"model": "mine/x"}),
    ({**AUTHORIZED, **BROUGHT}, {}),
    (AUTHORIZED, {"provider_keys": {"anthropic": KEYS["body"], "mine": KEYS["body"], "other": KEYS["body"]}}),
    ({**AUTHORIZED, **BROUGHT, "cookie": KEYS["authorization"]}, {"provider_keys": {"anthropic": KEYS["body"]}}),
]


def echo(status: int, **headers: str) -> Callable[[HttpCall], Script]:
    """Return an upstream that repeats whatever it was sent, everywhere it can."""

    def answer(call: HttpCall) -> Script:
        said = " ".join(value for _, value in call.headers)
        pieces = " ".join(value[at : at + 8] for _, value in call.headers for at in range(0, len(value) - 7, 3))
        return Script.json(
            status,
            {
                "type": "error",
                "error": {
                    "type": said,
                    "message": f"messages.0.{KEYS['body']}: {said} {pieces}",
                    "details": {"error_code": said, KEYS["configured"]: pieces},
                },
                "request_id": said,
            },
            {
                "request-id": said,
                "x-request-id": said,
                "retry-after": said,
                "x-echo": said,
                "location": said,
                **headers,
            },
        )

    return answer


@pytest.mark.parametrize("style", ["json", "text"])
async def test_successes_show_no_key(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(settings(style)) as server:
        answers = []
        for headers, fields in WAYS:
            for stream in (False, True):
                server.sandbox.replies(Script.text("Hello", chunks=3))
                answers.append(await server.post({**ASKED, "stream": stream, **fields}, headers=headers))
                assert leaks(str(server.sandbox.calls[-1].headers)), "the provider gets a key"
            server.sandbox.replies(Script.json(200, {"input_tokens": 5}))
            counted = await server.http.post("/v1/messages/count_tokens", json={**ASKED, **fields}, headers=headers)
            answers += [counted, await server.http.get("/v1/models", headers=headers)]
        assert {reply.status_code for reply in answers} == {200}
        await check_silence(server, capsys, *answers)


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize(
    "status", [300, 400, 401, 402, 403, 404, 408, 413, 418, 422, 429, 500, 502, 503, 504, 529, 599]
)
async def test_a_refusal_that_repeats_the_keys_shows_none(
    status: int, style: str, capsys: pytest.CaptureFixture[str], nothing_waits: None
) -> None:
    async with running(settings(style)) as server:
        answers = []
        for headers, fields in WAYS:
            for stream in (False, True):
                server.sandbox.replies(*[echo(status)] * 3)
                answers.append(await server.post({**ASKED, "stream": stream, **fields}, headers=headers))
                server.sandbox._queue.clear()
        assert all(reply.status_code >= 400 for reply in answers)
        await check_silence(server, capsys, *answers)


async def test_a_request_id_that_repeats_the_keys_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(call: HttpCall) -> Script:
        said = " ".join(value for _, value in call.headers)
        good = Script.text("Hello")
        return Script(200, {**good.headers, "request-id": said}, good.steps, unstreamed=good.unstreamed)

    def whole(call: HttpCall) -> Script:
        script = answer(call)
        assert script.unstreamed is not None
        return Script(
            200, {**script.unstreamed.headers, "request-id": script.headers["request-id"]}, script.unstreamed.steps
        )

    async with running(settings()) as server:
        answers = []
        for headers, fields in WAYS:
            for stream, script in ((False, whole), (True, answer)):
                server.sandbox.replies(script)
                answers.append(await server.post({**ASKED, "stream": stream, **fields}, headers=headers))
        assert {reply.status_code for reply in answers} == {200}
        await check_silence(server, capsys, *answers)


async def test_a_failure_inside_a_stream_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    def midway(call: HttpCall) -> Script:
        said = {"type": "error", "error": {"type": "x", "message": str(call.headers)}, "request_id": str(call.headers)}
        begun = Script.text("Hello", chunks=3)
        return Script(
            200,
            begun.headers,
            (*begun.steps[:4], Wait(0), Send(b"event: error\ndata: " + json.dumps(said).encode() + b"\n\n")),
        )

    async with running(settings()) as server:
        answers = []
        for headers, fields in WAYS:
            server.sandbox.replies(midway)
            answers.append(await server.post({**ASKED, "stream": True, **fields}, headers=headers))
            assert "event: error" in answers[-1].text
        await check_silence(server, capsys, *answers)


@pytest.mark.parametrize("stream", [False, True])
async def test_accidents_on_the_way_show_none(
    stream: bool, capsys: pytest.CaptureFixture[str], nothing_waits: None
) -> None:
    scripts = [
        Script(200, {}, (), (Break("The peer reset the connection."),)),
        Script.recording(200, {"content-type": "application/json"}, b"not json " + KEYS["environment"].encode()),
        Script.recording(
            200, {"content-type": "text/event-stream"}, b"data: " + KEYS["environment"].encode() + b"\n\n"
        ),
        Script.recording(502, {"content-type": "text/html"}, b"<html>" + KEYS["environment"].encode()),
    ]
    async with running(settings()) as server:
        answers = []
        for script in scripts:
            server.sandbox.replies(*[script] * 3)
            answers.append(await server.post({**ASKED, "stream": stream}, headers=AUTHORIZED))
            server.sandbox._queue.clear()
        assert all(reply.status_code >= 500 for reply in answers)
        await check_silence(server, capsys, *answers)


async def test_refused_requests_show_none(capsys: pytest.CaptureFixture[str]) -> None:
    key = KEYS["body"]
    bodies: list[bytes] = [
        b'{"provider_keys": {"anthropic": "' + key.encode(),
        json.dumps({**ASKED, "provider_keys": key}).encode(),
        json.dumps({**ASKED, "provider_keys": [key]}).encode(),
        json.dumps({**ASKED, "provider_keys": {"anthropic": [key]}}).encode(),
        json.dumps({**ASKED, "provider_keys": {key: 5}}).encode(),
        json.dumps({**ASKED, "provider_keys": {key: "\n"}}).encode(),
        json.dumps({**ASKED, "provider_keys": {"anthropic": key + " "}}).encode(),
        json.dumps({**ASKED, "max_tokens": key}).encode(),
        json.dumps({**ASKED, "messages": key}).encode(),
        json.dumps({**ASKED, "messages": [{"role": key, "content": key}]}).encode(),
        json.dumps(
            {**ASKED, "messages": [{"role": "user", "content": [{"type": "audio", "source": {"type": key}}]}]}
        ).encode(),
        json.dumps({**ASKED, "tools": [{"type": "file_search", "vector_store_ids": [key]}]}).encode(),
        json.dumps({**ASKED, "output": {"modalities": [key]}}).encode(),
        b'{"x": "' + key.encode() + b'\xff"}',
        b'{"x": "' + key.encode() + b'\\ud800"}',
        key.encode(),
    ]
    async with running(settings()) as server:
        answers = [await server.http.post("/v1/messages", content=body, headers=AUTHORIZED) for body in bodies]
        assert {reply.status_code for reply in answers} == {400}
        answers += [
            await server.post(headers={"authorization": f"Bearer {KEYS['authorization']}"}),
            await server.post(headers={"authorization": f"Basic {KEYS['authorization']}"}),
            await server.post(headers={"x-api-key": KEYS["authorization"]}),
            await server.post(headers={**AUTHORIZED, "x-provider-key-anthropic": f"{KEYS['header']} x"}),
            await server.post(headers={**AUTHORIZED, f"x-provider-key-{KEYS['header']}": "two words"}),
            await server.post(headers={**AUTHORIZED, "content-type": KEYS["header"]}),
            await server.post(headers={**AUTHORIZED, "content-encoding": KEYS["header"]}),
            await server.http.get(f"/{KEYS['header']}", headers={"x-api-key": KEYS["header"]}),
        ]
        async with await Raw.connect(server.port) as client:
            broken = await client.ask(
                b"GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nBad\x00: x\r\n\r\n" % KEYS["header"].encode()
            )
        assert broken.status == 400
        assert leaks(repr(broken)) == []
        await check_silence(server, capsys, *answers)


# A bug in the middle

HELLO_SCRIPT = Script.text("Hello", chunks=3)
Bug = Callable[[pytest.MonkeyPatch], None]


def failing(target: object, name: str) -> Bug:
    """Return a patch that makes a function fail with all that it was given in its frame."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(target, name)

        def bug(*args: Any, **options: Any) -> Any:
            held = (args, options, KEYS["configured"], original)
            raise RuntimeError(f"bug in {name} with {len(held)} values")

        monkeypatch.setattr(target, name, bug)

    return apply


BUGS = {
    "the codec": failing(AnthropicCodec, "encode"),
    "the answer": failing(AnthropicCodec, "decode"),
    "the decoder": failing(AnthropicDecoder, "feed"),
    "errors": failing(AnthropicCodec, "error"),
    "the gate": failing(Gate, "bring"),
    "the exchange": failing(Exchange, "provider_headers"),
    "metrics": failing(Metrics, "count"),
    "Quart": failing(LocalGateway, "models"),
    "health": failing(LocalGateway, "health"),
}


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("bug", BUGS)
async def test_a_traceback_shows_none(
    bug: str, style: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings(style)) as server:
        with monkeypatch.context() as patched:
            BUGS[bug](patched)
            statuses = []
            for headers, fields in WAYS[2:]:
                for stream in (False, True):
                    server.sandbox.replies(Script.error(400, KEYS["environment"]) if bug == "errors" else HELLO_SCRIPT)
                    try:
                        reply = await server.post({**ASKED, **fields, "stream": stream}, headers=headers)
                    except httpx.RemoteProtocolError:
                        continue  # an answer that had begun was cut off
                    assert leaks(shown(reply)) == []
                    statuses.append(reply.status_code)
            for path in ("/v1/models", "/health"):
                reply = await server.http.get(path, headers=WAYS[2][0])
                assert leaks(shown(reply)) == []
                statuses.append(reply.status_code)
        await check_silence(server, capsys)
        assert 500 in statuses or bug in ("metrics", "the decoder"), statuses
        assert "RuntimeError" in server.log.getvalue()
        assert "bug in" in server.log.getvalue()


# What Python shows of the values themselves


async def test_reprs_show_none() -> None:
    config = settings()
    gateway = LocalGateway(config)
    body = json.dumps({**ASKED, "provider_keys": {"anthropic": KEYS["body"]}}).encode()
    request = read_request(body)
    scope = {
        "method": "POST",
        "headers": [
            (b"authorization", f"Bearer {KEYS['server']}".encode()),
            (b"x-provider-key-mine", KEYS["header"].encode()),
        ],
        "client": ("127.0.0.1", 1),
    }
    exchange = Exchange(scope, 0.0)
    gate = Gate.of(config)
    caller = gate.bring(exchange, gate.admit(exchange), request.provider_keys)
    values: list[Any] = [
        config,
        config.auth,
        config.providers,
        gateway,
        request,
        exchange,
        gate,
        caller,
        exchange.outcome,
    ]
    for name in ("anthropic/claude-sonnet-4-5", "mine/x"):
        route = gateway.engine.routes.resolve(name)
        target = gateway.engine.routes.target(route, caller)
        encoded = route.provider.codec.encode(request, target)
        values += [route, route.provider, target, target.key, encoded, encoded.call, *exchange.credentials()]
        # The keys really are in there.
        assert leaks(str(encoded.call.headers))

    for value in values:
        for text in (repr(value), str(value), f"{value}"):
            assert leaks(text) == [], type(value)
    assert leaks(config.model_dump_json()) == []
    assert leaks(repr(config.model_dump())) == []


def test_a_configuration_at_fault_shows_none() -> None:
    wrong = [
        CONFIG.replace('mode = "api_key"', f'mode = "{KEYS["server"]}"'),
        CONFIG.replace("[auth]", f"[auth]\n{KEYS['server']} = 1"),
        CONFIG.replace("name =", "nmae ="),
        CONFIG.replace(f'"{KEYS["configured"]}"', f'["{KEYS["configured"]}"]'),
        CONFIG.replace(f'"{KEYS["configured"]}"', f'"{KEYS["configured"]} \\u0007"'),
        CONFIG.replace("redis:", "rediss"),
        CONFIG.replace("sandbox://mine", f"https://user:{KEYS['configured']}@example.com"),
        CONFIG.replace("sandbox://mine", f"https://[{KEYS['configured']}"),
        CONFIG + f'\n[[auth.api_keys]]\nkey = "{KEYS["server"]}"',
        CONFIG + f'\n[[auth.api_keys]]\nkey_hash = "{KEYS["server"]}"',
        CONFIG.replace("x-extra", "content-length"),
    ]
    for text in wrong:
        with pytest.raises(ConfigError) as caught:
            load(text, {**ENVIRON, "VANGO__SERVER__PORT": KEYS["environment"]})

        found = leaks(str(caught.value) + repr(caught.value))
        # The name of a field that does not exist has to be said.
        assert found == (["server"] if text.count(f"{KEYS['server']} = 1") else [])


@pytest.mark.parametrize("fault", ["", "\n[server]\nprot = 1\n"])
def test_vango_check_shows_none(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEYS["environment"])
    path = tmp_path / "vango.toml"
    path.write_text(CONFIG + fault)

    code = main(["check", str(path)])

    assert code == (1 if fault else 0)
    out = "".join(capsys.readouterr())
    assert "vango.toml" in out
    assert leaks(out) == []


@pytest.fixture
def nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(
        "vango.engine.retry.RetryPolicy.delay", lambda self, error, tried, random: None if tried else 0.0
    )
