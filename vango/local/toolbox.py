"""Which tools a sandbox model calls, and with what: by the words that the user's text shares with their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vango.local.material import LOOKED_AT, words_of
from vango.local.merge import Unsatisfiable
from vango.local.prompt import Call
from vango.local.schema import fill

if TYPE_CHECKING:
    from vango.local.prompt import Prompt, Tool

# A word in a tool's name says more than one in its description; a tool below the threshold is not called beside another.
NAME_SCORE = 4
DESCRIPTION_SCORE = 1
MATCH = 3

_WORD = re.compile(r"[^\W\d_]{2,}")
# Each branch starts at the edge of its white space, which keeps long runs of it linear.
_CLAUSE = re.compile(r"[.?!;]\s+|(?:,|(?<!\s))\s+(?:and|then|also)\b\s+|\n")
_IDLE_WORDS = (
    "the an and or of in on at to for from by with is are be it its this that as get fetch give me my do does what which how please "
    "can you your tool function returns return given use used user value current"
)
_IDLE = frozenset(_IDLE_WORDS.split())


def choose(prompt: Prompt, *, eager: bool) -> list[Call]:
    """Return the calls a model makes.

    An `eager` model calls the best tool whenever it may and has no results yet, and every other that matches as well, each from
    the part of the text that speaks of it. Any model calls when `tool_choice` says so.
    """
    if not prompt.tools or prompt.choice == "none":
        return []
    if prompt.choice == "auto" and (not eager or prompt.asked.results):
        return []
    text = prompt.asked.text
    if prompt.choice == "tool":
        return [_call(tool, text) for tool in prompt.tools if tool.name == prompt.tool]
    scored = [(_score(tool, text), tool) for tool in prompt.tools]
    best_score, best = max(scored, key=lambda pair: pair[0])
    chosen = [
        tool for score, tool in scored if tool is best or (prompt.parallel and score >= max(MATCH, best_score / 2))
    ]
    if len(chosen) == 1:
        return [_call(best, text)]
    return [_call(tool, _part_about(tool, text)) for tool in chosen]


def _call(tool: Tool, text: str) -> Call:
    try:
        filled = fill(tool.schema, text)
    except Unsatisfiable:
        filled = {}
    return Call(tool.name, filled if isinstance(filled, dict) else {})


def _score(tool: Tool, text: str) -> int:
    said = _stems(text)
    name = {_stem(word) for word in words_of(tool.name)} - _IDLE
    return NAME_SCORE * len(said & name) + DESCRIPTION_SCORE * len(said & _stems(tool.description) - name)


def _part_about(tool: Tool, text: str) -> str:
    parts = [part for part in _CLAUSE.split(text[:LOOKED_AT]) if part.strip()]
    best = max(parts, key=lambda part: _score(tool, part), default=text)
    return best if _score(tool, best) else text


def _stems(text: str) -> set[str]:
    return {_stem(word) for word in _WORD.findall(text[:LOOKED_AT].lower())} - _IDLE


def _stem(word: str) -> str:
    """Drop the endings that tell a plural or a verb's form: "emails" and "email" are one word."""
    for ending in ("ing", "es", "s", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
