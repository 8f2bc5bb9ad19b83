"""The sandbox's models: what each says to a prompt, before the caller's limits cut it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vango.local import chat
from vango.local.prompt import Block, Prompt, Text, Thought
from vango.local.schema import fill
from vango.local.toolbox import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXCERPT = 60


class Model(msgspec.Struct, frozen=True):
    """A model. `first` and `between` are the seconds before its first token and between the others."""

    about: str
    answer: Callable[[Prompt], str]
    thinks: bool = False
    calls_tools: bool = False
    first: float = 0.0
    between: float = 0.0


def say(model: Model, prompt: Prompt) -> list[Block]:
    """Return what the model says; raises Unsatisfiable for a schema that it cannot write an answer to."""
    blocks: list[Block] = []
    if model.thinks if prompt.thinks is None else prompt.thinks:
        blocks.append(Thought(_ponder(prompt)))
    calls = choose(prompt, eager=model.calls_tools)
    if calls:
        if prompt.choice == "auto":
            blocks.append(Text(f"I will ask {_listed([call.name for call in calls])}."))
        return [*blocks, *calls]
    if prompt.schema is not None:
        text = msgspec.json.encode(fill(prompt.schema, prompt.asked.text or _reported(prompt))).decode()
    elif prompt.asked.results:
        text = _reported(prompt)
    else:
        text = model.answer(prompt)
    return [*blocks, Text(_continued(text, prompt.prefill))]


def _echo(prompt: Prompt) -> str:
    media = (f"[{item.removeprefix('an ').removeprefix('a ')}]" for item in prompt.asked.media)
    return "\n".join((*([prompt.asked.text] if prompt.asked.text else []), *media))


def _talk_of_tools(prompt: Prompt) -> str:
    if prompt.tools:
        return "I was told not to call a tool, so I have nothing to add."
    return "I was given no tools to call. Send some in `tools`, and I will call the one that fits your words best."


def _reported(prompt: Prompt) -> str:
    """Return what the tools found, in a sentence each."""
    return "\n".join(
        f"{result.tool} failed: {result.text}"
        if result.is_error
        else f"{result.tool} says: {result.text or 'nothing.'}"
        for result in prompt.asked.results
    )


def _ponder(prompt: Prompt) -> str:
    asked = " ".join(prompt.asked.text.split())
    excerpt = f"{asked[:EXCERPT].rstrip()}…" if len(asked) > EXCERPT else asked
    opening = f'The user says: "{excerpt}".' if asked else "The user sent no words."
    if prompt.asked.results:
        return f"{opening} The tools have answered, so I can report what they found."
    if prompt.schema is not None:
        return f"{opening} The answer has to be JSON of a given schema, so I look for a value for each of its fields."
    if prompt.tools and prompt.choice != "none":
        return f"{opening} I compare these words with the {len(prompt.tools)} tools that I was given."
    return f"{opening} I look for the part that I can answer, and answer that in few words."


def _continued(text: str, prefill: str) -> str:
    """Leave out the start of an answer that the caller has written already."""
    return text.removeprefix(prefill) if prefill else text


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


MODELS: Mapping[str, Model] = {
    "echo": Model("Repeats the user's words", _echo),
    "chat": Model("Talks by rules: greetings, sums, words, names, stories", chat.reply),
    "tools": Model("Calls the tools it is given and reports what they say", _talk_of_tools, calls_tools=True),
    "think": Model("Thinks before it talks", chat.reply, thinks=True),
    "slow": Model("Talks like chat, 0.3 s late and 50 ms a token", chat.reply, first=0.3, between=0.05),
}
