"""What a sentence offers for filling in a form: quotes, names, numbers, dates, and values named by their field."""

from __future__ import annotations

import re
from functools import cached_property

from vango.local.arithmetic import find_sum

# Longer texts are read up to here: arguments are short.
LOOKED_AT = 4_000

_QUOTED = re.compile(r"""["“«]([^"“”«»]+)["”»]|(?<!\w)'([^']+)'(?!\w)""")
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,15})?(?![\w.]*\w)")
_PROPER = re.compile(r"[^\W\d_a-z][\w'-]*(?:(?: of)? [^\W\d_a-z][\w'-]*)*")
_PLACE = re.compile(rf"\b(?:in|at|from|to|for|near|of)\s+({_PROPER.pattern}(?:, {_PROPER.pattern})?)")
_SPLIT_KEY = re.compile(r"[\s_.-]+|(?<=[a-z])(?=[A-Z])")
_NO = re.compile(r"\b(?:no|not|don't|without|off|false|disable|disabled|never)\b", re.IGNORECASE)
_FORMATS = {
    "email": re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
    "uri": re.compile(r"https?://[^\s<>\"'{}|\\^`]+"),
    "date": re.compile(r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b"),
}

# Words that start sentences and so have a capital without being names.
_OPENERS = (
    "A An And Are At Book Calculate Call Can Compare Compute Convert Could Create Delete Did Do Does Extract Find Get Give "
    "He Hello Her Hey Hi His How I I'd I'm If In Is It Its Look Make My Now On Open Our Please Read Remind Run Search Send "
    "Set She Show Tell Thanks The Their Then There They This To Translate Turn Use We What What's When Where Which Who Why "
    "Will With Would Write Yes You Your"
)
_COMMON = frozenset(_OPENERS.split())

# Fields by what they want: the whole text, a place, a calculation.
_WHOLE_TEXT = (
    "answer body code command content description input instruction message note notes prompt query question reason request search "
    "sentence summary task text thought topic"
)
_WHOLE = frozenset(_WHOLE_TEXT.split())
_PLACES = frozenset(
    {"address", "airport", "city", "country", "destination", "location", "origin", "place", "region", "town"}
)
_SUMS = frozenset({"calculation", "expression", "formula", "math"})


class Material:
    """A text, ready to be used up. Each quote, name and number serves once, so that two fields do not get the same one."""

    def __init__(self, text: str) -> None:
        self.text = " ".join(text[:LOOKED_AT].split())
        self._lower = self.text.lower()
        self.quotes = ["".join(groups) for groups in _QUOTED.findall(self.text)]
        self._left = {*self.quotes, *self.names}

    @cached_property
    def names(self) -> list[str]:
        """Proper nouns, in order; neighbours are one ("New York")."""
        found = []
        for match in _PROPER.finditer(self.text):
            words = match[0].split(" ")
            while words and words[0] in _COMMON:
                words.pop(0)
            if words:
                found.append(" ".join(words))
        return found

    @cached_property
    def numbers(self) -> list[float]:
        """Numbers, in order; whole ones are ints."""
        return [_number(match[0]) for match in _NUMBER.finditer(self.text)]

    @property
    def is_negative(self) -> bool:
        """Whether the text says no."""
        return bool(_NO.search(self.text))

    def mentions(self, phrase: str) -> bool:
        """Whether a word or phrase occurs, in any case, with spaces for underscores."""
        spoken = phrase.strip().lower().replace("_", " ")
        at = self._lower.find(spoken) if spoken else -1
        while at >= 0:
            end = at + len(spoken)
            if not self._lower[max(0, at - 1) : at].isalnum() and not self._lower[end : end + 1].isalnum():
                return True
            at = self._lower.find(spoken, at + 1)
        return False

    def labelled(self, key: str) -> str | None:
        """Return the value that the text gives to a field by its name ("subject: tea", "set the volume to 7")."""
        value = self._after(key, r"""("[^"]+"|'[^']+'|[^\s,;?!]+)""")
        return value.strip("\"'").rstrip(".") if value else None

    def listed(self, key: str) -> list[str]:
        """Return the values of a field that the text lists by its name ("tags: red, green and blue")."""
        listed = self._after(key, r"([^.;?!]+)")
        return [item for item in re.split(r"\s*(?:,|\band\b)\s*", listed.strip()) if item] if listed else []

    def _after(self, key: str, value: str) -> str | None:
        words = words_of(key)
        # Compiling an expression costs more than all else here, and most fields are not named.
        if not words or any(word not in self._lower for word in words):
            return None
        label = r"[\s_-]*".join(map(re.escape, words))
        found = re.search(rf"\b{label}\b\s*(?:(?:is|are|to|of|should be)\b|[:=])\s*{value}", self.text, re.IGNORECASE)
        return found[1] if found else None

    def strings(self, key: str) -> list[str]:
        """Return texts for a field, the likeliest first; the last is the whole text."""
        words = set(words_of(key))
        found: list[str | None] = [self.labelled(key)]
        if words & _SUMS:
            found.append(find_sum(self.text))
        if words & _PLACES:
            places = [match[1] for match in _PLACE.finditer(self.text)]
            found += [place for place in places if place.partition(", ")[0] in self._left] or places
        if not words & _WHOLE:
            found += [text for text in (*self.quotes, *self.names) if text in self._left]
            found += self.names
        else:
            found += [quote for quote in self.quotes if quote in self._left]
        found.append(self.text)
        return [text for text in found if text]

    def formatted(self, name: str) -> list[str]:
        """Return what the text has in one of the formats of JSON Schema."""
        pattern = _FORMATS.get(name)
        return [match[0].rstrip(".,;:") for match in pattern.finditer(self.text)] if pattern else []

    def number_for(self, key: str) -> list[float]:
        """Return numbers for a field, the likeliest first."""
        value = self.labelled(key)
        named = [_number(value)] if value and _NUMBER.fullmatch(value) else []
        return [*named, *self.numbers]

    def use(self, value: str | float) -> None:
        """Mark a value as used."""
        if isinstance(value, str):
            self._left.difference_update((value, *value.split(", ")))
        elif value in self.numbers:
            self.numbers.remove(value)


def words_of(key: str) -> list[str]:
    """Split a name in snake_case, kebab-case or camelCase into lower-case words."""
    return [word.lower() for word in _SPLIT_KEY.split(key) if word]


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)
