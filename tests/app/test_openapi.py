"""The OpenAPI page: a sound document, and one that agrees with what the server does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.server import HELLO, running
from vango.app.openapi import document
from vango.types.messages import BLOCKS, REQUEST, ROLES

PAGE: dict[str, Any] = json.loads(document("1.2.3", "/metrics"))
DOCUMENTED = {
    ("/v1/messages", "post"),
    ("/v1/messages/count_tokens", "post"),
    ("/v1/models", "get"),
    ("/v1/models/{id}", "get"),
    ("/health", "get"),
    ("/ready", "get"),
    ("/metrics", "get"),
    ("/openapi.json", "get"),
}
SCHEMA_KEYS = {
    *("type", "properties", "required", "items", "minItems", "additionalProperties", "enum", "const", "oneOf", "not"),
    *("$ref", "description", "format", "minimum", "maximum"),
}
JSON_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


def resolved(ref: str) -> Any:
    found: Any = PAGE
    assert ref.startswith("#/")
    for part in ref[2:].split("/"):
        found = found[part]
    return found


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    refs = {node["$ref"] for node in nodes(PAGE) if "$ref" in node}

    for ref in refs:
        assert isinstance(resolved(ref), dict)
    assert {ref.rsplit("/", 1)[1] for ref in refs} == set(PAGE["components"]["schemas"])


def test_the_document_has_the_form_of_openapi_3_1() -> None:
    assert re.fullmatch(r"3\.1\.\d+", PAGE["openapi"])
    assert set(PAGE) <= {"openapi", "info", "servers", "paths", "components", "security", "tags"}
    assert PAGE["info"]["version"] == "1.2.3"
    assert PAGE["info"]["title"]
    ids = []
    for path, item in PAGE["paths"].items():
        for method, operation in item.items():
            assert method in {"get", "post"}
            ids.append(operation["operationId"])
            assert operation["summary"]
            assert set(operation) <= {"operationId", "summary", "responses", "requestBody", "parameters", "security"}
            for status, answer in operation["responses"].items():
                assert re.fullmatch(r"[1-5]\d\d", status)
                assert answer["description"]
                assert all(set(media) == {"schema"} for media in answer["content"].values())
            names = {(one["in"], one["name"]) for one in operation.get("parameters", [])}
            assert {name for place, name in names if place == "path"} == set(re.findall(r"{(\w+)}", path))
            assert all(one["required"] for one in operation.get("parameters", []) if one["in"] == "path")
    assert len(set(ids)) == len(ids)


def test_the_schemas_are_json_schema() -> None:
    def check(schema: dict[str, Any]) -> None:
        assert set(schema) <= SCHEMA_KEYS, schema
        kinds = schema.get("type", [])
        assert set([kinds] if isinstance(kinds, str) else kinds) <= JSON_TYPES
        assert set(schema.get("required", [])) <= set(schema.get("properties", {}))
        inner = [*schema.get("properties", {}).values(), *schema.get("oneOf", [])]
        inner += [schema[name] for name in ("items", "not") if name in schema]
        for item in inner:
            check(item)

    for schema in PAGE["components"]["schemas"].values():
        check(schema)


def test_all_endpoints_are_there_and_the_open_ones_are_marked() -> None:
    found = {(path, method): operation for path, item in PAGE["paths"].items() for method, operation in item.items()}

    assert set(found) == DOCUMENTED
    assert {path for (path, _), operation in found.items() if operation.get("security") == []} == {
        *("/health", "/ready", "/metrics", "/openapi.json"),
    }
    for name in PAGE["security"]:
        assert set(name) <= set(PAGE["components"]["securitySchemes"])


def test_the_request_is_described_by_the_tables_that_check_it() -> None:
    schemas = PAGE["components"]["schemas"]
    request = schemas["MessageRequest"]

    assert set(request["properties"]) == set(REQUEST)
    assert request["required"] == ["model", "messages"]
    assert all(field.get("description") for field in request["properties"].values())
    for name, shape in REQUEST.items():
        kinds = request["properties"][name]["type"]
        assert ("null" in kinds) is not shape.required, name
    assert schemas["MessageParam"]["properties"]["role"]["enum"] == list(ROLES)
    known = {
        schema["properties"]["type"].get("const")
        for name, schema in schemas.items()
        if name.endswith("Block") and name not in ("Block", "OtherBlock")
    }
    assert known == set(BLOCKS)
    assert schemas["OtherBlock"]["properties"]["type"]["not"]["enum"] == list(BLOCKS)


@pytest.mark.parametrize(
    ("metrics", "path"), [({}, "/metrics"), ({"path": "/numbers"}, "/numbers"), ({"enabled": False}, None)]
)
async def test_the_page_shows_the_metrics_where_they_are(metrics: dict[str, Any], path: str | None) -> None:
    async with running({"observability": {"metrics": metrics}}) as server:
        page = (await server.http.get("/openapi.json")).json()

    found = [at for at, item in page["paths"].items() if item.get("get", {}).get("operationId") == "metrics"]
    assert found == ([path] if path else [])


async def test_every_filter_on_the_page_is_one_and_a_filter_that_is_not_there_is_refused() -> None:
    filters = [item["name"] for item in PAGE["paths"]["/v1/models"]["get"]["parameters"]]
    async with running() as server:
        refused = (await server.http.get("/v1/models?colour=red")).json()["error"]["message"]

    expected = refused.partition("expected one of ")[2].rstrip(".").split(", ")
    # `beta` is what some SDKs add to every request.
    assert sorted(filters) == [name for name in expected if name != "beta"]


async def test_what_the_server_answers_fits_what_the_page_says() -> None:
    async with running() as server:
        served = (await server.http.get("/openapi.json")).json()
        message = (await server.post()).json()
        count = (await server.http.post("/v1/messages/count_tokens", json=HELLO)).json()
        models = (await server.http.get("/v1/models")).json()
        model = (await server.http.get("/v1/models/sandbox/chat")).json()
        refused = (await server.post({})).json()

    assert served["paths"].keys() == PAGE["paths"].keys()
    for name, value in [
        ("Message", message),
        ("TokenCount", count),
        ("ModelList", models),
        ("Model", model),
        ("Error", refused),
    ]:
        assert mismatch(value, resolved(f"#/components/schemas/{name}")) is None, name


def mismatch(value: Any, schema: dict[str, Any], path: str = "$") -> str | None:
    """Return the first place where a value does not fit a schema of this document, or None."""
    if "$ref" in schema:
        return mismatch(value, resolved(schema["$ref"]), path)
    if "const" in schema and value != schema["const"]:
        return f"{path}: not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path}: not one of {schema['enum']}"
    if "not" in schema and mismatch(value, schema["not"], path) is None:
        return f"{path}: what it must not be"
    if "oneOf" in schema and [mismatch(value, one, path) for one in schema["oneOf"]].count(None) != 1:
        return f"{path}: not exactly one of the choices"
    if "type" in schema:
        kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(is_a(value, kind) for kind in kinds):
            return f"{path}: not {kinds}"
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                return f"{path}.{name}: missing"
        for name, inner in schema.get("properties", {}).items():
            if name in value and (found := mismatch(value[name], inner, f"{path}.{name}")):
                return found
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            if found := mismatch(item, schema["items"], f"{path}[{index}]"):
                return found
    return None


def is_a(value: Any, kind: str) -> bool:
    classes: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "null": type(None),
        "integer": int,
    }
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, classes[kind]) and (kind != "integer" or not isinstance(value, bool))


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ([{"type": "text", "text": "x"}], True),
        ([{"type": "something_new"}], True),
        ("x", True),
        ([{"type": "text"}], False),
        ([{"type": "tool_use", "id": "x"}], False),
        ([5], False),
        (5, False),
    ],
)
def test_blocks_are_told_apart_by_their_type(content: Any, fits: bool) -> None:
    found = mismatch({"role": "user", "content": content}, resolved("#/components/schemas/MessageParam"))

    assert (found is None) is fits
