"""What a provider's codec is: pure functions from requests to calls and from bytes to events, and the values they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from vango.types.messages import MAX_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    from vango.errors import VangoError
    from vango.types.call import Credential
    from vango.types.messages import MessageRequest
    from vango.types.models import Model
    from vango.types.usage import Usage
    from vango.wire.call import BaseUrl, HttpCall, ReplyHead
    from vango.wire.sse import Frame


class Target(msgspec.Struct, frozen=True):
    """Where a request goes: one model of one provider, with the key and everything the catalogue knows.

    `model` is the provider's own id. `key_of_caller` says whose key it is: a caller's refused key is the caller's to know.
    `price` gives the cost of a usage in pico-dollars, or None where it is not known.
    `default_max_tokens` fills in where the request says nothing and the provider insists, `default_temperature` where one is
    configured.
    """

    provider: str
    model: str
    base: BaseUrl
    price: Callable[[Usage], int | None]
    key: Credential | None = None
    key_of_caller: bool = False
    entry: Model | None = None
    default_max_tokens: int = 4096
    default_temperature: float | None = None
    headers: Mapping[str, SecretStr] | None = None

    def full_id(self, answered: str) -> str:
        """The `provider/model` of an answer, by the model name that the provider gave.

        The name goes into headers and logs, so one that is longer than a name may be is not taken.
        """
        return f"{self.provider}/{answered if 0 < len(answered) <= MAX_MODEL else self.model}"


class Loss(NamedTuple):
    """A field that did not reach the provider as it was: `action` is dropped, rewritten or emulated."""

    path: str
    action: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}={self.action}"


class Encoded(NamedTuple):
    """A request ready to go out, and what it lost on the way."""

    call: HttpCall
    losses: tuple[Loss, ...] = ()


class Decoded(msgspec.Struct, frozen=True):
    """A whole answer in the canonical format: `body` is its JSON, the rest is what the gateway reports about it.

    `cost` is in pico-dollars.
    """

    body: bytes
    model: str
    usage: Usage | None
    cost: int | None
    stop_reason: str | None


class Decoder(Protocol):
    """Turns one stream into frames in the canonical format. Fresh for every stream.

    After each `feed`: `has_content` says whether a block with content, or the end of an answer without any, was seen;
    `failure` is the error that the stream itself reported, raised after the frames before it were sent;
    `done` is set by the provider's own terminal event and by nothing else.
    """

    model: str
    usage: Usage | None
    cost: int | None
    stop_reason: str | None
    has_content: bool
    failure: VangoError | None
    done: bool

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes."""
        ...

    def finish(self) -> None:
        """Say that the bytes ended; raises ProviderError where the terminal event had not come."""
        ...


class Codec(Protocol):
    """A dialect: stateless, shared by every provider that speaks it."""

    def encode(self, request: MessageRequest, target: Target) -> Encoded:
        """Write a message request; raises InvalidRequestError for what the provider cannot take."""
        ...

    def decode(self, body: bytes, target: Target) -> Decoded:
        """Read a whole answer; raises ProviderError for nonsense."""
        ...

    def unfold(self, body: bytes, target: Target) -> tuple[list[Frame], Decoded]:
        """Turn a whole answer into the events of a stream, for a provider that answers a stream request with JSON.

        Raises ProviderError for nonsense.
        """
        ...

    def decoder(self, target: Target) -> Decoder:
        """Return a decoder for one stream."""
        ...

    def error(self, head: ReplyHead, body: bytes, target: Target) -> VangoError:
        """Map a refusal (status 300 and above) to the error ladder."""
        ...

    def encode_count(self, request: MessageRequest, target: Target) -> Encoded:
        """Write a token-counting request; raises InvalidRequestError where the provider does not count."""
        ...

    def decode_count(self, body: bytes, target: Target) -> int:
        """Read the number of input tokens; raises ProviderError for nonsense."""
        ...
