from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vango.errors import InvalidRequestError
from vango.wire import json


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"[]", "array"),
        (b'"x"', "str"),
        (b"{", "truncated"),
        (b'{"a":1}x', "trailing"),
        (b'{"a":NaN}', "invalid character"),
        (b'{"a":Infinity}', "invalid character"),
        (b'{"a":-}', "invalid"),
        (b'{"a":01}', "invalid number"),
        (b'{"a":"\x01"}', "invalid character"),
        (b'{"a":"\\ud800"}', "lone surrogate"),
        (b'{"a":"\\udc00"}', "surrogate"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b"\xef\xbb\xbf{}", "invalid character"),
        (b'{"a":' + b"[" * 101 + b"]" * 101 + b"}", "nested deeper than 100"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":{}, "a"}', "expected"),
    ],
)
def test_what_is_not_one_json_object_is_refused_with_the_reason(body: bytes, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        json.read_object(body, max_nesting=100)


def test_values_keep_their_bytes_and_their_order() -> None:
    body = b'{ "b" : [1, 2.50,  1e999],"a":123456789012345678901234567890 , "\xc3\xa9":"\\u00e9"}'

    fields = json.read_object(body, max_nesting=100)

    assert json.join(fields) == b'{"b":[1, 2.50,  1e999],"a":123456789012345678901234567890,"\xc3\xa9":"\\u00e9"}'


def test_brackets_inside_strings_do_not_nest() -> None:
    body = b'{"a":"' + b"[" * 500 + b'\\"[[{{", "b": {"c": []}}'

    assert set(json.read_object(body, max_nesting=3)) == {"a", "b"}


def test_nesting_is_counted_exactly_at_the_limit() -> None:
    padding = b'"p":"' + b"[" * 200 + b'",'

    assert json.read_object(b"{" + padding + b'"a":' + b"[" * 99 + b"]" * 99 + b"}", max_nesting=100)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"{}", "object"),
        (b"[]", "array"),
        (b'""', "string"),
        (b"true", "boolean"),
        (b"false", "boolean"),
        (b"null", "null"),
        (b"-1", "number"),
        (b"0.5", "number"),
    ],
)
def test_the_first_byte_tells_the_type(value: bytes, expected: str) -> None:
    assert json.kind(json.decode_fields(b'{"x": ' + value + b" }")["x"]) == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        json.read_object(body, max_nesting=10)
    except InvalidRequestError as error:
        assert error.status == 400


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(
    st.recursive(
        st.text('[]{}"\\,: aé', max_size=6) | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=3),
        max_leaves=30,
    ),
    st.integers(0, 6),
)
def test_depth_is_exact_whatever_strings_hold(value: object, limit: int) -> None:
    body = json.encode({"a": value, "b": ["x", '"', "\\"]})

    assert json.too_deep(body, limit) is (_depth({"a": value, "b": []}) > limit)
