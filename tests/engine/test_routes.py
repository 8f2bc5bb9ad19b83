"""From names to providers and models, and whose key goes along."""

from __future__ import annotations

import datetime as dt

import pytest
from pydantic import SecretStr

from tests.engine.scripted import World, ask, key, spoken
from vango.engine import Provider
from vango.errors import AuthenticationError, InvalidRequestError, NotFoundError, PermissionDeniedError
from vango.providers.catalog import Catalog
from vango.types.call import Caller, Credential
from vango.types.script import Script

HELLO = spoken()
SOMEONE = Caller("someone")

ALIASES = {"fast": "primary/one", "faster": "fast", "one": "spare/one", "primary/new": "spare/new"}


@pytest.mark.parametrize(
    ("name", "full_id"),
    [
        ("primary/one", "primary/one"),
        ("primary/vendor/with/slashes", "primary/vendor/with/slashes"),
        ("primary/never-heard-of", "primary/never-heard-of"),
        ("fast", "primary/one"),
        ("faster", "primary/one"),
        ("one", "spare/one"),  # aliases come before bare names
        ("old", "primary/old"),
        ("primary/new", "spare/new"),
    ],
)
def test_a_name_is_an_alias_or_a_provider_and_a_model_or_one_of_the_catalogue(name: str, full_id: str) -> None:
    assert World(aliases=ALIASES).routes.resolve(name).full_id == full_id


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere/x", "no provider is called 'nowhere'"),
        ("primry/one", "did you mean primary?"),
        ("unheard-of", "'unheard-of' is not a known model; write it as provider/model."),
        ("claude-sonnet-4-5", "'claude-sonnet-4-5' is a model of anthropic, which this server cannot call"),
        ("primary/", "'primary/' is not a known model"),
        ("/one", "'/one' is not a known model"),
        ("/", "'/' is not a known model"),
        ("Primary/one", "did you mean primary?"),
    ],
)
def test_an_unknown_name_is_not_found(name: str, says: str) -> None:
    with pytest.raises(NotFoundError, match="model") as caught:
        World().routes.resolve(name)

    assert says in caught.value.message
    assert (caught.value.status, caught.value.param, caught.value.code) == (404, "model", "unknown_model")


def test_aliases_in_a_circle_end_somewhere() -> None:
    """The configuration refuses them; whoever builds an engine by hand gets an error, not a hang."""
    with pytest.raises(NotFoundError):
        World(aliases={"a": "b", "b": "a"}).routes.resolve("a")


@pytest.mark.parametrize("name", ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "claude-of-tomorrow-9"])
def test_a_bare_name_belongs_to_its_maker(name: str) -> None:
    world = World()
    first = world.providers["primary"]
    providers = {"anthropic": Provider("anthropic", "Anthropic", first.codec, first.base, first.deadlines)}
    routes = type(world.routes)(providers, Catalog.load(), now=lambda: dt.datetime(2026, 6, 1, tzinfo=dt.UTC))

    assert routes.resolve(name).full_id == f"anthropic/{name}"


# Who may use what


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        (None, True),
        (("primary/one",), True),
        (("primary/*",), True),
        (("*",), True),
        (("spare/*", "primary/o*"), True),
        ((), False),
        (("spare/*",), False),
        (("primary/ONE",), False),
        (("primary/",), False),
        (("one",), False),
    ],
)
def test_a_key_may_be_for_some_models_only(patterns: tuple[str, ...] | None, allowed: bool) -> None:
    routes = World(aliases=ALIASES).routes
    caller = Caller("someone", models=patterns)

    for name in ("primary/one", "fast"):
        if allowed:
            assert routes.target(routes.resolve(name), caller).model == "one"
        else:
            with pytest.raises(PermissionDeniedError) as caught:
                routes.target(routes.resolve(name), caller)
            assert (caught.value.status, caught.value.param) == (403, "model")


# Whose key

HEADER = {"primary": key("sk-own")}
PASSED = key("sk-passed", bearer=True)


@pytest.mark.parametrize(
    ("caller", "configured", "secret", "of_caller"),
    [
        (Caller("x", provider_keys=HEADER, passthrough=PASSED), "sk-conf", "sk-own", True),
        (Caller("x", provider_keys={"first": key("sk-alias")}), "sk-conf", "sk-alias", True),
        (Caller("x", provider_keys={"spare": key("sk-else")}, passthrough=PASSED), "sk-conf", "sk-passed", True),
        (Caller("x", provider_keys={"spare": key("sk-else")}), "sk-conf", "sk-conf", False),
        (Caller("x"), "sk-conf", "sk-conf", False),
        (Caller("x", passthrough=PASSED), None, "sk-passed", True),
    ],
)
def test_the_callers_own_key_comes_first_then_the_passed_one_then_the_operators(
    caller: Caller, configured: str | None, secret: str, of_caller: bool
) -> None:
    routes = World(keys={"primary": key(configured) if configured else None}).routes

    target = routes.target(routes.resolve("primary/one"), caller)

    assert target.key is not None
    assert (target.key.secret.get_secret_value(), target.key_of_caller) == (secret, of_caller)
    assert secret not in repr(target)


@pytest.mark.parametrize("caller", [SOMEONE, Caller("x", provider_keys={"spare": key("sk-else")})])
async def test_without_a_key_nothing_is_sent(caller: Caller) -> None:
    world = World(HELLO, keys={"primary": None})

    with pytest.raises(AuthenticationError, match="X-Provider-Key-Primary") as caught:
        await world.create(caller=caller)

    assert (caught.value.status, caught.value.code, caught.value.provider) == (401, "provider_key_missing", "primary")
    assert world.sent == []
    assert world.outcome.upstream_errors == []


async def test_a_passed_key_does_not_reach_a_provider_that_needs_none() -> None:
    world = World(HELLO)

    await world.create(ask("sandbox/chat"), Caller("x", passthrough=PASSED))

    assert not {"authorization", "x-api-key"} & dict(world.sandbox.calls[0].headers).keys()


@pytest.mark.parametrize(
    ("credential", "header"),
    [
        (key("sk-1"), ("x-api-key", "sk-1")),
        (key("sk-1", bearer=True), ("authorization", "Bearer sk-1")),
        (key("sk-ant-oat-1"), ("authorization", "Bearer sk-ant-oat-1")),
    ],
)
async def test_a_key_goes_on_in_the_way_it_came(credential: Credential, header: tuple[str, str]) -> None:
    world = World(HELLO, keys={"primary": credential})

    await world.create()

    headers = world.sandbox.calls[0].headers
    assert header in headers
    assert sum(name in {"authorization", "x-api-key"} for name, _ in headers) == 1


async def test_the_operators_headers_go_along() -> None:
    world = World(HELLO)
    provider = world.providers["primary"]
    told = {name: getattr(provider, name) for name in ("name", "title", "codec", "base", "deadlines", "key")}
    world.routes.providers = {"primary": Provider(**told, headers={"x-team": SecretStr("blue")})}

    await world.create()

    assert ("x-team", "blue") in world.sandbox.calls[0].headers


# Losses, and what the catalogue adds


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_loss_is_told(streamed: bool) -> None:
    world = World(HELLO)
    request = ask(metadata={"team": "x", "user_id": "u"}, stream=streamed)

    await (world.stream(request) if streamed else world.create(request))

    assert world.outcome.losses == ("metadata.team=dropped",)


@pytest.mark.parametrize(("asked", "configured"), [(True, False), (False, True)])
@pytest.mark.parametrize("streamed", [False, True])
async def test_strictness_turns_a_loss_into_an_error(asked: bool, configured: bool, streamed: bool) -> None:
    world = World(HELLO, strict=configured)
    request = ask(metadata={"team": "x"}, stream=streamed, strict=asked)

    with pytest.raises(InvalidRequestError) as caught:
        await (world.stream(request) if streamed else world.create(request))

    assert (caught.value.param, caught.value.code) == ("metadata.team", "lossy")
    assert world.sent == []


async def test_strictness_is_nothing_to_a_request_without_losses() -> None:
    world = World(HELLO, strict=True)

    assert (await world.create()).model == "primary/scripted"
    assert world.outcome.losses == ()


async def test_whoever_asks_for_a_retired_model_hears_of_its_successor() -> None:
    world = World(Script.error(404, "model: old"))

    with pytest.raises(NotFoundError) as caught:
        await world.create(ask("primary/old"))

    assert caught.value.message.endswith("retired on 2026-01-01; its successor is primary/one.")
