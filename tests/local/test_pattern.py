"""Strings that regular expressions match, made without running them."""

import re

import pytest

from vango.local.pattern import UnknownPattern, sample

PATTERNS = [
    "abc",
    r"^[A-Z]{3}-\d{4}$",
    r"^\d{4}-\d{2}-\d{2}$",
    r"^(?:red|green|blue)$",
    r"^#[0-9a-fA-F]{6}$",
    r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$",
    r"a*b+c?d{2}e{2,}f{1,3}",
    r"^(?P<year>\d{4})(/\d\d)*$",
    r"[\w.-]+\.(png|jpg)",
    r"^[^\d\w\s]{2}$",
    r"\x41\u0042\\\.\[\]",
    r"[]a]",
    r"[a-]",
    r"x+?y*?",
    r"^$|^a$",
    "",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("extra", [0, 1, 5])
def test_a_sample_matches(pattern: str, extra: int):
    assert re.search(pattern, sample(pattern, extra))


def test_extra_lengthens_what_may_be_longer():
    assert [len(sample("^a+$", extra)) for extra in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?=a)b",
        r"(?<!a)b",
        r"(a)\1",
        r"a^b",
        r"a$b",
        "(",
        "a)",
        "[a",
        "*a",
        "a{99999}",
        "(a{999}){999}",
        "(" * 100 + ")" * 100,
        r"\q",
        r"\x4",
        r"\u041",
        r"\ud800",
        r"[\ud800-\udfff]",
        "[^\\w\\W]",
    ],
)
def test_what_is_not_known_is_said(pattern: str):
    with pytest.raises(UnknownPattern):
        sample(pattern)
