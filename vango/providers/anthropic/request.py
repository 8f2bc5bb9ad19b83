"""A request on its way to Anthropic: the caller's bytes, but for the model's name and what is Vango's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from vango.errors import InvalidRequestError
from vango.providers.base import Encoded, Loss
from vango.types.messages import MAX_SHOWN, VANGO_FIELDS, Shape, check, is_anthropics_fallbacks
from vango.wire import json
from vango.wire.call import HttpCall

if TYPE_CHECKING:
    from vango.providers.base import Target
    from vango.types.messages import MessageRequest

VERSION = "2023-06-01"
MESSAGES = "/v1/messages"

NOT_COUNTED = frozenset(
    {"max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "stream", "metadata", "service_tier", "container"}
)
"""What `/v1/messages/count_tokens` refuses; a client that sends one body to both routes is still counted."""

DEAF_TO = ("audio", "video")
NULL = msgspec.Raw(b"null")

NOT_EXTENDED = ("model", "stream")
"""What an extension may not say: who may use which model, and how the answer is read, was decided on the request."""

# Models that take the tool versions of 2026; older ones are refused by Anthropic with them.
_NEWEST = re.compile(r"claude-(?:opus|sonnet)-(?:4-[6-9]|[5-9])|claude-haiku-[5-9]|claude-fable|claude-mythos")

MAX_LOSSES = 20
"""Of one field; a client that sends more of them knows it by then."""


class NativeTool(NamedTuple):
    """A portable tool in Anthropic's spelling: dated type for the newest models and for the others, and a beta it needs."""

    name: str
    newest: str
    older: str
    beta: str | None = None


NATIVE_TOOLS = {
    "web_search": NativeTool("web_search", "web_search_20260209", "web_search_20250305"),
    "web_fetch": NativeTool("web_fetch", "web_fetch_20260209", "web_fetch_20250910", "web-fetch-2025-09-10"),
    "code_execution": NativeTool(
        "code_execution", "code_execution_20260120", "code_execution_20250825", "code-execution-2025-08-25"
    ),
    "computer_use": NativeTool("computer", "computer_20251124", "computer_20250124", "computer-use-2025-11-24"),
    "text_editor": NativeTool("str_replace_based_edit_tool", "text_editor_20250728", "text_editor_20250728"),
}
PORTABLE = frozenset({*NATIVE_TOOLS, "file_search"})


def encode_messages(request: MessageRequest, target: Target) -> Encoded:
    """Write the call for one turn; raises InvalidRequestError for a block or tool that Anthropic cannot take."""
    losses: list[Loss] = []
    betas: list[str] = []
    body = _body(request, target, losses, betas)
    if _is_missing(body, "max_tokens"):
        body["max_tokens"] = _max_tokens(target)
    takes_temperature = target.entry is None or target.entry.sampling is not False
    if target.default_temperature is not None and takes_temperature and _is_missing(body, "temperature"):
        body["temperature"] = target.default_temperature
    return Encoded(_call(request, target, MESSAGES, body, betas), tuple(losses))


def encode_count(request: MessageRequest, target: Target) -> Encoded:
    """Write the call that counts the tokens of a request."""
    losses: list[Loss] = []
    betas: list[str] = []
    body = _body(request, target, losses, betas)
    counted = {name: value for name, value in body.items() if name not in NOT_COUNTED}
    return Encoded(_call(request, target, "/v1/messages/count_tokens", counted, betas), tuple(losses))


def _body(request: MessageRequest, target: Target, losses: list[Loss], betas: list[str]) -> dict[str, Any]:
    for kind in DEAF_TO:
        if kind in request.blocks:
            path = request.blocks[kind]
            raise InvalidRequestError(
                f"{path}: {target.provider} takes no {kind} blocks.", param=path, code="unsupported_block"
            )
    body: dict[str, Any] = {}
    for name, raw in request.fields.items():
        if name == "model":
            body["model"] = target.model
        elif name == "output":
            _check_modalities(raw, target)
        elif name in VANGO_FIELDS and not (name == "fallbacks" and is_anthropics_fallbacks(raw)):
            continue
        elif name == "tools" and json.kind(raw) == "array":
            body["tools"] = _tools(raw, target, betas)
        elif name == "metadata" and json.kind(raw) == "object":
            if (metadata := _metadata(raw, losses)) is not None:
                body["metadata"] = metadata
        elif name == "output_format" and json.kind(raw) == "object":
            _output_format(raw, body, request)
        else:
            body.setdefault(name, raw)
    if "extensions" in request.fields and json.kind(request.fields["extensions"]) == "object":
        body.update(_extension(request.fields["extensions"], target.provider))
    return body


def _check_modalities(raw: msgspec.Raw, target: Target) -> None:
    if json.kind(raw) != "object":
        return
    modalities = json.decode_fields(raw).get("modalities", msgspec.Raw(b"[]"))
    for index, item in enumerate(json.decode_array(modalities) if json.kind(modalities) == "array" else []):
        if bytes(item) != b'"text"':
            path = f"output.modalities[{index}]"
            raise InvalidRequestError(
                f"{path}: {target.provider} writes text only.", param=path, code="unsupported_modality"
            )


def _tools(raw: msgspec.Raw, target: Target, betas: list[str]) -> msgspec.Raw | list[Any]:
    """Return the tools as they came, unless one of them is spelt Vango's way."""
    tools = json.decode_array(raw)
    written: list[Any] = [_tool(item, index, target, betas) for index, item in enumerate(tools)]
    return raw if all(new is old for new, old in zip(written, tools, strict=True)) else written


def _tool(raw: msgspec.Raw, index: int, target: Target, betas: list[str]) -> msgspec.Raw | dict[str, Any]:
    fields = json.decode_fields(raw)
    kind = json.text(fields["type"]) if "type" in fields and json.kind(fields["type"]) == "string" else "custom"
    if kind not in PORTABLE:
        if kind != "function" and "vango" not in fields:
            return raw
        # "function" is what other APIs call a custom tool.
        return {
            name: "custom" if name == "type" and kind == "function" else value
            for name, value in fields.items()
            if name != "vango"
        }
    path = f"tools[{index}].type"
    native = NATIVE_TOOLS.get(kind)
    if native is None:
        raise InvalidRequestError(f"{path}: {target.provider} has no {kind} tool.", param=path, code="unsupported_tool")
    newest = _NEWEST.match(target.model) is not None
    if native.beta is not None and (not newest or kind == "computer_use"):
        betas.append(native.beta if newest or kind != "computer_use" else "computer-use-2025-01-24")
    tool: dict[str, Any] = {"type": native.newest if newest else native.older, "name": native.name}
    config = fields.pop("config", NULL)
    if json.kind(config) != "null":
        check({"config": config}, {"config": Shape(("object",))}, f"tools[{index}].")
        tool.update(json.decode_fields(config))
    tool.update({name: value for name, value in fields.items() if name not in ("type", "name", "vango")})
    return tool


def _metadata(raw: msgspec.Raw, losses: list[Loss]) -> msgspec.Raw | dict[str, msgspec.Raw] | None:
    fields = json.decode_fields(raw)
    others = [name for name in fields if name != "user_id"]
    if not others:
        return raw
    losses.extend(
        Loss(f"metadata.{name[:MAX_SHOWN]}", "dropped", "Anthropic takes user_id only.") for name in others[:MAX_LOSSES]
    )
    return {"user_id": fields["user_id"]} if "user_id" in fields else None


def _output_format(raw: msgspec.Raw, body: dict[str, Any], request: MessageRequest) -> None:
    """Move Vango's `output_format.json_schema` to where Anthropic has it; its own older spelling (`schema`) goes as it is."""
    fields = json.decode_fields(raw)
    if "json_schema" not in fields:
        body["output_format"] = raw
        return
    config = request.fields.get("output_config")
    given = json.decode_fields(config) if config is not None and json.kind(config) == "object" else {}
    body["output_config"] = {"format": {"type": "json_schema", "schema": fields["json_schema"]}, **given}


def _extension(raw: msgspec.Raw, provider: str) -> json.Fields:
    own = json.decode_fields(raw).get(provider, NULL)
    if json.kind(own) == "null":
        return {}
    check({provider: own}, {provider: Shape(("object",))}, "extensions.")
    fields = json.decode_fields(own)
    for name in NOT_EXTENDED:
        if name in fields:
            path = f"extensions.{provider}.{name}"
            raise InvalidRequestError(f"{path}: write {name} in the request itself.", param=path)
    return fields


def _is_missing(body: dict[str, Any], name: str) -> bool:
    """Whether a field is not there, or null, which says as little."""
    return bytes(body.get(name, NULL)) == b"null"


def _max_tokens(target: Target) -> int:
    limit = target.entry.max_output_tokens if target.entry is not None else None
    return min(target.default_max_tokens, limit) if limit else target.default_max_tokens


def _call(request: MessageRequest, target: Target, path: str, body: dict[str, Any], betas: list[str]) -> HttpCall:
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream" if request.stream and path == MESSAGES else "application/json",
        "anthropic-version": request.headers.get("anthropic-version", VERSION),
    }
    named = dict(target.headers or {})
    beta = named.pop("anthropic-beta", None)
    headers.update({name: value.get_secret_value() for name, value in named.items()})
    if target.key is not None:
        secret = target.key.secret.get_secret_value()
        # OAuth tokens are refused as x-api-key.
        bearer = target.key.bearer or secret.startswith("sk-ant-oat")
        headers.update({"authorization": f"Bearer {secret}"} if bearer else {"x-api-key": secret})
    asked = [request.headers.get("anthropic-beta", ""), *betas, beta.get_secret_value() if beta is not None else ""]
    features = dict.fromkeys(filter(None, (feature.strip() for part in asked for feature in part.split(","))))
    if features:
        headers["anthropic-beta"] = ",".join(features)
    return HttpCall(
        target.base.origin, "POST", target.base.prefix + path, tuple(headers.items()), _written(request, target, body)
    )


def _written(request: MessageRequest, target: Target, body: dict[str, Any]) -> bytes:
    """Write the body: white space and all as it came, where nothing but the model's name differs."""
    given = request.fields
    if request.body and len(body) == len(given) and all(body.get(n) is raw for n, raw in given.items() if n != "model"):
        written = json.replaced(request.body, given, "model", json.encode(target.model))
        if written is not None:
            return written
    return json.encode(body)
