"""Anthropic's refusals, over HTTP and inside a stream, as Vango's errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.targets import target
from vango.errors import VangoError
from vango.providers.anthropic import AnthropicCodec
from vango.providers.anthropic.errors import STATUSES, stream_error
from vango.wire.call import ReplyHead

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"


def error(status: int, body: bytes | dict[str, Any], headers: dict[str, str] | None = None, **about: Any) -> VangoError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return AnthropicCodec().error(ReplyHead(status, headers or {}), data, target(**about))


def envelope(kind: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, **more}}


def test_the_providers_words_are_kept_beside_vangos() -> None:
    found = error(400, {**envelope("invalid_request_error", "It is odd."), "request_id": "req_body"})

    assert found.envelope("req_mine") == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "anthropic: It is odd.",
            "param": None,
            "code": None,
            "request_id": "req_mine",
            "retry_after": None,
            "provider": "anthropic",
            "provider_error": {"type": "invalid_request_error", "message": "It is odd."},
        },
        "request_id": "req_mine",
    }
    assert found.provider_request_id == "req_body"


def test_the_request_id_of_the_headers_comes_before_that_of_the_body() -> None:
    body = {**envelope("api_error", "x"), "request_id": "req_body"}

    assert error(500, body, {"request-id": "req_head"}).provider_request_id == "req_head"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("messages.0.content.1: bad block", "messages[0].content[1]"),
        ("messages.0.content.1.source.base64.data: Field required", "messages[0].content[1].source.base64.data"),
        ("messages.12: roles must alternate", "messages[12]"),
        ("messages: at least one message is required", "messages"),
        ("tools.3.custom.input_schema.type: Field required", "tools[3].custom.input_schema.type"),
        ("system.0.cache_control.ttl: odd", "system[0].cache_control.ttl"),
        ("max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens", "max_tokens"),
        ("model: claude-9", "model"),
        ("prompt is too long: 210000 tokens > 200000 maximum", None),
        ("`temperature` and `top_p` cannot both be specified for this model.", None),
        ("Your credit balance is too low to access the Anthropic API.", None),
        ("https://example.com: could not be fetched", None),
        ("messages.0.content.1", None),
        (": x", None),
        ("", None),
    ],
)
def test_a_path_that_leads_the_message_is_the_param(message: str, param: str | None) -> None:
    assert error(400, envelope("invalid_request_error", message)).param == param
    assert stream_error(json.dumps(envelope("invalid_request_error", message)).encode(), target()).param == param


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", HTML, b"\xff\xfe", b"null", b"[]", b'"x"', b"{}", b"{", b'{"error":"x"}', b'{"error":[]}'),
        *(b'{"error":{"type":5,"message":6}}', b'{"error":{"message":"\\ud800"}}', b'{"error":{"message":"\xff"}}'),
        *(b'{"error":null}', b"[" * 100_000, b'{"error":{"details":' + b"[" * 2000 + b"]" * 2000 + b"}}"),
    ],
    ids=range(17),
)
@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (502, "provider_error"), (529, "overloaded_error")]
)
def test_a_body_that_says_nothing_leaves_the_status_to_speak(body: bytes, status: int, kind: str) -> None:
    found = error(status, body)

    assert found.type == kind
    assert found.message == f"anthropic: answered with status {status} and no readable error."
    assert found.provider_error is not None
    assert found.provider_error["type"] == "unknown"


def test_huge_messages_are_cut() -> None:
    found = error(400, envelope("t" * 100_000, "messages.0: " + "m" * 200_000))

    assert found.param == "messages[0]"
    assert len(json.dumps(found.envelope())) < 5000


@pytest.mark.parametrize(
    ("details", "kept"),
    [
        ({"error_code": "x"}, {"error_code": "x"}),
        ("x", None),
        ([1], None),
        (None, None),
        ({"key": "sk-ant-planted-key"}, None),
    ],
)
def test_details_are_kept_where_they_are_an_object_without_the_key(details: Any, kept: Any) -> None:
    assert error(400, envelope("invalid_request_error", "x", details=details)).details == kept


@pytest.mark.parametrize(
    ("kind", "own", "expected"),
    [
        ("invalid_request_error", False, ("invalid_request_error", 400)),
        ("authentication_error", False, ("provider_error", 502)),
        ("authentication_error", True, ("authentication_error", 401)),
        ("billing_error", True, ("permission_error", 403)),
        ("permission_error", False, ("provider_error", 502)),
        ("permission_error", True, ("permission_error", 403)),
        ("not_found_error", False, ("not_found_error", 404)),
        ("request_too_large", False, ("invalid_request_error", 413)),
        ("rate_limit_error", False, ("rate_limit_error", 429)),
        ("api_error", False, ("provider_error", 502)),
        ("timeout_error", False, ("timeout_error", 504)),
        ("overloaded_error", False, ("overloaded_error", 503)),
        ("something_new", False, ("provider_error", 502)),
        ("", False, ("provider_error", 502)),
    ],
)
def test_an_error_inside_a_stream_is_what_it_would_have_been_over_http(
    kind: str, own: bool, expected: tuple[str, int]
) -> None:
    body = {**envelope(kind, "x"), "request_id": "req_1"}
    found = stream_error(json.dumps(body).encode(), target(key_of_caller=own))

    assert (found.type, found.status) == expected
    assert found.provider_request_id == "req_1"
    if kind in STATUSES:
        assert type(found) is type(error(STATUSES[kind], body, key_of_caller=own))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"error":5}', b"\xff", b'{"error":{}}'])
def test_an_unreadable_error_inside_a_stream_is_the_providers(data: bytes) -> None:
    found = stream_error(data, target())

    assert (found.type, found.status) == ("provider_error", 502)
    assert found.message == "anthropic: the stream reported an error without a message."


@given(st.sampled_from([300, 400, 401, 404, 429, 500, 529]), st.binary(max_size=80), st.booleans())
def test_any_answer_is_an_error_of_the_ladder(status: int, body: bytes, own: bool) -> None:
    found = error(status, body, key_of_caller=own)

    assert 400 <= found.status < 600
    assert json.loads(json.dumps(found.envelope()))["error"]["provider"] == "anthropic"


@pytest.mark.parametrize("where", ["message", "type", "request_id", "header"])
def test_a_key_that_comes_back_is_hidden_wherever_it_is(where: str) -> None:
    key = "sk-ant-planted-key"
    body = {**envelope("x", "y"), "request_id": "req"}
    headers = {}
    if where == "header":
        headers = {"request-id": key}
    elif where == "request_id":
        body["request_id"] = f"r-{key[3:]}"
    else:
        body["error"][where] = f"no {key[4:16]} here"

    found = error(400, body, headers)

    shown = repr([found.envelope(), found.provider_request_id, found.message])
    assert not any(key[at : at + 8] in shown for at in range(len(key) - 7))
