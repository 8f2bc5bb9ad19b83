"""A target for codecs under test."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from vango.governance.pricing import cost
from vango.providers.base import Target
from vango.providers.catalog import Catalog
from vango.types.call import Credential
from vango.types.messages import MessageRequest, read_request
from vango.wire import json
from vango.wire.call import BaseUrl

CATALOG = Catalog.load()


def target(model: str = "claude-sonnet-4-5", **fields: Any) -> Target:
    entry = CATALOG.find("anthropic", model)
    price = entry.price if entry else None
    given: dict[str, Any] = {
        "provider": "anthropic",
        "model": model,
        "base": BaseUrl.parse("https://api.anthropic.com"),
        "price": lambda usage: cost(price, usage),
        "key": Credential(SecretStr("sk-ant-planted-key")),
        "entry": entry,
    }
    return Target(**{**given, **fields})


def request(**fields: Any) -> MessageRequest:
    headers = fields.pop("headers", {})
    strict = fields.pop("strict", False)
    body = {
        "model": "anthropic/claude-sonnet-4-5",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "hi"}],
        **fields,
    }
    return read_request(json.encode({k: v for k, v in body.items() if v is not ...}), headers=headers, strict=strict)
