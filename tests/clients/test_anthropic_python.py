"""The official Python SDK against a whole server, with nothing changed but its base URL and key.

The SDK blocks or runs on asyncio, so it lives in a thread beside the server's event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import anthropic
import pytest
import trio
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from anthropic.types import MessageParam, ToolParam
from pydantic import BaseModel

from tests.support.recordings import Case, cases
from tests.support.server import running
from tests.support.upstream import Upstream, chunked, http, reply

T = TypeVar("T")

KEY = "vango_sk_of_the_test"
HELLO: list[MessageParam] = [{"role": "user", "content": "Hello, I am Ada!"}]
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "Get the weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ASKS_WEATHER: list[MessageParam] = [{"role": "user", "content": "What is the weather in Paris?"}]
NO_RETRIES = {"retries": {"max_attempts": 0}}
ADDED = ("total_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the SDK from what it would find in a developer's shell: keys, profiles, proxies."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def ask(url: str, work: Callable[[Anthropic], T], *, key: str = KEY) -> T:
    """Run `work` with a client, in a thread."""

    def run() -> T:
        with Anthropic(base_url=url, api_key=key, max_retries=0, timeout=20) as client:
            return work(client)

    return await trio.to_thread.run_sync(run)


async def ask_async(url: str, work: Callable[[AsyncAnthropic], Awaitable[T]]) -> T:
    """Run `work` with an asynchronous client, in a thread with an asyncio loop of its own."""

    async def run() -> T:
        async with AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0, timeout=20) as client:
            return await work(client)

    return await trio.to_thread.run_sync(asyncio.run, run())


async def test_create() -> None:
    async with running() as server:
        message = await ask(
            server.url, lambda client: client.messages.create(model="sandbox/chat", max_tokens=64, messages=HELLO)
        )

    (block,) = message.content
    assert block.type == "text"
    assert "Ada" in block.text
    assert message.model == "sandbox/chat"
    assert message.stop_reason == "end_turn"
    assert message._request_id is not None
    assert message._request_id.startswith("req_")
    assert message.usage.model_extra == {
        "total_tokens": message.usage.input_tokens + message.usage.output_tokens,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cost_usd": 0,
    }


async def test_a_stream_with_its_helpers_gives_what_create_gives() -> None:
    def stream(client: Anthropic) -> Any:
        with client.messages.stream(model="sandbox/chat", max_tokens=64, messages=HELLO) as stream:
            assert stream.request_id is not None
            return list(stream.text_stream), stream.get_final_message()

    async with running() as server:
        texts, final = await ask(server.url, stream)
        whole = await ask(
            server.url, lambda client: client.messages.create(model="sandbox/chat", max_tokens=64, messages=HELLO)
        )

    assert len(texts) > 3
    assert "".join(texts) == whole.content[0].text
    assert final.model == "sandbox/chat"
    assert final.stop_reason == whole.stop_reason
    assert (final.usage.input_tokens, final.usage.output_tokens) == (
        whole.usage.input_tokens,
        whole.usage.output_tokens,
    )


async def test_a_raw_stream_tells_the_complete_usage_at_its_end() -> None:
    def stream(client: Anthropic) -> list[Any]:
        with client.messages.create(model="sandbox/chat", max_tokens=64, messages=HELLO, stream=True) as events:
            return list(events)

    async with running() as server:
        events = await ask(server.url, stream)

    assert [events[0].type, events[-2].type, events[-1].type] == ["message_start", "message_delta", "message_stop"]
    usage = events[-2].usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.cost_usd == 0


async def test_max_tokens_and_stop_sequences() -> None:
    def work(client: Anthropic) -> Any:
        say: list[MessageParam] = [{"role": "user", "content": "one two three four five six"}]
        create = partial(client.messages.create, model="sandbox/echo", messages=say)
        return create(max_tokens=2), create(max_tokens=64, stop_sequences=["four"])

    async with running() as server:
        short, stopped = await ask(server.url, work)

    assert short.stop_reason == "max_tokens"
    assert short.usage.output_tokens == 2
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "four")
    assert stopped.content[0].text == "one two three "


async def test_a_tool_call_and_its_result_by_hand() -> None:
    def work(client: Anthropic) -> Any:
        create = partial(client.messages.create, model="sandbox/tools", max_tokens=256, tools=[WEATHER])
        first = create(messages=ASKS_WEATHER)
        (call,) = [block for block in first.content if block.type == "tool_use"]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny, 21 degrees"}
        turns = [
            *ASKS_WEATHER,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ]
        return first, call, create(messages=turns)

    async with running() as server:
        first, call, last = await ask(server.url, work)

    assert first.stop_reason == "tool_use"
    assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
    assert last.stop_reason == "end_turn"
    assert "Sunny, 21 degrees" in last.content[0].text


async def test_a_streamed_tool_call_is_put_together_by_the_sdk() -> None:
    def work(client: Anthropic) -> Any:
        with client.messages.stream(
            model="sandbox/tools", max_tokens=256, tools=[WEATHER], messages=ASKS_WEATHER
        ) as stream:
            partials = [event.partial_json for event in stream if event.type == "input_json"]
            return partials, stream.get_final_message()

    async with running() as server:
        partials, final = await ask(server.url, work)

    assert json.loads("".join(partials)) == {"city": "Paris"}
    assert final.content[-1].input == {"city": "Paris"}
    assert final.stop_reason == "tool_use"


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_tool_runner_runs_the_loop_to_its_end(streamed: bool) -> None:
    cities = []

    @beta_tool
    def get_weather(city: str) -> str:
        """Get the weather in a city.

        Args:
            city: The name of the city.
        """
        cities.append(city)
        return f"Rain in {city}"

    def work(client: Anthropic) -> list[Any]:
        options: dict[str, Any] = {"model": "sandbox/tools", "max_tokens": 256, "tools": [get_weather]}
        if streamed:
            runner = client.beta.messages.tool_runner(messages=ASKS_WEATHER, stream=True, **options)
            return [stream.get_final_message() for stream in runner]
        return list(client.beta.messages.tool_runner(messages=ASKS_WEATHER, **options))

    async with running() as server:
        messages = await ask(server.url, work)

    assert cities == ["Paris"]
    assert [message.stop_reason for message in messages] == ["tool_use", "end_turn"]
    assert "Rain in Paris" in messages[-1].content[0].text


async def test_thinking_comes_with_a_signature_that_can_go_back() -> None:
    def work(client: Anthropic) -> Any:
        create = partial(
            client.messages.create,
            model="sandbox/think",
            max_tokens=4096,
            thinking={"type": "enabled", "budget_tokens": 1024},
        )
        first = create(messages=HELLO)
        turns = [
            *HELLO,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": "What is my name?"},
        ]
        with client.messages.stream(
            model="sandbox/think", max_tokens=4096, thinking={"type": "adaptive"}, messages=HELLO
        ) as stream:
            thoughts = [event.thinking for event in stream if event.type == "thinking"]
            streamed = stream.get_final_message()
        return first, create(messages=turns), thoughts, streamed

    async with running() as server:
        first, second, thoughts, streamed = await ask(server.url, work)

    assert [block.type for block in first.content] == ["thinking", "text"]
    assert first.content[0].signature
    assert "Ada" in second.content[-1].text
    assert len(thoughts) > 3
    assert streamed.content[0].thinking == "".join(thoughts)
    assert streamed.content[0].signature == first.content[0].signature


class Person(BaseModel):
    name: str
    age: int


async def test_structured_output() -> None:
    schema = {**Person.model_json_schema(), "additionalProperties": False}

    def work(client: Anthropic) -> Any:
        say: list[MessageParam] = [{"role": "user", "content": "Ada is 36 years old."}]
        options: dict[str, Any] = {"model": "sandbox/chat", "max_tokens": 128, "messages": say}
        parsed = client.messages.parse(output_format=Person, **options)
        with client.messages.stream(output_format=Person, **options) as stream:
            streamed = stream.get_final_message()
        plain = client.messages.create(
            output_config={"format": {"type": "json_schema", "schema": schema}},
            **options,
        )
        return parsed, streamed, plain

    async with running() as server:
        parsed, streamed, plain = await ask(server.url, work)

    assert parsed.parsed_output == streamed.parsed_output == Person(name="Ada", age=36)
    assert json.loads(plain.content[0].text) == {"name": "Ada", "age": 36}


async def test_count_tokens() -> None:
    def work(client: Anthropic) -> Any:
        count = partial(client.messages.count_tokens, model="sandbox/chat", messages=HELLO)
        created = client.messages.create(model="sandbox/chat", max_tokens=16, messages=HELLO)
        beta = client.beta.messages.count_tokens(model="sandbox/chat", messages=HELLO)  # type: ignore[arg-type]
        return created, count(), count(tools=[WEATHER]), beta

    async with running() as server:
        created, plain, with_tools, beta = await ask(server.url, work)

    assert plain.input_tokens == beta.input_tokens == created.usage.input_tokens
    assert with_tools.input_tokens > plain.input_tokens


async def test_models_are_listed_and_retrieved_by_ids_with_a_slash() -> None:
    def work(client: Anthropic) -> Any:
        listed = [model.id for model in client.models.list(limit=1000)]
        return listed, client.models.retrieve("sandbox/chat"), client.models.retrieve("anthropic/claude-sonnet-4-5")

    async with running() as server:
        listed, chat, sonnet = await ask(server.url, work)

    assert {"sandbox/chat", "sandbox/tools"} < set(listed)
    assert len(listed) == len(set(listed))
    assert (chat.id, chat.type) == ("sandbox/chat", "model")
    assert sonnet.id == "anthropic/claude-sonnet-4-5"
    assert sonnet.created_at.year == 2025


async def test_raw_responses_show_the_headers() -> None:
    def work(client: Anthropic) -> Any:
        raw = client.messages.with_raw_response.create(model="sandbox/chat", max_tokens=64, messages=HELLO)
        return raw.headers, raw.parse(), raw.request_id

    async with running() as server:
        headers, message, request_id = await ask(server.url, work)

    assert headers["x-model"] == message.model
    assert headers["x-request-id"] == headers["request-id"] == request_id
    assert headers["x-input-tokens"] == str(message.usage.input_tokens)
    assert headers["x-output-tokens"] == str(message.usage.output_tokens)
    assert headers["x-cost-usd"] == "0.000000"


async def caught(url: str, work: Callable[[Anthropic], Any], *, key: str = KEY) -> anthropic.APIStatusError:
    def run(client: Anthropic) -> anthropic.APIStatusError:
        with pytest.raises(anthropic.APIStatusError) as caught:
            work(client)
        return caught.value

    return await ask(url, run, key=key)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("model", "expected", "status", "kind"),
    [
        ("sandbox/fail-429", anthropic.RateLimitError, 429, "rate_limit_error"),
        ("sandbox/fail-529", anthropic.InternalServerError, 503, "overloaded_error"),
        ("sandbox/fail-500", anthropic.InternalServerError, 502, "provider_error"),
        ("sandbox/fail-504", anthropic.InternalServerError, 504, "timeout_error"),
        ("sandbox/fail-400", anthropic.BadRequestError, 400, "invalid_request_error"),
        ("sandbox/fail-401", anthropic.InternalServerError, 502, "provider_error"),
        ("sandbox/no-such-model", anthropic.NotFoundError, 404, "not_found_error"),
        ("no-such-provider/model", anthropic.NotFoundError, 404, "not_found_error"),
    ],
)
async def test_failures_are_the_sdks_typed_errors(
    model: str, expected: type[anthropic.APIStatusError], status: int, kind: str, streamed: bool
) -> None:
    def work(client: Anthropic) -> Any:
        create: Any = client.messages.create
        return create(model=model, max_tokens=16, messages=HELLO, stream=streamed)

    async with running(NO_RETRIES) as server:
        error = await caught(server.url, work)

    assert isinstance(error, expected)
    assert error.status_code == status
    assert error.type == kind
    assert error.request_id == error.response.headers["x-request-id"]
    assert isinstance(error.body, dict)
    assert error.body["error"]["type"] == kind
    assert error.body["request_id"] == error.request_id
    assert error.response.headers.get("retry-after") == ("1" if status in (429, 503) else None)


async def test_a_bad_request_names_the_field() -> None:
    block: Any = {"type": "image"}

    async with running() as server:
        error = await caught(
            server.url,
            lambda client: client.messages.create(
                model="sandbox/chat", max_tokens=16, messages=[{"role": "user", "content": [block]}]
            ),
        )

    assert isinstance(error, anthropic.BadRequestError)
    assert isinstance(error.body, dict)
    assert error.body["error"]["param"] == "messages[0].content[0].source"


async def test_the_sdks_key_opens_a_server_that_wants_one() -> None:
    settings = {"auth": {"mode": "api_key", "api_keys": [{"key": KEY, "name": "test"}]}}

    def create(client: Anthropic) -> Any:
        return client.messages.create(model="sandbox/chat", max_tokens=16, messages=HELLO)

    async with running(settings) as server:
        message = await ask(server.url, create)
        refused = [
            await caught(server.url, work, key="vango_sk_of_another")
            for work in (create, lambda client: client.models.list())
        ]

    assert message.stop_reason is not None
    for error in refused:
        assert isinstance(error, anthropic.AuthenticationError)
        assert error.request_id is not None
        assert "vango_sk" not in str(error)


async def test_the_sdk_tries_again_by_itself() -> None:
    def create(client: Anthropic) -> Any:
        patient = client.with_options(max_retries=1)
        return patient.messages.create(model="anthropic/claude-sonnet-4-5", max_tokens=16, messages=HELLO)

    async with Upstream(reply(http(b"{}", 500))) as upstream:
        settings = {**NO_RETRIES, "providers": {"anthropic": {"api_key": "sk-ant-x", "base_url": upstream.base_url}}}
        async with running(settings) as server:
            await caught(server.url, create)

        assert len(upstream.requests) == 2


async def test_the_asynchronous_client() -> None:
    async def work(client: AsyncAnthropic) -> Any:
        created, models, counted = await asyncio.gather(
            client.messages.create(model="sandbox/chat", max_tokens=64, messages=HELLO),
            collect(client.models.list()),
            client.messages.count_tokens(model="sandbox/chat", messages=HELLO),
        )
        async with client.messages.stream(model="sandbox/chat", max_tokens=64, messages=HELLO) as stream:
            texts = [text async for text in stream.text_stream]
            final = await stream.get_final_message()
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.create(model="sandbox/nothing", max_tokens=64, messages=HELLO)
        return created, models, counted, texts, final

    async def collect(pages: Any) -> list[Any]:
        return [item async for item in pages]

    async with running() as server:
        created, models, counted, texts, final = await ask_async(server.url, work)

    assert created.content[0].text == "".join(texts) == final.content[0].text
    assert "sandbox/chat" in [model.id for model in models]
    assert counted.input_tokens == created.usage.input_tokens


async def test_a_stream_that_the_client_leaves_ends_the_upstream_call() -> None:
    def work(client: Anthropic) -> str:
        say: list[MessageParam] = [{"role": "user", "content": "Tell me a story"}]
        with client.messages.stream(model="sandbox/slow", max_tokens=512, messages=say) as stream:
            return next(iter(stream.text_stream))

    async with running() as server:
        assert await ask(server.url, work)
        with trio.fail_after(5):
            while server.sandbox.open:  # noqa: ASYNC110 - the sandbox has no event for it
                await trio.sleep(0.005)

    assert server.sandbox.aborted == 1
    assert [line["cancelled_by"] for line in server.lines()] == ["client"]


# What the SDK makes of recorded traffic: the same through Vango as straight from the provider.


def heard(client: Anthropic, model: str, streamed: bool) -> Any:
    """Return the events and the message that the SDK gives for a turn, and the error that it ends in."""
    options: dict[str, Any] = {"model": model, "max_tokens": 64, "messages": HELLO}
    events: list[dict[str, Any]] = []
    try:
        if not streamed:
            return [client.beta.messages.create(**options).to_dict()], None
        with client.beta.messages.stream(**options) as stream:
            events.extend(event.to_dict() for event in stream)
            return [*events, stream.get_final_message().to_dict()], None
    except anthropic.APIStatusError as error:
        return events, error


def plain(event: dict[str, Any]) -> dict[str, Any]:
    """Take away what Vango adds. The last usage is told complete, so there only what the provider told is compared."""
    event = json.loads(json.dumps(event, default=str))
    message = event.get("message", event)
    if "model" in message:
        message["model"] = message["model"].removeprefix("anthropic/")
    usage = message.get("usage")
    if usage is not None:
        message["usage"] = {name: value for name, value in usage.items() if name not in ADDED}
    if event["type"] == "message_delta":
        told = event.pop("usage")
        event["output_tokens"] = told["output_tokens"]
    return event


@pytest.mark.parametrize("case", cases("anthropic-messages", ok=True))
async def test_recorded_traffic_looks_the_same_through_vango(case: Case) -> None:
    answer = chunked(case.body, headers=case.headers) if case.streamed else http(case.body, headers=case.headers)
    async with Upstream(reply(answer)) as upstream:
        settings = {**NO_RETRIES, "providers": {"anthropic": {"api_key": "sk-ant-x", "base_url": upstream.base_url}}}
        straight, refused = await ask(upstream.base_url, lambda c: heard(c, "claude-sonnet-4-6", case.streamed))
        async with running(settings) as server:
            through, failed = await ask(server.url, lambda c: heard(c, "anthropic/claude-sonnet-4-6", case.streamed))

    if refused is None:
        assert failed is None
        assert [plain(event) for event in through] == [plain(event) for event in straight]
        assert straight
    elif failed.status_code == 200:
        assert [plain(event) for event in through] == [plain(event) for event in straight]
    else:  # the provider failed before it said anything, so that the failure could still be an answer of its own
        assert isinstance(failed, anthropic.InternalServerError)
        assert not through
        assert {event["type"] for event in straight} == {"message_start"}


@pytest.mark.parametrize("case", cases("anthropic-messages", ok=False))
async def test_recorded_refusals_are_the_same_errors_through_vango(case: Case) -> None:
    async with Upstream(reply(http(case.body, case.status, case.headers))) as upstream:
        settings = {**NO_RETRIES, "providers": {"anthropic": {"api_key": "sk-ant-x", "base_url": upstream.base_url}}}
        _, straight = await ask(upstream.base_url, lambda client: heard(client, "claude-sonnet-4-6", streamed=False))
        async with running(settings) as server:
            _, through = await ask(server.url, lambda c: heard(c, "anthropic/claude-sonnet-4-6", streamed=False))

    expected = anthropic.InternalServerError if case.status >= 500 else type(straight)
    assert isinstance(through, expected)
    assert case.json["error"]["message"] in through.message
    assert through.response.headers.get("retry-after") == straight.response.headers.get("retry-after")


async def test_a_thread_that_is_gone_is_replayed_by_the_sdk() -> None:
    """The SDK's own recovery hangs on `error.details`, which must come through."""
    lost = {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "No such thread.",
            "details": {"error_code": "thread_not_found"},
        },
        "request_id": "req_1",
    }
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
    said = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [call],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    done = {**said, "id": "msg_2", "content": [{"type": "text", "text": "Rain."}], "stop_reason": "end_turn"}
    answers = [(200, said), (404, lost), (200, done)]

    @beta_tool
    def get_weather(city: str) -> str:
        """Get the weather in a city."""
        return f"Rain in {city}"

    def work(client: Anthropic) -> list[Any]:
        return list(
            client.beta.messages.tool_runner(
                model="anthropic/claude-sonnet-4-5", max_tokens=64, messages=ASKS_WEATHER, tools=[get_weather]
            )
        )

    async def script(peer: Any) -> None:
        while await peer.request():
            status, body = answers.pop(0)
            await peer.send(http(json.dumps(body).encode(), status, {"content-type": "application/json"}))

    async with Upstream(script) as upstream:
        settings = {**NO_RETRIES, "providers": {"anthropic": {"api_key": "sk-ant-x", "base_url": upstream.base_url}}}
        async with running(settings) as server:
            messages = await ask(server.url, work)

    sent = [json.loads(request.body) for request in upstream.requests]
    assert [message.id for message in messages] == ["msg_1", "msg_2"]
    assert [body["thread"]["type"] for body in sent] == ["create", "continue", "create"]
    assert [len(body["messages"]) for body in sent] == [1, 1, 3]
    assert all("message-threads" in (request.header("anthropic-beta") or "") for request in upstream.requests)
