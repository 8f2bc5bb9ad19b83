"""The kinds of value that a configuration holds: each knows its bounds and the words for what would be right.

No check here repeats the value it refuses: any text in a configuration may be a secret in the wrong place.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from vango.wire.call import BaseUrl

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
SHA256_HEX = re.compile(r"[0-9a-fA-F]{64}")

# Vango writes these itself, for every call; a second one beside its own would break the framing.
FRAMING_HEADERS = {
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What would be right, as it ends the sentence "expected …"; found by faults in an annotation's metadata."""

    words: str


def fault(message: str) -> PydanticCustomError:
    """Return the error whose message is a whole fault: what is wrong; what would be right."""
    return PydanticCustomError("fault", "{message}", {"message": message})


def mismatch() -> PydanticCustomError:
    """Return the error of a value whose fault is told by its type and its `Expected`."""
    return PydanticCustomError("mismatch", "does not match")


def _refuse_bool(value: Any) -> Any:
    # pydantic would take true for 1.
    if isinstance(value, bool):
        raise mismatch()
    return value


def _matching(pattern: re.Pattern[str], lower: bool = False) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise mismatch()
        return value.lower() if lower else value

    return check


def _blank_to_none(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _credential(value: SecretStr) -> SecretStr:
    """Return the key without the white space around it: keys are often read from files that end in a newline."""
    text = value.get_secret_value().strip()
    if not text:
        raise fault("is empty; expected a key")
    if not all("!" <= character <= "~" for character in text):
        raise fault(
            "holds a space, a control character or a letter beyond ASCII; expected a key as it is sent in a header"
        )
    return SecretStr(text)


def _header_name(value: str) -> str:
    name = value.lower()
    if not TOKEN.fullmatch(name):
        raise fault("is not a header name; expected letters, digits and hyphens")
    if name in FRAMING_HEADERS:
        raise fault("is a header that Vango sets itself; leave it out")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    if not all(" " <= character <= "~" or character == "\t" for character in value.get_secret_value()):
        raise fault(
            "holds a line break, a control character or a letter beyond ASCII; expected a header value of one line"
        )
    return value


def _is_plain(value: str) -> bool:
    return value.isprintable() and " " not in value


def _url(value: str) -> str:
    try:
        BaseUrl.parse(value)
    except ValueError:
        raise mismatch() from None  # the cause repeats parts of the value
    if not _is_plain(value):
        raise mismatch()
    return value.rstrip("/")


def _origin(value: str) -> str:
    if value == "*":
        return value
    try:
        parts = urlsplit(value)
        right = parts.scheme and parts.hostname and parts.port != 0 and value == f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        right = False
    if not right or "@" in value or not _is_plain(value):
        raise mismatch()
    return value.lower()


def _host(value: str) -> str:
    if value.startswith("["):
        raise fault("has brackets; write an IPv6 address without them")
    if not value or not _is_plain(value) or "/" in value:
        raise mismatch()
    return value


def _network(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        widened = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise mismatch() from None
    raise fault(f"has bits beyond its prefix length; expected {widened}")


def _instant(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise mismatch() from None
    if not isinstance(value, date | time):  # pydantic would read a number as seconds since 1970
        raise mismatch()
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise fault("has no time zone; expected a date and time with one, such as 2027-01-31T23:59:59Z")
    return value


def _path_of_metrics(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise mismatch()
    if value in {"/health", "/ready", "/openapi.json"} or value.startswith("/v1/"):
        raise fault("is a path of Vango's own; expected one that is free, such as /metrics")
    return value


def _store_of_limits(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text != "memory" and not re.fullmatch(r"rediss?://\S+", text):
        raise mismatch()
    return value


def _model_key(value: str) -> str:
    provider, _, model = value.partition("/")
    if not PROVIDER_NAME.fullmatch(provider) or not model or not _is_plain(model):
        raise fault('is not the full name of a model; expected "provider/model"')
    return value


def _model_name(value: str) -> str:
    if not value or not _is_plain(value):
        raise fault('is empty or has a space in it; expected a name such as "anthropic/claude-sonnet-4-5"')
    return value


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


# Numbers. None goes without an upper bound: a slip of the keyboard should not switch a limit off.
_Number = BeforeValidator(_refuse_bool)
Port = Annotated[int, _Number, Field(ge=0, le=65_535)]
Workers = Annotated[int, _Number, Field(ge=1, le=256)]
Count = Annotated[int, _Number, Field(ge=1, le=10_000_000)]
Size = Annotated[int, _Number, Field(ge=1024, le=2**31)]
Attempts = Annotated[int, _Number, Field(ge=0, le=10)]
Tokens = Annotated[int, _Number, Field(ge=1, le=100_000_000)]
PerMinute = Annotated[int, _Number, Field(ge=0, le=10**12), Expected("a whole number from 0, which means no limit")]
Seconds = Annotated[float, _Number, Field(ge=0.001, le=86_400, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, _Number, Field(ge=0, le=86_400, allow_inf_nan=False)]
Speedup = Annotated[float, _Number, Field(ge=1, le=100, allow_inf_nan=False)]
Temperature = Annotated[float, _Number, Field(ge=0, le=2, allow_inf_nan=False)]
Budget = Annotated[
    Decimal, _Number, Field(gt=0, le=10**9), Expected("an amount of dollars above 0; leave it out for no budget")
]
Price = Annotated[Decimal, _Number, Field(ge=0, le=10**6), Expected("dollars for a million tokens, from 0")]

# Secrets. A blank key means the same as none: that is what an unset variable looks like in a compose file.
Key = Annotated[SecretStr, AfterValidator(_credential), Expected("a key as text")]
OptionalKey = Annotated[Key | None, BeforeValidator(_blank_to_none), Expected("a key as text")]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value), Expected("a header value as text")]
Digest = Annotated[
    str, AfterValidator(_matching(SHA256_HEX, lower=True)), Expected("the SHA-256 of the key as 64 hexadecimal digits")
]

# Text.
Host = Annotated[str, AfterValidator(_host), Expected("an address or a host name, such as 127.0.0.1")]
Url = Annotated[str, AfterValidator(_url), Expected("a URL like https://host/path, without user, query or fragment")]
WebOrigin = Annotated[
    str, AfterValidator(_origin), Expected('an origin such as "https://app.example.com" without a path, or "*"')
]
Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    BeforeValidator(_network),
    Expected('an address or a network, such as "10.0.0.0/8"'),
]
Instant = Annotated[
    datetime, BeforeValidator(_instant), Expected("a date and time such as 2027-01-31T23:59:59Z, without quotes")
]
MetricsPath = Annotated[str, AfterValidator(_path_of_metrics), Expected("a path such as /metrics")]
LimitStore = Annotated[
    SecretStr, AfterValidator(_store_of_limits), Expected('"memory" or a URL like redis://host:6379/0')
]
UsageStore = Annotated[
    str,
    AfterValidator(_matching(re.compile(r"none|sqlite:///\S.*"))),
    Expected('"none" or a file like "sqlite:///vango-usage.db"'),
]
Label = Annotated[
    str,
    AfterValidator(_matching(re.compile(r"(?=.*\S)[^\x00-\x1f\x7f]{1,128}"))),
    Expected("1 to 128 printable characters"),
]
ProviderName = Annotated[
    str, AfterValidator(_matching(PROVIDER_NAME)), Expected("a name of small letters, digits, hyphens and underscores")
]
HeaderName = Annotated[str, AfterValidator(_header_name)]
ModelKey = Annotated[str, AfterValidator(_model_key)]
ModelName = Annotated[str, AfterValidator(_model_name), Expected("the name of a model as text")]

# Operators write INFO as often as info.
Folded = BeforeValidator(_folded)
