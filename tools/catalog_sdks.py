"""What the official SDKs know of models: their names and their ends, read from the source without importing it."""

from __future__ import annotations

import ast
import datetime as dt
import importlib.util
import re
import sys
from pathlib import Path


def literals(module: str, name: str) -> list[str]:
    """Return the strings of a `Literal` in a module's source, without importing it; [] if it is not installed."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        print(f"{module} is not installed: its model names are left out", file=sys.stderr)
        return []
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if (
            isinstance(target, ast.Name)
            and target.id == name
            and isinstance(node, ast.AnnAssign | ast.Assign)
            and node.value
        ):
            return [
                item.value
                for item in ast.walk(node.value)
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            ]
    raise ValueError(f"{module} has no {name}")


def source_of(module: str) -> str:
    """Return a module's source, "" if it is not installed."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return ""
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""


def retirements() -> dict[str, dict[str, str]]:
    """Return the days on which the SDKs say that models end: `{provider: {model: day}}`."""
    openai: dict[str, str] = {}
    notes = source_of("openai.types.shared.chat_model").partition("Deprecated values:")[2]
    for item in notes.split("\n- ")[1:]:
        if day := re.search(r"shutdown\s+date:\s+(\d{4}-\d\d-\d\d)", item):
            openai.update(dict.fromkeys(re.findall(r'"([^"]+)"', item), day[1]))
    anthropic: dict[str, str] = {}
    notes = source_of("anthropic.resources.messages.messages").partition("DEPRECATED_MODELS = {")[2].partition("}")[0]
    for model, date in re.findall(r'"([^"]+)": "([^"]+)"', notes):
        plain = re.sub(r"(\d+)(?:st|nd|rd|th)", r"\1", date)
        anthropic[model] = dt.datetime.strptime(plain, "%B %d, %Y").replace(tzinfo=dt.UTC).date().isoformat()
    return {"openai": openai, "anthropic": anthropic}


def sdk_names() -> dict[str, list[str]]:
    """Return the model names in the SDKs' types."""
    return {
        "anthropic": literals("anthropic.types.model", "Model"),
        "openai": [
            *literals("openai.types.shared.chat_model", "ChatModel"),
            *literals("openai.types.shared.all_models", "AllModels"),
        ],
        "gemini": literals("google.genai._gaos.types.interactions.model", "Model"),
    }
