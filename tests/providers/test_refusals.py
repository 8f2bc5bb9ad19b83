"""The ladder from a provider's refusal to Vango's errors: status, whose key it was, how long to wait, and what is not repeated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.support.targets import target
from vango.errors import VangoError
from vango.providers.refusals import MAX_MESSAGE, refusal, retry_after, scrub
from vango.types.call import Credential

KEY = "sk-ant-api03-PLANTEDplantedPLANTED0123456789"


def refused(status: int, *, own: bool = False, **options: Any) -> VangoError:
    given: dict[str, Any] = {"headers": {}, **options}
    return refusal(status, "some_error", "It says no.", target(key_of_caller=own), **given)


OPERATOR = {
    301: ("provider_error", 502, False),
    400: ("invalid_request_error", 400, False),
    401: ("provider_error", 502, False),
    402: ("provider_error", 502, False),
    403: ("provider_error", 502, False),
    404: ("not_found_error", 404, False),
    405: ("invalid_request_error", 400, False),
    408: ("timeout_error", 504, True),
    409: ("invalid_request_error", 400, False),
    413: ("invalid_request_error", 413, False),
    422: ("invalid_request_error", 400, False),
    429: ("rate_limit_error", 429, True),
    451: ("invalid_request_error", 400, False),
    500: ("provider_error", 502, True),
    501: ("provider_error", 502, True),
    502: ("provider_error", 502, True),
    503: ("overloaded_error", 503, True),
    504: ("timeout_error", 504, True),
    520: ("provider_error", 502, True),
    529: ("overloaded_error", 503, True),
    599: ("provider_error", 502, True),
}
OWN = {
    **OPERATOR,
    401: ("authentication_error", 401, False),
    402: ("permission_error", 403, False),
    403: ("permission_error", 403, False),
}


@pytest.mark.parametrize(("own", "ladder"), [(False, OPERATOR), (True, OWN)], ids=["operator's key", "caller's key"])
def test_every_status_has_its_error(own: bool, ladder: dict[int, tuple[str, int, bool]]) -> None:
    errors = {status: refused(status, own=own) for status in ladder}

    assert {status: (error.type, error.status, error.retryable) for status, error in errors.items()} == ladder
    for error in errors.values():
        assert error.provider == "anthropic"
        assert error.provider_error == {"type": "some_error", "message": "It says no."}


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_is_told_to_whom_it_belongs(status: int) -> None:
    operators, own = refused(status), refused(status, own=True)

    assert operators.message == "anthropic refused the key that is configured here."
    assert own.message == "anthropic: It says no."
    assert operators.code == own.code == "provider_key_refused"


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("status", "said", "retryable"),
    [
        *((429, said, retryable) for said, retryable in [("true", True), ("false", False), ("maybe", True)]),
        *((400, said, retryable) for said, retryable in [("true", True), ("false", False), ("", False)]),
        (302, "true", False),
    ],
)
def test_the_provider_may_say_whether_to_retry(status: int, said: str, retryable: bool, own: bool) -> None:
    assert refused(status, own=own, headers={"x-should-retry": said}).retryable is retryable


def test_a_refused_key_of_the_operator_is_never_tried_again() -> None:
    assert not refused(401, headers={"x-should-retry": "true"}).retryable


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7.5 "}, 7.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "", "retry-after": "9"}, 9.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 09:29:00 +0200", "date": DATE}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "yesterday"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 -0000", "date": DATE}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:30 GMT", "date": DATE}, None),
        ({"retry-after": "tomorrow", "date": DATE}, None),
        ({"retry-after": "1, 2"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after-ms": "nan", "retry-after": "2"}, 2.0),
        ({"retry-after": "604800"}, 604_800.0),
    ],
)
def test_the_wait_is_read_in_every_spelling(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=40)))
def test_no_header_breaks_the_wait(headers: dict[str, str]) -> None:
    seconds = retry_after(headers)

    assert seconds is None or 0 <= seconds <= 366 * 86_400


@pytest.mark.parametrize(("status", "counts"), [(429, True), (503, True), (529, True), (400, False), (500, False)])
def test_the_wait_counts_where_it_means_a_refusal(status: int, counts: bool) -> None:
    assert refused(status, headers={"retry-after": "3"}).retry_after == (3.0 if counts else None)


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"request-id": "req_1", "x-request-id": "other"}, "req_1"),
        ({"x-request-id": "other"}, "other"),
        ({}, None),
        ({"request-id": f"req_{KEY}"}, "req_[key]"),
    ],
)
def test_the_providers_request_id_is_kept(headers: dict[str, str], request_id: str | None) -> None:
    error = refusal(400, "x", "y", target(key=Credential(SecretStr(KEY))), headers=headers)

    assert error.provider_request_id == request_id


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"invalid key {KEY}", "invalid key [key]"),
        (f"{KEY}{KEY} twice", "[key] twice"),
        (f"keys begin with {KEY[:14]} and end in {KEY[-9:]}.", "keys begin with [key] and end in [key]."),
        (f"the middle is ...{KEY[15:23]}...", "the middle is ...[key]..."),
        (f"seven characters tell nothing: {KEY[15:22]}", f"seven characters tell nothing: {KEY[15:22]}"),
        ("another's: sk-proj-abcDEF123456789", "another's: [key]"),
        ("masked: sk-ant*****************wxyz", "masked: [key]"),
        ("Google's: AIzaSyA1234567890abcdefg", "Google's: [key]"),
        ("output_config.task_budget.total_tokens: too small", "output_config.task_budget.total_tokens: too small"),
        ("messages.0.key_one.key_two_three: odd", "messages.0.key_one.key_two_three: odd"),
        ("header says secret-header-value", "header says [key]"),
        ("", ""),
    ],
)
def test_no_part_of_a_secret_is_repeated(said: str, shown: str) -> None:
    about = target(key=Credential(SecretStr(KEY)), headers={"x-team": SecretStr("secret-header-value")})

    assert scrub(said, about) == shown


@given(st.text(max_size=20), st.integers(0, len(KEY) - 8), st.integers(8, len(KEY)), st.text(max_size=20))
def test_eight_characters_of_a_key_never_pass(before: str, start: int, size: int, after: str) -> None:
    shown = scrub(before + KEY[start : start + size] + after, target(key=Credential(SecretStr(KEY))))

    assert not any(KEY[at : at + 8] in shown for at in range(len(KEY) - 7))


def test_a_short_secret_is_hidden_whole() -> None:
    assert scrub("the key abc is bad", target(key=Credential(SecretStr("abc")))) == "the key [key] is bad"
    assert scrub("nothing to hide", target(key=Credential(SecretStr("")))) == "nothing to hide"


def test_long_texts_are_cut() -> None:
    error = refusal(400, "k" * 5000, "m" * 50_000, target(), headers={}, param="p" * 5000)

    assert len(error.message) < MAX_MESSAGE + 100
    assert error.provider_error is not None
    assert len(error.provider_error["type"]) < 200
    assert error.param is None


@pytest.mark.parametrize(
    ("details", "kept"),
    [
        ({"error_code": "thread_unsupported_request"}, True),
        ({"echo": KEY}, False),
        ({"echo": {"headers": [KEY[5:20]]}}, False),
        ({"x": "y" * 5000}, False),
    ],
)
def test_details_pass_only_without_secrets(details: dict[str, Any], kept: bool) -> None:
    error = refusal(400, "x", "y", target(key=Credential(SecretStr(KEY))), headers={}, details=details)

    assert error.details == (details if kept else None)


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("param", ["messages[0].content", KEY.replace("-", "_"), None])
def test_a_path_is_kept_where_the_request_was_at_fault(status: int, param: str | None) -> None:
    error = refusal(status, "x", "y", target(key=Credential(SecretStr(KEY))), headers={}, param=param)

    assert error.param == ("messages[0].content" if param == "messages[0].content" else None)
    assert refusal(500, "x", "y", target(), headers={}, param="messages").param is None
