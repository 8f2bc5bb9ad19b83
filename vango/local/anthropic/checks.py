"""What Anthropic refuses of a well-shaped request, in words like its own."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from vango.errors import InvalidRequestError
from vango.local.anthropic.seal import is_sealed

if TYPE_CHECKING:
    from vango.local.anthropic.shapes import Block, Message, Request

MAX_OUTPUT_TOKENS = 64_000
MIN_THINKING_TOKENS = 1_024

_ROLES = ("user", "assistant", "system")
_CONTENT = frozenset(
    {"text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"}
    | {"search_result", "container_upload", "compaction", "fallback"}
)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def check(request: Request, *, counting: bool) -> None:
    """Raise InvalidRequestError for the first fault; `max_tokens` may be missing where tokens are only counted."""
    if not counting:
        _check_max_tokens(request)
        _check_thread(request)
    _check_sampling(request)
    _check_thinking(request)
    _check_tools(request)
    _check_messages(request.messages)
    formatted = request.structure
    _require(
        formatted is None or (formatted.type == "json_schema" and formatted.schema is not None),
        "output_config.format.schema: Field required",
    )


def _require(is_right: bool, message: str) -> None:
    if not is_right:
        raise InvalidRequestError(message)


def _check_max_tokens(request: Request) -> None:
    tokens = request.max_tokens
    if tokens is None:
        raise InvalidRequestError("max_tokens: Field required")
    _require(tokens >= 1, "max_tokens: Input should be greater than or equal to 1")
    _require(
        tokens <= MAX_OUTPUT_TOKENS,
        f"max_tokens: {tokens} > {MAX_OUTPUT_TOKENS}, which is the maximum allowed number of output tokens for {request.model}",
    )


def _check_thread(request: Request) -> None:
    """Refuse to keep a conversation. The code makes Anthropic's SDKs send all of it, and go on so: their tool runners begin
    with a thread (https://platform.claude.com/docs/en/build-with-claude/message-threads)."""
    if request.thread is not None:
        raise InvalidRequestError(
            f"thread: {request.model} keeps no message threads; send the whole conversation.",
            details={"error_code": "thread_unsupported_request"},
        )


def _check_sampling(request: Request) -> None:
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        _require(value is None or 0 <= value <= 1, f"{name}: range: 0..1")
    for index, stop in enumerate(request.stop_sequences or ()):
        _require(bool(stop.strip()), f"stop_sequences.{index}: each stop sequence must contain non-whitespace")


def _check_thinking(request: Request) -> None:
    thinking = request.thinking
    if thinking is None or thinking.type == "disabled":
        return
    _require(
        thinking.type in {"enabled", "adaptive"},
        f"thinking: Input tag '{thinking.type}' found using 'type' does not match any of the expected tags: 'adaptive', "
        "'disabled', 'enabled'",
    )
    if thinking.type == "enabled":
        budget = thinking.budget_tokens
        if budget is None:
            raise InvalidRequestError("thinking.enabled.budget_tokens: Field required")
        _require(
            budget >= MIN_THINKING_TOKENS,
            f"thinking.enabled.budget_tokens: Input should be greater than or equal to {MIN_THINKING_TOKENS}",
        )
        _require(
            request.max_tokens is None or request.max_tokens > budget,
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        )
    _require(
        request.tool_choice is None or request.tool_choice.type not in {"any", "tool"},
        "Thinking may not be enabled when tool_choice forces tool use.",
    )


def _check_tools(request: Request) -> None:
    names = set()
    for index, tool in enumerate(request.tools or ()):
        if tool.is_custom:
            where = f"tools.{index}.custom"
            _require(
                bool(_TOOL_NAME.fullmatch(tool.name)),
                f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'",
            )
            if tool.input_schema is None:
                raise InvalidRequestError(f"{where}.input_schema: Field required")
            _require("type" in tool.input_schema, f"{where}.input_schema.type: Field required")
            _require(tool.input_schema["type"] == "object", f"{where}.input_schema.type: Input should be 'object'")
        _require(tool.name not in names, "tools: Tool names must be unique.")
        names.add(tool.name)
    choice = request.tool_choice
    if choice is None:
        return
    _require(
        choice.type in {"auto", "any", "none", "tool"},
        f"tool_choice: Input tag '{choice.type}' found using 'type' does not match any of the expected tags: 'auto', 'any', "
        "'tool', 'none'",
    )
    _require(bool(names) or choice.type == "none", "tool_choice may only be specified while providing tools.")
    if choice.type == "tool":
        _require(choice.name is not None, "tool_choice.tool.name: Field required")
        _require(choice.name in names, f"Tool '{choice.name}' not found in provided tools")


def _check_messages(messages: list[Message]) -> None:
    _require(bool(messages), "messages: at least one message is required")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", is_last=index == len(messages) - 1)
    _check_calls(messages)


def _check_message(message: Message, where: str, *, is_last: bool) -> None:
    _require(message.role in _ROLES, f"{where}.role: Input should be 'user' or 'assistant'")
    is_final_answer = is_last and message.role == "assistant"
    _require(
        bool(message.content) or is_final_answer,
        f"{where}: all messages must have non-empty content except for the optional final assistant message",
    )
    if is_final_answer:
        text = (
            message.content if isinstance(message.content, str) else message.content[-1].text if message.content else ""
        )
        _require(text == text.rstrip(), "messages: final assistant content cannot end with trailing whitespace")
    for at, block in enumerate(message.blocks):
        _check_block(block, f"{where}.content.{at}")


def _check_calls(messages: list[Message]) -> None:
    """Require a result for each tool call in the user's next turn, and a call for each result; neighbours of a role are a turn."""
    called: list[str] = []
    spoken = [(index, message) for index, message in enumerate(messages) if message.role != "system"]
    last = 0
    for role, turn in groupby(spoken, key=lambda pair: pair[1].role):
        blocks = [(index, at, block) for index, message in turn for at, block in enumerate(message.blocks)]
        if role == "assistant":
            called = [block.id for _, _, block in blocks if block.type == "tool_use"]
            last = blocks[-1][0] if blocks else last
            continue
        results = [(index, at, block.tool_use_id) for index, at, block in blocks if block.type == "tool_result"]
        _require_results(called, {identity for _, _, identity in results}, last)
        for index, at, identity in results:
            _require(
                identity in called,
                f"messages.{index}.content.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {identity}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
            )
        called = []
    _require_results(called, set(), last)


def _require_results(called: list[str], answered: set[str], index: int) -> None:
    missing = [identity for identity in called if identity not in answered]
    _require(
        not missing,
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
    )


def _check_block(block: Block, where: str) -> None:
    is_known = block.type in _CONTENT or block.type.endswith(("_tool_use", "_tool_result"))
    _require(is_known, f"{where}: Input tag '{block.type}' found using 'type' does not match any of the expected tags")
    match block.type:
        case "text":
            _require(bool(block.text), "messages: text content blocks must be non-empty")
        case "thinking":
            _require(
                is_sealed(block.thinking, block.signature or ""), f"{where}: Invalid `signature` in `thinking` block"
            )
        case "image" | "document":
            _require(isinstance(block.source, dict), f"{where}.{block.type}.source: Field required")
        case "tool_use":
            _require(bool(block.id), f"{where}.tool_use.id: Field required")
            _require(bool(block.name), f"{where}.tool_use.name: Field required")
            _require(isinstance(block.input, dict), f"{where}.tool_use.input: Input should be a valid dictionary")
        case "tool_result":
            _require(bool(block.tool_use_id), f"{where}.tool_result.tool_use_id: Field required")
