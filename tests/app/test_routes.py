"""The surface over HTTP: paths, methods, the catalogue, the pages, and what stays open while the server drains."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.raw import Raw
from tests.support.server import HELLO, running
from vango.providers.catalog import Catalog

PATHS = {
    "/": {"GET", "HEAD"},
    "/health": {"GET", "HEAD"},
    "/ready": {"GET", "HEAD"},
    "/metrics": {"GET", "HEAD"},
    "/openapi.json": {"GET", "HEAD"},
    "/v1/models": {"GET", "HEAD"},
    "/v1/models/sandbox/chat": {"GET", "HEAD"},
    "/v1/messages": {"POST"},
    "/v1/messages/count_tokens": {"POST"},
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "BREW"]


def error(reply: Any) -> dict[str, Any]:
    return reply.json()["error"]  # type: ignore[no-any-return]


async def test_every_path_takes_its_methods_and_names_them_to_others() -> None:
    async with running() as server:
        for path, allowed in PATHS.items():
            for method in METHODS:
                reply = await server.http.request(method, path, json=HELLO if method == "POST" else None)

                if method in allowed:
                    assert reply.status_code == 200, (method, path)
                    continue
                assert reply.status_code == 405, (method, path)
                assert set(reply.headers["allow"].split(", ")) == allowed
                if method != "HEAD":
                    assert error(reply)["type"] == "invalid_request_error"
                assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    "path",
    [
        *("/nope", "/v1", "/v1/", "/v1/nope", "/v1/messages/", "/v1/messages/batches", "/v1/message", "/v2/messages"),
        *(
            "/v1/models/",
            "/static/x",
            "/favicon.ico",
            "/openapi",
            "/openapi.yaml",
            "/health/x",
            "/metrics/",
            "/robots.txt",
        ),
    ],
)
async def test_there_is_nothing_elsewhere(path: str) -> None:
    async with running() as server:
        for method in ("GET", "POST"):
            reply = await server.http.request(method, path)

            assert reply.status_code == 404
            assert error(reply)["type"] == "not_found_error"
            assert "allow" not in reply.headers


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/openapi.json", "/v1/models", "/v1/models/sandbox/chat", "/nope"]
)
async def test_head_is_get_without_its_body(path: str) -> None:
    async with running() as server, await Raw.connect(server.port) as client:
        await client.send(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        head = await client.reply(head_only=True)
        body = await client.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())

    assert head.status == body.status
    assert head.headers["content-type"] == body.headers["content-type"]
    assert {"x-request-id", "request-id"} <= head.headers.keys()


async def test_queries_route_the_same() -> None:
    async with running() as server:
        for query in ("?beta=true", "?", "?x", "?a=b&a=c&%ff=%zz"):
            assert (await server.http.post(f"/v1/messages{query}", json=HELLO)).status_code == 200
            assert (await server.http.post(f"/v1/messages/count_tokens{query}", json=HELLO)).status_code == 200
        assert (await server.http.get("/v1/models?beta=true")).status_code == 200
        assert (await server.http.get("/v1/models/sandbox/chat?beta=true")).status_code == 200


# The catalogue

UP = {"providers": {"anthropic": {"api_key": "sk", "base_url": "sandbox://anthropic"}}}


async def test_the_models_have_the_shapes_of_the_contract() -> None:
    async with running() as server:
        found = (await server.http.get("/v1/models")).json()

    catalog = Catalog.load()
    assert set(found) == {"data", "has_more", "first_id", "last_id", "providers", "voice"}
    assert found["has_more"] is False
    assert (found["first_id"], found["last_id"]) == (found["data"][0]["id"], found["data"][-1]["id"])
    assert found["voice"] == {"stt": [], "tts": []}
    assert [(item["id"], item["configured"]) for item in found["providers"]] == [
        ("anthropic", False),
        ("sandbox", True),
    ]
    assert [item["id"] for item in found["data"]] == [
        model["full_id"] for item in found["providers"] for model in item["models"]
    ]
    for item in found["data"]:
        assert {"type", "id", "display_name", "created_at"} <= set(item)
        assert item["type"] == "model"
    anthropic = {model["id"]: model for model in found["providers"][0]["models"]}
    assert set(anthropic) == {model.id for model in catalog.models("anthropic")}
    haiku = anthropic["claude-haiku-4-5-20251001"]
    assert {
        "id",
        "name",
        "full_id",
        "context_window",
        "max_output_tokens",
        "capabilities",
        "native_tools",
        "pricing",
    } == set(haiku)
    assert set(haiku["pricing"]) == {"input_per_mtok", "output_per_mtok", "cache_read_per_mtok", "cache_write_per_mtok"}
    assert set(haiku["capabilities"].values()) <= {True, False}


@pytest.mark.parametrize(
    ("query", "providers"),
    [
        ("", {"anthropic", "sandbox"}),
        ("provider=sandbox", {"sandbox"}),
        ("provider=anthropic", {"anthropic"}),
        ("provider=nobody", set()),
        ("provider=", set()),
        ("configured=true", {"sandbox"}),
        ("configured=1", {"sandbox"}),
        ("configured=TRUE", {"sandbox"}),
        ("configured=false", {"anthropic", "sandbox"}),
        ("configured=true&provider=anthropic", set()),
        ("capability=vision", {"anthropic", "sandbox"}),
        ("capability=web_search", {"anthropic"}),
        ("capability=video", set()),
        ("capability=thinking&provider=sandbox", {"sandbox"}),
        ("limit=1000", {"anthropic", "sandbox"}),
        ("limit=1", {"anthropic"}),
        ("after_id=sandbox/echo", {"sandbox"}),
    ],
)
async def test_the_models_can_be_filtered(query: str, providers: set[str]) -> None:
    async with running() as server:
        found = (await server.http.get(f"/v1/models?{query}")).json()

    assert {item["id"].split("/")[0] for item in found["data"]} == providers
    if not providers:
        assert (found["first_id"], found["last_id"]) == (None, None)


async def test_a_capability_filters_models_and_not_only_providers() -> None:
    async with running() as server:
        all_of_them = (await server.http.get("/v1/models?provider=anthropic")).json()["data"]
        thinking = (await server.http.get("/v1/models?provider=anthropic&capability=thinking")).json()

    expected = {model.full_id for model in Catalog.load().models("anthropic") if model.capabilities.thinking}
    assert {item["id"] for item in thinking["data"]} == expected
    assert 0 < len(expected) < len(all_of_them)


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_pages_in_either_direction_are_the_whole_list(size: int) -> None:
    async with running() as server:
        whole = [item["id"] for item in (await server.http.get("/v1/models")).json()["data"]]
        forward: list[str] = []
        query: dict[str, Any] = {"limit": size}
        while query:
            page = (await server.http.get("/v1/models", params=query)).json()
            forward += [item["id"] for item in page["data"]]
            assert len(page["data"]) <= size
            query = {"limit": size, "after_id": page["last_id"]} if page["has_more"] else {}
        backward = [whole[-1]]
        query = {"limit": size, "before_id": whole[-1]}
        while query:
            page = (await server.http.get("/v1/models", params=query)).json()
            backward = [item["id"] for item in page["data"]] + backward
            query = {"limit": size, "before_id": page["first_id"]} if page["has_more"] else {}

    assert forward == backward == whole


async def test_what_is_configured_shows() -> None:
    async with running(UP) as server:
        found = (await server.http.get("/v1/models?configured=true")).json()
        health = (await server.http.get("/health")).json()

    assert {item["id"] for item in found["providers"]} == {"anthropic", "sandbox"}
    assert set(health["providers"]) == {"anthropic", "sandbox"}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("capability=flying", "capability"),
        ("capability=", "capability"),
        ("capability=known", "capability"),
        ("capability=__class__", "capability"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%C2%B2", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=00100" + "9" * 5000, "limit"),
        ("after_id=nope", "after_id"),
        ("before_id=" + "x" * 500, "before_id"),
        ("after_id=anthropic/claude-haiku-4-5-20251001&provider=sandbox", "after_id"),
        ("configured=maybe", "configured"),
        ("configured=", "configured"),
        ("colour=red", "colour"),
        ("provider=sandbox&x=1", "x"),
    ],
)
async def test_a_wrong_filter_is_named(query: str, param: str) -> None:
    async with running() as server:
        reply = await server.http.get(f"/v1/models?{query}")

    assert reply.status_code == 400
    assert (error(reply)["type"], error(reply)["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    ("path", "model_id"),
    [
        ("sandbox/chat", "sandbox/chat"),
        ("sandbox%2Fchat", "sandbox/chat"),
        ("sandbox%2fch%61t", "sandbox/chat"),
        ("anthropic/claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5-20251001"),
        ("anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        ("claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929"),
        ("quick", "anthropic/claude-haiku-4-5"),
        ("quicker", "anthropic/claude-haiku-4-5"),
        ("a%2Fb", "sandbox/echo"),
    ],
)
async def test_a_model_is_found_by_every_name_it_has(path: str, model_id: str) -> None:
    aliases = {"quick": "anthropic/claude-haiku-4-5", "quicker": "quick", "a/b": "sandbox/echo"}
    async with running({"aliases": aliases}) as server:
        reply = await server.http.get(f"/v1/models/{path}")

    found = reply.json()
    assert reply.status_code == 200
    assert (found["type"], found["id"]) == ("model", model_id)
    assert {"display_name", "created_at", "capabilities", "native_tools", "context_window", "full_id"} <= set(found)


@pytest.mark.parametrize(
    "name", ["nope", "sandbox/nope", "nobody/x", "anthropic/claude-9", "sandbox/", "%20", "gpt-5", "a/b/c/d"]
)
async def test_an_unknown_model_is_404(name: str) -> None:
    async with running() as server:
        reply = await server.http.get(f"/v1/models/{name}")

    assert reply.status_code == 404
    assert (error(reply)["type"], error(reply)["param"], error(reply)["code"]) == (
        "not_found_error",
        "id",
        "unknown_model",
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nope", "'nope' is not a known model"),
        ("anthropc/claude-haiku-4-5", "did you mean anthropic?"),
        ("openai/gpt-5", "'openai/gpt-5' is a model of openai, which this server cannot call"),
        ("anthropic/", "'anthropic/' is not a known model"),
        ("/x", "'/x' is not a known model"),
        ("/", "'/' is not a known model"),
    ],
)
async def test_a_message_to_an_unknown_model_is_404(model: str, said: str) -> None:
    async with running() as server:
        reply = await server.post({**HELLO, "model": model})

    assert reply.status_code == 404
    assert (error(reply)["type"], error(reply)["param"], error(reply)["code"]) == (
        "not_found_error",
        "model",
        "unknown_model",
    )
    assert said in error(reply)["message"]


# Pages


async def test_the_page_at_the_root_can_be_switched_off() -> None:
    async with running({"server": {"playground": False}}) as server:
        reply = await server.http.get("/")
        assert reply.status_code == 404
        assert (await server.http.head("/")).status_code == 404
    async with running() as server:
        reply = await server.http.get("/", headers={"host": "gateway.example.com:8080"})
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "http://gateway.example.com:8080" in reply.text


async def test_the_metrics_have_the_path_that_is_configured() -> None:
    async with running({"observability": {"metrics": {"path": "/internal/prometheus"}}}) as server:
        assert (await server.http.get("/metrics")).status_code == 404
        assert "vango_requests_total" in (await server.http.get("/internal/prometheus")).text
        assert 'href="/internal/prometheus"' in (await server.http.get("/")).text
    async with running({"observability": {"metrics": {"enabled": False}}}) as server:
        assert (await server.http.get("/metrics")).status_code == 404
        assert "/metrics" not in (await server.http.get("/")).text


async def test_health_tells_what_traffic_has_told() -> None:
    async with running() as server:
        before = (await server.http.get("/health")).json()
        await server.post()
        after = (await server.http.get("/health")).json()

    assert before.keys() == {"status", "version", "uptime_seconds", "providers", "voice"}
    assert before["status"] == after["status"] == "healthy"
    assert before["providers"] == {"sandbox": {"status": "unknown", "latency_ms": None}}
    assert after["providers"]["sandbox"]["latency_ms"] >= 0


# While draining


async def test_only_what_a_balancer_asks_stays_open_while_draining() -> None:
    async with running({"server": {"shutdown_grace_seconds": 5}}) as server:
        # A connection that has begun a request outlives the beginning of the drain.
        begun = {path: await Raw.connect(server.port) for path in (*PATHS, "/nope", "//v1/models", "/v1/%6dessages")}
        for path, client in begun.items():
            method = b"POST" if "messages" in path or "%6d" in path else b"GET"
            await client.send(b"%b %b HTTP/1.1\r\nHost: x\r\n" % (method, path.encode()))
        for client in begun.values():
            await client.send(b"Content-Length: 0\r\n")
        await server.http.get("/ready")
        server.serving.drain.begin()
        replies = {path: await client.ask(b"\r\n") for path, client in begun.items()}
        for client in begun.values():
            client.close()

    assert {path: reply.status for path, reply in replies.items() if reply.status != 503} == {
        "/health": 200,
        "/metrics": 200,
    }
    assert json.loads(replies["/ready"].body) == {"status": "draining"}
    for path, reply in replies.items():
        assert reply.headers["connection"] == "close"
        if path not in ("/health", "/metrics", "/ready"):
            refused = json.loads(reply.body)["error"]
            assert (refused["type"], refused["code"]) == ("overloaded_error", "draining")
            assert reply.headers["retry-after"] == "1"
