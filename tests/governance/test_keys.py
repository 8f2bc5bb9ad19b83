"""Who is calling: keys by digest, what they allow, and the provider keys that callers bring."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest
from pydantic import SecretStr

from vango.errors import AuthenticationError, InvalidRequestError, PermissionDeniedError, VangoError
from vango.governance.keys import ApiKey, Keys
from vango.types.call import Caller, Credential

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
ADDRESS = "203.0.113.7"
KEY = "vango_sk_planted"


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def shown(key: str, *, bearer: bool = False) -> Credential:
    return Credential(SecretStr(key), bearer=bearer)


def keys(mode: str = "api_key", *entries: ApiKey, **options: bool) -> Keys:
    return Keys(mode, entries, now=lambda: NOON, **options)


def refused(gate: Keys, key: str | None) -> VangoError:
    with pytest.raises(AuthenticationError) as caught:
        gate.identify(shown(key) if key is not None else None, ADDRESS)
    return caught.value


def test_without_authentication_the_address_is_the_principal_and_a_key_is_nothing() -> None:
    gate = keys("none", ApiKey(digest(KEY), name="ignored"))

    assert gate.identify(None, ADDRESS) == Caller(principal=ADDRESS)
    assert gate.identify(shown(KEY), ADDRESS) == Caller(principal=ADDRESS)


@pytest.mark.parametrize(
    ("entry", "principal"),
    [
        (ApiKey(digest(KEY), name="Production", user_id="user_1"), "user_1"),
        (ApiKey(digest(KEY), name="Production"), "Production"),
        (ApiKey(digest(KEY)), ADDRESS),
    ],
)
def test_a_key_tells_the_principal(entry: ApiKey, principal: str) -> None:
    caller = keys("api_key", ApiKey(digest("other")), entry).identify(shown(KEY, bearer=True), ADDRESS)

    assert caller == Caller(principal=principal, key_name=entry.name)
    assert caller.passthrough is None


@pytest.mark.parametrize(
    "key",
    [
        *(None, "", "wrong", KEY.upper(), KEY + " ", " " + KEY, KEY[:-1], KEY + "x"),
        *(hashlib.sha256(KEY.encode()).hexdigest(), "schl\u00fcssel", "\udcff", "\x00", "x" * 100_000),
    ],
)
def test_any_other_key_is_refused_without_a_word_of_it(key: str | None) -> None:
    error = refused(keys("api_key", ApiKey(digest(KEY))), key)

    assert (error.status, error.type) == (401, "authentication_error")
    assert error.message.startswith("A key is required" if key is None else "This key is not valid")


@pytest.mark.parametrize(
    ("expires_at", "code"),
    [
        (NOON + dt.timedelta(seconds=1), None),
        (NOON, "key_expired"),
        (NOON - dt.timedelta(days=1), "key_expired"),
        (NOON.astimezone(dt.timezone(dt.timedelta(hours=9))) + dt.timedelta(seconds=1), None),
        (dt.datetime(2026, 6, 1, 20, 59, 59, tzinfo=dt.timezone(dt.timedelta(hours=9))), "key_expired"),
    ],
)
def test_a_key_ends_at_its_instant(expires_at: dt.datetime, code: str | None) -> None:
    gate = keys("api_key", ApiKey(digest(KEY), name="n", expires_at=expires_at))

    if code is None:
        assert gate.identify(shown(KEY), ADDRESS).principal == "n"
    else:
        assert refused(gate, KEY).code == code


def test_a_disabled_key_looks_like_none_even_after_its_end() -> None:
    gate = keys("api_key", ApiKey(digest(KEY), disabled=True, expires_at=NOON - dt.timedelta(days=1)))

    error = refused(gate, KEY)

    assert (error.message, error.code) == ("This key is not valid.", None)


def test_the_models_of_a_key_are_the_callers() -> None:
    gate = keys("api_key", ApiKey(digest(KEY), models=("anthropic/*", "sandbox/chat")))

    assert gate.identify(shown(KEY), ADDRESS).models == ("anthropic/*", "sandbox/chat")


@pytest.mark.parametrize("bearer", [True, False])
def test_a_key_that_is_passed_through_stays_as_it_came(bearer: bool) -> None:
    credential = shown("sk-ant-planted", bearer=bearer)

    caller = keys("passthrough").identify(credential, ADDRESS)

    assert caller.passthrough == credential
    assert "sk-ant-planted" not in repr(caller)
    assert "planted" not in caller.principal
    # The same key is the same principal wherever it comes from, and another one is not.
    assert keys("passthrough").identify(shown("sk-ant-planted"), "192.0.2.1").principal == caller.principal
    assert keys("passthrough").identify(shown("sk-ant-planted2"), ADDRESS).principal != caller.principal


@pytest.mark.parametrize("key", [None, "", "two words", "schl\u00fcssel", "line\r\nbreak", "\x00"])
def test_what_cannot_be_a_header_is_not_passed_through(key: str | None) -> None:
    assert refused(keys("passthrough"), key).status == 401


def test_keys_brought_in_headers_come_before_those_of_the_body() -> None:
    gate = keys("none")
    caller = gate.identify(None, ADDRESS)

    caller = gate.bring(caller, {"anthropic": SecretStr("from-header")}, where="X-Provider-Key-")
    caller = gate.bring(caller, {"anthropic": SecretStr("from-body"), "groq": SecretStr("gsk")}, where="provider_keys.")

    assert {name: key.secret.get_secret_value() for name, key in caller.provider_keys.items()} == {
        "anthropic": "from-header",
        "groq": "gsk",
    }
    assert "from-" not in repr(caller)


@pytest.mark.parametrize("where", ["X-Provider-Key-", "provider_keys."])
@pytest.mark.parametrize("key", ["", " ", "two words", "k\u00e9y", "a\nb", "a\x7fb"])
def test_a_brought_key_that_cannot_be_one_is_refused_at_its_place(where: str, key: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        keys("none").bring(Caller("x"), {"anthropic": SecretStr(key)}, where=where)

    assert caught.value.param == f"{where}anthropic"
    assert caught.value.message == f"{where}anthropic: expected a key, got characters that no key has."


def test_a_name_that_may_be_a_key_itself_is_not_repeated() -> None:
    name = "sk-ant-" + "q" * 40

    with pytest.raises(InvalidRequestError) as caught:
        keys("none").bring(Caller("x"), {name: SecretStr("")}, where="X-Provider-Key-")

    assert (caught.value.param, "qqq" in caught.value.message) == ("X-Provider-Key", False)


def test_a_server_may_take_no_keys_from_callers() -> None:
    gate = keys("none", allow_byok=False)

    assert gate.bring(Caller("x"), {}, where="provider_keys.") == Caller("x")
    with pytest.raises(PermissionDeniedError) as caught:
        gate.bring(Caller("x"), {"anthropic": SecretStr("\n")}, where="provider_keys.")
    assert (caught.value.status, caught.value.code) == (403, "byok_disabled")
