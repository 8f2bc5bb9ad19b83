"""Sums in sentences."""

import pytest

from vango.local.arithmetic import find_sum, work_out, written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("what is 12*7", "84"),
        ("What is twelve times seven?", "84"),
        ("(1+2)*3 = ?", "9"),
        ("2 - 3 - 4", "-5"),
        ("-2 ** 2", "-4"),
        ("2^3^2", "512"),
        ("1,000 + 5", "1005"),
        ("15% of 80", "12"),
        ("17 % 5", "2"),
        ("7 x 8", "56"),
        ("7 \u00d7 8 \u2212 1", "55"),
        ("10 divided by 4", "2.5"),
        ("10/3", "about 3.333333"),
        ("1/8", "0.125"),
        ("0.1+0.2", "0.3"),
        ("-1/3", "about -0.333333"),
        ("nine squared", "81"),
        ("2 ** -1", "0.5"),
    ],
)
def test_a_sum_is_found_and_worked_out(text: str, expected: str):
    expression = find_sum(text)

    assert expression is not None
    assert written(work_out(expression)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hello 12",
        "2024-05-01",
        "call 555-123-4567",
        "version 1.2.3",
        "on 1/2/2024",
        "well - known",
        "",
        "1+" * 200 + "1",
    ],
)
def test_what_only_looks_like_a_sum_is_none(text: str):
    assert find_sum(text) is None


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("5 / 0", ZeroDivisionError),
        ("0 ** -1", ZeroDivisionError),
        ("2 ** 2 ** 2 ** 2 ** 2 ** 2", OverflowError),
        ("9" * 900, OverflowError),
        ("(" * 30 + "1" + ")" * 30, OverflowError),
        ("2 ** 0.5", ValueError),
        ("(1 + 2", ValueError),
        ("1 +", ValueError),
        ("* 3", ValueError),
        ("1 2", ValueError),
        ("1 + a", ValueError),
    ],
)
def test_what_has_no_value_says_why(expression: str, error: type[Exception]):
    with pytest.raises(error):
        work_out(expression)
