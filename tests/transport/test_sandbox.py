"""The transport of `sandbox://` origins: scripts played in time, link by link."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.local.asking import ORIGIN, call, fold, read_events, request
from vango.errors import TransportError
from vango.local.sandbox import answer
from vango.transport.base import Link, Transport
from vango.transport.sandbox import RECEIVE_BYTES, SandboxTransport
from vango.types.script import Break, Hang, Script, Send, Wait
from vango.wire.call import HttpCall, ReplyHead

PLAIN = call(request("chat"))
STREAMED = call(request("chat", stream=True))


async def ask(sandbox: SandboxTransport, sent: HttpCall = STREAMED) -> tuple[ReplyHead, list[bytes]]:
    """The head and each receive of one call, its link closed."""
    link = await sandbox.connect(ORIGIN)
    try:
        await link.send(sent)
        head = await link.head()
        received = []
        while data := await link.receive():
            received.append(data)
        return head, received
    finally:
        link.close()


def counts(sandbox: SandboxTransport) -> tuple[int, int, int, int]:
    return sandbox.open, sandbox.answered, sandbox.aborted, sandbox.broken


async def test_it_is_a_transport_whose_links_are_links():
    sandbox: Transport = SandboxTransport(answer)
    link: Link = await sandbox.connect(ORIGIN)

    link.close()


async def test_a_model_answers_as_json_or_as_a_stream():
    sandbox = SandboxTransport(answer)

    head, (body,) = await ask(sandbox, PLAIN)
    streamed, received = await ask(sandbox, STREAMED)

    assert (head.status, head.headers["content-type"]) == (200, "application/json")
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert head.headers["request-id"].startswith("req_")
    assert fold(read_events(b"".join(received))) == json.loads(body)
    assert counts(sandbox) == (0, 2, 0, 0)


async def test_what_is_ready_comes_joined_and_in_bounded_pieces():
    sandbox = SandboxTransport()
    sandbox.replies(Script(steps=(Send(b"a"), Send(b"b"), Wait(0), Send(b"c" * RECEIVE_BYTES), Send(b"d"))))

    _, received = await ask(sandbox)

    assert received == [b"ab", b"c" * RECEIVE_BYTES, b"d"]


@pytest.mark.parametrize("split", [1, 3, 1000])
async def test_bytes_can_be_split_anywhere(split: int):
    whole = SandboxTransport(answer)
    parts = SandboxTransport(answer, split=split)

    _, expected = await ask(whole)
    _, received = await ask(parts)

    assert b"".join(received) == b"".join(expected)
    assert {len(data) for data in received[:-1]} <= {split}


async def test_a_split_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        SandboxTransport(split=0)


async def test_waits_take_their_time(autojump_clock: trio.testing.MockClock):
    sandbox = SandboxTransport(answer)
    slow = request("slow", "count to 3", stream=True)
    link = await sandbox.connect(ORIGIN)
    arrived = []

    await link.send(call(slow))
    await link.head()
    while await link.receive():
        arrived.append(round(trio.current_time(), 3))
    link.close()

    start = arrived[0]
    assert [at - start for at in arrived] == pytest.approx([0, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55])

    before = trio.current_time()
    await ask(sandbox, call({**slow, "stream": False}))
    assert trio.current_time() - before == pytest.approx(0.55)


async def test_replies_come_in_order_and_then_the_upstream():
    sandbox = SandboxTransport(answer).replies(
        Script.error(529, "Overloaded", retry_after=2),
        lambda sent: Script.json(200, {"method": sent.method}),
        Script.recording(418, {"X-Kind": "teapot"}, b"short and stout"),
    )

    answers = [await ask(sandbox) for _ in range(4)]

    assert [head.status for head, _ in answers] == [529, 200, 418, 200]
    assert answers[0][0].headers["retry-after"] == "2"
    assert json.loads(answers[0][1][0])["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert answers[1][1] == [b'{"method":"POST"}']
    assert (answers[2][0].headers, answers[2][1]) == ({"x-kind": "teapot"}, [b"short and stout"])
    assert answers[3][1][0].startswith(b"event: message_start\n")


async def test_a_call_that_nothing_was_scripted_for_is_a_mistake():
    sandbox = SandboxTransport()

    with pytest.raises(RuntimeError, match="no reply left for POST /v1/messages"):
        await ask(sandbox)

    assert counts(sandbox) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (Script.text("Hello", chunks=2), {"type": "text", "text": "Hello"}),
        (Script.text(""), {"type": "text", "text": ""}),
        (
            Script.tool_use("look", {"at": "é"}, chunks=5),
            {"type": "tool_use", "id": "toolu_scripted", "name": "look", "input": {"at": "é"}},
        ),
    ],
)
async def test_a_scripted_message_streams_only_where_the_call_asks_for_it(script: Script, expected: dict[str, Any]):
    sandbox = SandboxTransport().replies(script, script)

    _, received = await ask(sandbox, STREAMED)
    _, (body,) = await ask(sandbox, PLAIN)

    folded = fold(read_events(b"".join(received)))
    assert folded["content"] == [expected]
    assert folded == json.loads(body)


async def test_a_whole_message_can_be_scripted():
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "So.", "citations": [{"type": "char_location", "cited_text": "So"}]},
        ],
        "stop_reason": "pause_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 9},
    }
    sandbox = SandboxTransport().replies(Script.message(message, [["H", "m."], [], ["S", "o."]]))

    _, received = await ask(sandbox)

    assert fold(read_events(b"".join(received))) == message


async def test_events_of_other_dialects_are_written_too():
    sandbox = SandboxTransport().replies(Script.sse([{"choices": []}, "[DONE]", b": comment\n\n"]))

    _, received = await ask(sandbox)

    assert received == [b'data: {"choices":[]}\n\ndata: [DONE]\n\n: comment\n\n']


@pytest.mark.parametrize(
    ("script", "message", "stale"),
    [
        (Script.refuse(), "refused", False),
        (Script.stale(), "closed", True),
        (Script.text("Hello").late(1).cut(0, Break("gone")), "gone", False),
    ],
)
async def test_accidents_are_transport_errors(
    script: Script, message: str, stale: bool, autojump_clock: trio.testing.MockClock
):
    sandbox = SandboxTransport().replies(script)

    with pytest.raises(TransportError, match=message) as caught:
        await ask(sandbox)

    assert caught.value.stale is stale
    assert counts(sandbox) == (0, 0, 0, 1)


async def test_what_came_before_a_break_is_read_first():
    sandbox = SandboxTransport().replies(Script.text("Hello", chunks=5).cut(4, Break()))
    link = await sandbox.connect(ORIGIN)

    await link.send(PLAIN)
    await link.head()
    received = await link.receive()
    with pytest.raises(TransportError):
        await link.receive()
    link.close()

    assert received.endswith(b'"text":"H"}}\n\n')


async def test_a_body_can_end_early_as_if_all_were_well():
    sandbox = SandboxTransport().replies(Script.text("Hello").cut(2))

    _, received = await ask(sandbox)

    assert b"message_stop" not in received[0]
    assert counts(sandbox) == (0, 1, 0, 0)


async def _send(link: Link) -> None:
    await link.send(STREAMED)


async def _head(link: Link) -> None:
    await link.send(STREAMED)
    await link.head()


async def _body(link: Link) -> None:
    await link.send(STREAMED)
    await link.head()
    while await link.receive():
        pass


@pytest.mark.parametrize(
    ("script", "wait", "is_answered"),
    [
        (Script.hang(), _head, False),
        (Script.text("Hello").late(100), _head, False),
        (Script.text("Hello").cut(3, Hang()), _body, False),
        (Script.text("Hello").paced(100), _body, False),
        (Script.text("Hello"), _send, False),
        (Script.text("Hello"), _head, False),
        (Script.text("Hello"), _body, True),
    ],
)
async def test_a_call_that_is_given_up_leaves_nothing_open(
    script: Script, wait: Callable[[Link], Any], is_answered: bool, autojump_clock: trio.testing.MockClock
):
    sandbox = SandboxTransport().replies(script)
    link = await sandbox.connect(ORIGIN)

    try:
        with trio.move_on_after(5):
            await wait(link)
        assert sandbox.open == 1
    finally:
        link.close()
        link.close()

    assert counts(sandbox) == ((0, 1, 0, 0) if is_answered else (0, 0, 1, 0))


async def test_every_step_is_a_checkpoint():
    link = await SandboxTransport(answer).connect(ORIGIN)

    with trio.testing.assert_checkpoints():
        await link.send(STREAMED)
    for step in (link.head, link.receive, link.receive):
        with trio.testing.assert_checkpoints():
            await step()
    link.close()


async def test_a_cancelled_wait_loses_nothing_and_goes_on(autojump_clock: trio.testing.MockClock):
    sandbox = SandboxTransport().replies(Script(steps=(Wait(10), Send(b"late"))).late(10))
    link = await sandbox.connect(ORIGIN)
    await link.send(STREAMED)

    with trio.move_on_after(4) as scope:
        await link.head()
    assert scope.cancelled_caught
    assert (await link.head()).status == 200
    with trio.move_on_after(4) as scope:
        await link.receive()
    assert scope.cancelled_caught
    assert await link.receive() == b"late"

    assert trio.current_time() == pytest.approx(20)
    link.close()


async def test_an_answer_that_is_left_unread_was_aborted():
    sandbox = SandboxTransport(answer, split=10)
    link = await sandbox.connect(ORIGIN)
    await link.send(STREAMED)
    await link.head()
    await link.receive()

    link.close()

    assert counts(sandbox) == (0, 0, 1, 0)
    with pytest.raises(trio.ClosedResourceError):
        await link.receive()
    with pytest.raises(trio.ClosedResourceError):
        await link.send(STREAMED)


async def test_a_link_that_was_never_used_is_nothing():
    sandbox = SandboxTransport(answer)

    (await sandbox.connect(ORIGIN)).close()

    assert counts(sandbox) == (0, 0, 0, 0)


async def test_a_link_takes_one_call_and_its_steps_in_order():
    sandbox = SandboxTransport(answer)
    link = await sandbox.connect(ORIGIN)

    with pytest.raises(RuntimeError, match="after its call"):
        await link.head()
    await link.send(STREAMED)
    with pytest.raises(RuntimeError, match="after its head"):
        await link.receive()
    with pytest.raises(RuntimeError, match="one call"):
        await link.send(STREAMED)
    link.close()


async def test_calls_are_kept_only_when_asked_and_only_the_latest():
    forgetful, sandbox = SandboxTransport(answer), SandboxTransport(answer, keep_calls=2)

    for sent in (PLAIN, STREAMED, PLAIN):
        await ask(forgetful, sent)
        await ask(sandbox, sent)

    assert list(forgetful.calls) == []
    assert list(sandbox.calls) == [STREAMED, PLAIN]


async def test_many_calls_run_side_by_side(autojump_clock: trio.testing.MockClock):
    sandbox = SandboxTransport(answer)
    slow = call(request("slow", "tell me a story", stream=True))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask, sandbox, slow)
        await trio.sleep(1)
        assert sandbox.open == 50

    assert counts(sandbox) == (0, 50, 0, 0)
