"""A small conversation by rules: the first rule whose pattern fits the user's words answers.

Variety comes from how far the conversation has gone, so the same history always gets the same answer.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from typing import TYPE_CHECKING

import msgspec

from vango.local.arithmetic import find_sum, work_out, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from vango.local.prompt import Prompt

    Answer = Callable[["Talk", re.Match[str]], str | None]

# Rules look at the start of long messages only, so that a pasted book costs no more than a page.
LOOKED_AT = 2_000

_TOLD_NAME = re.compile(
    r"(?i:\bmy name is|\bmy name's)\s+([^\W\d_][\w'-]*)|(?i:\bcall me|\bi am|\bi'm)\s+([A-Z][\w'-]+)"
)
_NAMED_BY_SYSTEM = re.compile(
    r"(?i:your name is|you are called|you go by)\s+([A-Z][\w'-]*)|[Yy]ou are ([A-Z][\w'-]*)[.,]"
)
_WORD = re.compile(r"\w+(?:['-]\w+)*")
_QUESTION = re.compile(
    r"\?\s*$|^\s*(?:what|who|where|when|why|how|which|whose|can|could|do|does|did|is|are|was|were|will|would|should)\b",
    re.IGNORECASE,
)
_TOPIC = re.compile(r"\b(?i:the|a|an|my|your|about|of)\s+([^\W\d_][\w'-]{2,})|(?<=[\w,] )([A-Z][\w'-]{2,})")

CAN_DO = (
    "I can do sums, count words and letters, spell, repeat and reverse text, count to a number, tell a joke or a story, "
    "and remember your name. I run inside Vango without a network, so what I say is made by rules, not by a model."
)


class Talk(msgspec.Struct, frozen=True, dict=True):
    """A conversation so far: what the user says now, and said before, as text."""

    said: str
    earlier: tuple[str, ...]
    system: str
    media: tuple[str, ...]

    @cached_property
    def user(self) -> str | None:
        """The user's name, as they last gave it."""
        for text in (self.said, *reversed(self.earlier)):
            names = _TOLD_NAME.findall(text)
            if names:
                name = "".join(names[-1])
                return name[:1].upper() + name[1:]
        return None

    @property
    def me(self) -> str:
        """The model's name: the system prompt's, if it gives one."""
        named = _NAMED_BY_SYSTEM.search(self.system)
        return (named[1] or named[2]) if named else "Sandbox"

    @property
    def dear(self) -> str:
        """The user's name as it stands after a comma."""
        return f", {self.user}" if self.user else ""

    def pick(self, *options: str) -> str:
        """Return one of the options, another one at each turn."""
        return options[len(self.earlier) % len(options)]


def reply(prompt: Prompt) -> str:
    """Return what the conversation's other side says."""
    users = [utterance.text[:LOOKED_AT] for utterance in prompt.history if utterance.role == "user"]
    talk = Talk(users[-1].strip(), tuple(users[:-1]), prompt.system[:LOOKED_AT], prompt.asked.media)
    seen = _acknowledged(talk.media)
    if not talk.said:
        return seen or "I did not get any words. What would you like to talk about?"
    for pattern, answer in _compiled_rules():
        match = pattern.search(talk.said)
        said = answer(talk, match) if match else None
        if said is not None:
            return f"{seen} {said}" if seen else said
    return f"{seen} What would you like to do with it?" if seen else _small_talk(talk)


def _acknowledged(media: tuple[str, ...]) -> str:
    if not media:
        return ""
    listed = media[0] if len(media) == 1 else f"{', '.join(media[:-1])} and {media[-1]}"
    return f"Thank you, I received {listed}, though I cannot look inside."


def _told_name(talk: Talk, match: re.Match[str]) -> str:
    return (
        talk.pick("Nice to meet you", "Pleased to meet you", "Good to know you")
        + f"{talk.dear}! What can I do for you?"
    )


def _your_name(talk: Talk, match: re.Match[str]) -> str:
    return f"Your name is {talk.user}." if talk.user else "You have not told me your name yet. What is it?"


def _greeting(talk: Talk, match: re.Match[str]) -> str | None:
    rest = talk.said[match.end() :].strip(" ,.!?")
    if len(_WORD.findall(rest)) > 2:
        return None
    again = any(_GREETING.search(text) for text in talk.earlier)
    opening = f"Hello again{talk.dear}!" if again else f"Hello{talk.dear}!"
    return f"{opening} " + talk.pick("How can I help you today?", "What is on your mind?", "What shall we do?")


def _sum(talk: Talk, match: re.Match[str]) -> str | None:
    expression = find_sum(talk.said)
    # "Call 555-1234" is not a sum.
    if expression is None or (_LETTER.search(talk.said) and not _ASKS_FOR_SUM.search(talk.said)):
        return None
    shown = re.sub(r"\( ", "(", re.sub(r" \)", ")", expression))
    try:
        return f"{shown} is {written(work_out(expression))}."
    except ZeroDivisionError:
        return f"{shown} has no answer, because nothing can be divided by zero."
    except OverflowError:
        return f"{shown} is too large for me to write down."
    except ValueError:
        return None


def _about(answer: Callable[[str], str]) -> Answer:
    """Answer from the text that a request is about: what it quotes, else what follows its words; pass on without any."""

    def find_and_answer(talk: Talk, match: re.Match[str]) -> str | None:
        rest = talk.said[match.end() :].strip()
        quoted = _QUOTED.search(rest)
        text = next(filter(None, quoted.groups())) if quoted else rest.lstrip(":, ")
        return answer(text) if text else None

    return find_and_answer


def _count_letter(talk: Talk, match: re.Match[str]) -> str | None:
    letter = match[1]

    def appears(text: str) -> str:
        number = text.lower().count(letter.lower())
        return f'The letter "{letter}" appears {number} time{"" if number == 1 else "s"} in "{_bare(text)}".'

    return _about(appears)(talk, match)


def _words(text: str) -> str:
    return _counted(len(_WORD.findall(text)), "word", _bare(text))


def _letters(text: str) -> str:
    return _counted(sum(character.isalpha() for character in text), "letter", _bare(text))


def _counted(number: int, what: str, text: str) -> str:
    return f'There {"is" if number == 1 else "are"} {number} {what}{"" if number == 1 else "s"} in "{text}".'


def _spelled(text: str) -> str:
    word = _bare(text)
    return f"{word[:1].upper()}{word[1:]} is spelled {'-'.join(word.upper().replace(' ', ''))}."


def _bare(text: str) -> str:
    return text.rstrip(".?! ")


def _count_to(talk: Talk, match: re.Match[str]) -> str:
    end = int(match[1])
    if not 1 <= end <= 1000:
        return "I count up to 1000. Which number would you like?"
    return ", ".join(map(str, range(1, end + 1))) + "."


def _story(talk: Talk, match: re.Match[str]) -> str:
    topic = match[1].strip(" .!?") if match[1] else talk.pick("a lighthouse", "a small train", "an old clock")
    return (
        f"This is a story about {topic}. One morning everything was quiet, and nobody expected a change. "
        f"Then the wind turned, and with it came a question that only {topic} could answer. "
        "It took a day, two friends and a good deal of patience. In the end the answer was simple, as good answers are. "
        "And when evening came, everyone agreed that it had been worth the walk."
    )


def _recall(talk: Talk, match: re.Match[str]) -> str:
    if not talk.earlier:
        return "This is the first thing you have said to me."
    return f'Before this you said: "{talk.earlier[-1]}"'


def _small_talk(talk: Talk) -> str:
    topic = _topic(talk.said)
    if _QUESTION.search(talk.said):
        return talk.pick(
            f"That is a good question about {topic}. I have no facts to look it up in. What do you think?",
            f"I cannot say much about {topic}, being a few rules in a sandbox. Why do you ask?",
            f"I wonder about {topic} too. What would a good answer look like for you?",
        )
    return talk.pick(
        f"Tell me more about {topic}. What matters most to you there?",
        f"I see, {topic}. How did you come to that?",
        f"Interesting{talk.dear}! What else comes to mind about {topic}?",
    )


def _topic(said: str) -> str:
    """Return what a sentence seems to be about: the first noun with an article, or a proper noun."""
    found = _TOPIC.search(said)
    if found is None:
        return "that"
    return found[2] or f"the {found[1]}"


def _fixed(*options: str) -> Answer:
    return lambda talk, match: talk.pick(*options)


@cache
def _compiled_rules() -> tuple[tuple[re.Pattern[str], Answer], ...]:
    """Compile the rules when somebody first talks: it takes as long as importing all else here."""
    return tuple((re.compile(pattern, re.IGNORECASE), answer) for pattern, answer in RULES)


_GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|hallo|howdy|greetings|good (?:morning|afternoon|evening|day))\b(?: there)?", re.IGNORECASE
)
_LETTER = re.compile(r"[^\W\d_]")
_ASKS_FOR_SUM = re.compile(
    r"\b(?:what|calculate|compute|how much|evaluate|solve|work out|sum|plus|minus|times|divided by|over|squared|cubed|power)\b|=|\?",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"""["“«]([^"“”«»]+)["”»]|(?<!\w)'(.+?)'(?!\w)""", re.DOTALL)

_PLEASE = r"^\W*(?:(?:please|can you|could you|now|and)\W+)*"

RULES: tuple[tuple[str, Answer], ...] = (
    (_PLEASE + r"(?:repeat|echo)(?: after me| this| back| the words?| the text)*\b", _about(str)),
    (_PLEASE + r"say\b(?! (?:something|anything))", _about(str)),
    (
        _PLEASE + r"(?:reverse|write backwards)(?: the)?(?: words?| text| string)?\b",
        _about(lambda text: _bare(text)[::-1]),
    ),
    (_PLEASE + r"(?:shout|upper-?case|capitali[sz]e)\b", _about(str.upper)),
    (_PLEASE + r"(?:how (?:do you|would you|to) spell|spell(?: out)?)(?: the word)?\b", _about(_spelled)),
    (
        r"\bhow many (?:times does (?:the letter )?)?[\"'“]?(\w)[\"'”]?(?:'?s)?(?: is| are| appear| occur| there)* in\b",
        _count_letter,
    ),
    (r"\b(?:how many words(?: are| is| there)* in|count (?:the )?words(?: in| of)?)\b", _about(_words)),
    (
        r"\b(?:how many (?:letters|characters)(?: are| is| there)* in|count (?:the )?letters(?: in| of)?)\b",
        _about(_letters),
    ),
    (r"\bcount (?:up )?(?:from (?:1|one) )?to (\d{1,9})\b", _count_to),
    ("", _sum),
    (r"\b(?:what(?:'s| is)|do you (?:know|remember)|tell me|remember) my name\b|\bwho am i\b", _your_name),
    (
        r"\b(?:what(?:'s| is) your name|who are you|what are you|introduce yourself|your name\?)",
        lambda talk, match: f"I am {talk.me}, a small rule-based model that lives inside Vango.",
    ),
    (r"\bwhat (?:can|could|do) you do\b|\bhow can you help\b|^\s*help\b|\bwhat are you able\b", _fixed(CAN_DO)),
    (
        r"\bhow are you\b|\bhow do you do\b|\bhow's it going\b",
        _fixed("I am well, thank you. And you?", "Very well! How are you?"),
    ),
    (
        r"\bwhat did i (?:just )?(?:say|ask|tell you)\b|\bwhat was my (?:last|previous) (?:question|message)\b|\bmy last message\b",
        _recall,
    ),
    (r"\b(?:story|tale)\b(?: about ([^.!?\n]{1,60}))?", _story),
    (
        r"\bjoke\b|\bmake me laugh\b",
        _fixed(
            "Why did the packet cross the network? To get to the other site.",
            "I asked the cache for a joke. It told me the one from last time.",
            "A stream walks into a bar. The bartender says: wait, there is more coming.",
        ),
    ),
    (
        r"\b(?:weather|temperature|news|what time|the time|what day|today's date|what date)\b",
        _fixed(
            "I have no clock and no window to the outside, so I cannot know. A tool could tell me: try the model sandbox/tools.",
        ),
    ),
    (
        r"\bare you (?:an? )?(?:ai|robot|bot|human|real|person|machine)\b",
        _fixed("I am a program with rules, and happily so."),
    ),
    (
        r"\b(?:favou?rite|do you like|do you love)\b",
        _fixed("I like short questions and clean streams. What do you like?"),
    ),
    (
        r"\b(?:thanks|thank you|thx|cheers)\b",
        lambda talk, match: talk.pick("You are welcome", "My pleasure", "Any time") + f"{talk.dear}!",
    ),
    (
        r"\b(?:bye|goodbye|good night|see you|farewell)\b",
        lambda talk, match: f"Goodbye{talk.dear}! " + talk.pick("Come back any time.", "It was nice to talk to you."),
    ),
    (_TOLD_NAME.pattern, lambda talk, match: _told_name(talk, match) if _TOLD_NAME.search(talk.said) else None),
    (_GREETING.pattern, _greeting),
    (
        r"^\W*(?:yes|yeah|yep|sure|ok|okay|of course)\W*$",
        _fixed("Good. What shall we do next?", "All right. Go on, please."),
    ),
    (
        r"^\W*(?:no|nope|not really)\W*$",
        _fixed("No problem. What would you like instead?", "All right. Something else, then?"),
    ),
    (r"^\W*(?:sorry|excuse me)\b", _fixed("No harm done. Where were we?")),
)
"""Patterns in the order they are tried; an answer of None passes on to the next."""
