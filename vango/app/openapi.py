"""The OpenAPI page, made from the same tables that check requests, so that the two cannot drift apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vango.gateway import MAX_PAGE
from vango.types.messages import BLOCKS, REQUEST, ROLES, Shape
from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTIONS = {
    "model": "`provider/model`, an alias, or a bare name that the catalogue knows.",
    "messages": "The conversation so far, oldest first.",
    "max_tokens": "The most tokens to write; the configured default where it is left out.",
    "system": "Instructions for the model: a string or text blocks.",
    "temperature": "Randomness of the sampling; sent only when set.",
    "top_p": "Nucleus sampling.",
    "top_k": "Sampling from the k likeliest tokens; providers without it drop it and report the loss.",
    "stop_sequences": "Strings that end the answer.",
    "tools": "Tools the model may call, or native tools by their portable names.",
    "tool_choice": "`auto`, `any`, `none`, or `tool` with a name.",
    "thinking": "How much the model may think before it answers.",
    "stream": "True for server-sent events.",
    "metadata": "`user_id` goes to the provider.",
    "output": "Modalities of the answer, and settings of each.",
    "output_format": "A JSON schema that the answer must satisfy.",
    "output_config": "Anthropic's own output settings.",
    "voice": "Speech in and out.",
    "extensions": "Fields for one provider's native body, by provider name; others ignore them.",
    "provider_keys": "The caller's own provider keys, by provider name.",
    "fallbacks": "Models tried in order when this one fails before it has written anything.",
}

ERROR_CODES = {
    400: "The request is at fault; `param` is the path of the field.",
    401: "The key is missing or wrong, or no key is known for the provider.",
    403: "The key may not do this.",
    404: "No such path, model or provider.",
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many requests or tokens; see Retry-After.",
    500: "A bug in Vango.",
    502: "The provider failed.",
    503: "The provider or this server is overloaded, or the server is shutting down.",
    504: "The provider did not answer in time.",
}


def document(version: str, metrics_path: str | None) -> bytes:
    """Return the OpenAPI 3.1 document as JSON; `metrics_path` is None where metrics are off."""
    return json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Vango",
                "version": version,
                "description": "One API, Anthropic's Messages format, for every model provider.",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/"}],
            "security": [{"key": []}, {"bearer": []}, {}],
            "paths": _paths(metrics_path),
            "components": {
                "securitySchemes": {
                    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                },
                "schemas": _schemas(),
            },
        }
    )


def _paths(metrics_path: str | None) -> dict[str, Any]:
    message = _body("MessageRequest")
    return {
        "/v1/messages": {
            "post": _operation(
                "createMessage",
                "Run one model turn",
                {
                    "200": {
                        "description": "The answer, or its events.",
                        "content": {
                            "application/json": {"schema": _ref("Message")},
                            "text/event-stream": {"schema": {"type": "string"}},
                        },
                    }
                },
                body=message,
            )
        },
        "/v1/messages/count_tokens": {
            "post": _operation(
                "countTokens",
                "Count the input tokens of a request",
                {"200": _answer("The count.", "TokenCount")},
                body=message,
            )
        },
        "/v1/models": {
            "get": _operation(
                "listModels",
                "List the catalogue",
                {"200": _answer("The models.", "ModelList")},
                parameters=[
                    _query("provider", {"type": "string"}),
                    _query("capability", {"type": "string"}),
                    _query("configured", {"type": "boolean"}),
                    _query("lifecycle[]", {"type": "array", "items": {"type": "string"}}),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
                    _query("after_id", {"type": "string"}),
                    _query("before_id", {"type": "string"}),
                ],
            )
        },
        "/v1/models/{id}": {
            "get": _operation(
                "getModel",
                "Describe one model",
                {"200": _answer("The model.", "Model")},
                parameters=[
                    {
                        "name": "id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                        "description": "`provider/model`, with its slash.",
                    }
                ],
            )
        },
        "/health": {"get": _open("health", "State of this server and what traffic has told of the providers")},
        "/ready": {"get": _open("ready", "200 when new work is accepted, 503 while draining")},
        **({metrics_path: {"get": _open("metrics", "Prometheus text", "text/plain")}} if metrics_path else {}),
        "/openapi.json": {"get": _open("openapi", "This document")},
    }


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    *,
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    errors = {str(status): _answer(text, "Error") for status, text in ERROR_CODES.items()}
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": {**answers, **errors}}
    if body is not None:
        operation["requestBody"] = body
    if parameters is not None:
        operation["parameters"] = parameters
    return operation


def _open(name: str, summary: str, kind: str = "application/json") -> dict[str, Any]:
    schema = {"type": "object"} if kind == "application/json" else {"type": "string"}
    answer = {"description": summary + ".", "content": {kind: {"schema": schema}}}
    return {"operationId": name, "summary": summary, "security": [], "responses": {"200": answer}}


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _body(schema: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _ref(schema)}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _object(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, shape in shapes.items():
        kinds = list(shape.kinds if shape.required else (*shape.kinds, "null"))
        properties[name] = {"type": kinds[0] if len(kinds) == 1 else kinds}
        if name in DESCRIPTIONS:
            properties[name]["description"] = DESCRIPTIONS[name]
    required = [name for name, shape in shapes.items() if shape.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": True}


def _schemas() -> dict[str, Any]:
    blocks = {}
    for kind, shapes in BLOCKS.items():
        schema = _object({"type": Shape(("string",), required=True), **shapes})
        schema["properties"]["type"] = {"const": kind}
        blocks[f"{''.join(part.title() for part in kind.split('_'))}Block"] = schema
    other = {
        "type": "object",
        "description": "A block type that is the provider's own.",
        "properties": {"type": {"type": "string", "not": {"enum": list(BLOCKS)}}},
        "required": ["type"],
    }
    content = {"oneOf": [{"type": "string"}, {"type": "array", "items": _ref("Block")}]}
    request = _object(REQUEST)
    request["properties"]["messages"].update({"items": _ref("MessageParam"), "minItems": 1})
    request["properties"]["max_tokens"] = {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": DESCRIPTIONS["max_tokens"],
    }
    request["properties"]["fallbacks"]["items"] = {"type": "string"}
    request["properties"]["stop_sequences"]["items"] = {"type": "string"}
    nullable = {"type": ["string", "null"]}
    return {
        **blocks,
        "OtherBlock": other,
        "Block": {"oneOf": [*(_ref(name) for name in blocks), _ref("OtherBlock")]},
        "MessageParam": {
            "type": "object",
            "properties": {"role": {"enum": list(ROLES)}, "content": content},
            "required": ["role", "content"],
        },
        "MessageRequest": request,
        "Message": {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "type": {"const": "message"},
                "role": {"const": "assistant"},
                "model": {"type": "string"},
                "content": {"type": "array", "items": _ref("Block")},
                "stop_reason": nullable,
                "stop_sequence": nullable,
                "usage": _ref("Usage"),
            },
            "required": ["id", "type", "role", "model", "content", "usage"],
        },
        "Usage": {
            "type": "object",
            "properties": {
                **{
                    name: {"type": "integer"}
                    for name in (
                        "input_tokens",
                        "output_tokens",
                        "total_tokens",
                        "cache_read_tokens",
                        "cache_write_tokens",
                    )
                },
                "cost_usd": {"type": "number", "description": "Only where the price is known."},
            },
            "required": ["input_tokens", "output_tokens"],
        },
        "TokenCount": {
            "type": "object",
            "properties": {"input_tokens": {"type": "integer"}},
            "required": ["input_tokens"],
        },
        "Model": {
            "type": "object",
            "properties": {
                "type": {"const": "model"},
                "id": {"type": "string"},
                "display_name": {"type": "string"},
                "created_at": {"type": "string", "format": "date-time"},
            },
            "required": ["type", "id", "display_name", "created_at"],
        },
        "ModelList": {
            "type": "object",
            "properties": {
                "data": {"type": "array", "items": _ref("Model")},
                "has_more": {"type": "boolean"},
                "first_id": nullable,
                "last_id": nullable,
                "providers": {"type": "array", "items": {"type": "object"}},
                "voice": {"type": "object"},
            },
            "required": ["data", "has_more", "first_id", "last_id"],
        },
        "Error": {
            "type": "object",
            "properties": {
                "type": {"const": "error"},
                "error": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string"},
                        "message": {"type": "string"},
                        "param": nullable,
                        "code": nullable,
                        "request_id": nullable,
                        "retry_after": {"type": ["number", "null"]},
                        "provider": {"type": "string"},
                        "provider_error": {"type": "object"},
                        "details": {"type": "object"},
                    },
                    "required": ["type", "message"],
                },
                "request_id": nullable,
            },
            "required": ["type", "error"],
        },
    }
