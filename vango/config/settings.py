"""Everything that can be configured, as frozen values with their defaults.

A `Settings` that exists has no fault: each value is checked by its type, and what holds between values by `rules`.
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from vango.config import rules
from vango.config.faults import dotted
from vango.config.values import (
    Attempts,
    Budget,
    Count,
    Digest,
    Expected,
    Folded,
    HeaderName,
    HeaderValue,
    Host,
    Instant,
    Key,
    Label,
    LimitStore,
    MetricsPath,
    ModelKey,
    ModelName,
    Network,
    OptionalKey,
    PerMinute,
    Port,
    Price,
    ProviderName,
    Seconds,
    SecondsOrZero,
    Size,
    Speedup,
    Temperature,
    Tokens,
    Url,
    UsageStore,
    WebOrigin,
    Workers,
    fault,
)


class Section(BaseModel):
    """A table of the configuration: it cannot change, takes no unknown key and never repeats a value it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsSettings(Section):
    """`[server.tls]`: a certificate chain and its key, as PEM files."""

    enabled: bool = False
    cert_file: str = ""
    key_file: str = ""


class LimitSettings(Section):
    """`[server.limits]`: what one client may ask of the server before it is refused. Sizes are in bytes."""

    max_body_bytes: Size = 33_554_432
    max_connections: Count = 10_000
    max_messages: Count = 100_000
    max_nesting: Count = 100
    max_header_bytes: Size = 32_768
    max_headers: Count = 200
    header_timeout_seconds: Seconds = 10
    body_timeout_seconds: Seconds = 30
    keep_alive_seconds: Seconds = 75
    write_timeout_seconds: Seconds = 30
    tls_handshake_timeout_seconds: Seconds = 10
    live_json_frame_bytes: Size = 65_536
    live_binary_frame_bytes: Size = 65_536
    live_audio_rate: Speedup = 4


class LiveSettings(Section):
    """`[server.live]`: how many live sessions there may be, and how long."""

    max_sessions: Count = 1000
    max_sessions_per_user: Count = 10
    session_idle_seconds: Seconds = 300
    max_session_seconds: Seconds = 7200


class ServerSettings(Section):
    """`[server]`: where the server listens and what it takes."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    workers: Workers = 1
    shutdown_grace_seconds: SecondsOrZero = 30
    playground: bool = True
    cors_origins: tuple[WebOrigin, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    http2: bool = False
    tls: TlsSettings = TlsSettings()
    limits: LimitSettings = LimitSettings()
    live: LiveSettings = LiveSettings()


class ApiKeySettings(Section):
    """`[[auth.api_keys]]`: one caller's key, as given or as its SHA-256, and what it allows. 0 means no limit."""

    key: Key | None = None
    key_hash: Digest | None = Field(default=None, repr=False)
    name: Label | None = None
    user_id: Label | None = None
    admin: bool = False
    disabled: bool = False
    expires_at: Instant | None = None
    models: tuple[ModelName, ...] = ()
    rate_limit: PerMinute = 0
    tokens_per_minute: PerMinute = 0
    max_concurrent: PerMinute = 0
    budget_usd: Budget | None = None
    budget_period: Literal["day", "month", "total"] = "month"

    def digest(self) -> bytes:
        """Return the SHA-256 of the key, however it was given."""
        if self.key is not None:
            return hashlib.sha256(self.key.get_secret_value().encode()).digest()
        return bytes.fromhex(self.key_hash or "")


class AuthSettings(Section):
    """`[auth]`: who may call. `models` of a key left empty means all of them."""

    mode: Literal["none", "api_key", "passthrough"] = "none"
    allow_byok: bool = True
    allow_unauthenticated: bool = False
    api_keys: tuple[ApiKeySettings, ...] = ()


def _known_kind(value: object) -> object:
    if isinstance(value, str) and value in {"openai", "gemini"}:
        raise fault('is a kind that this version does not speak yet; expected "anthropic"')
    return value


class ProviderSettings(Section):
    """`[providers.NAME]`: a built-in provider's key and address, or one's own provider with `kind` and `base_url`."""

    api_key: OptionalKey = None
    base_url: Url | None = None
    kind: Annotated[Literal["anthropic"], BeforeValidator(_known_kind)] | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    timeout_seconds: Seconds = 600
    connect_timeout_seconds: Seconds = 5
    stream_silence_seconds: Seconds = 120
    stream_max_seconds: Seconds = 3600
    max_connections: Count = 1000

    @property
    def is_configured(self) -> bool:
        """Say whether it can be called without a caller's key: it has its own, or is a server that may need none."""
        return self.api_key is not None or (self.kind is not None and self.base_url is not None)


class SpeechSettings(Section):
    """`[voice.stt.NAME]`, `[voice.tts.NAME]`: a speech provider's key and address."""

    api_key: OptionalKey = None
    base_url: Url | None = None
    kind: Literal["openai"] | None = None
    timeout_seconds: Seconds = 60
    connect_timeout_seconds: Seconds = 5


class VoiceSettings(Section):
    """`[voice]`: the speech providers. Without a default the first configured one speaks, else the embedded one."""

    default_stt: ProviderName | None = None
    default_tts: ProviderName | None = None
    stt: dict[ProviderName, SpeechSettings] = Field(default_factory=dict)
    tts: dict[ProviderName, SpeechSettings] = Field(default_factory=dict)


class DefaultSettings(Section):
    """`[defaults]`: what a request that does not say gets."""

    max_tokens: Tokens = 4096
    temperature: Temperature | None = None
    strict: bool = False


class RetrySettings(Section):
    """`[retries]`: attempts after the first, and the longest wait before one that a provider may ask for."""

    max_attempts: Attempts = 2
    max_wait_seconds: SecondsOrZero = 20


class RateSettings(Section):
    """`[rate_limits.global]`, `[rate_limits.per_user]`; 0 means no limit."""

    requests_per_minute: PerMinute = 0
    tokens_per_minute: PerMinute = 0
    max_concurrent: PerMinute = 0


class RateLimitSettings(Section):
    """`[rate_limits]`: where the counters are, and limits for all callers together and for each."""

    store: LimitStore = SecretStr("memory")
    on_store_failure: Literal["open", "closed"] = "open"
    global_: RateSettings = Field(default=RateSettings(), alias="global")
    per_user: RateSettings = RateSettings()


class UsageSettings(Section):
    """`[usage]`: where the ledger of calls and costs is kept."""

    store: UsageStore = "sqlite:///vango-usage.db"


class MetricsSettings(Section):
    """`[observability.metrics]`."""

    enabled: bool = True
    path: MetricsPath = "/metrics"


class LoggingSettings(Section):
    """`[observability.logging]`. `content` lets prompts and answers into the log."""

    level: Annotated[Literal["debug", "info", "warning", "error", "critical"], Folded] = "info"
    format: Annotated[Literal["json", "text"], Folded] = "json"
    content: bool = False


class TracingSettings(Section):
    """`[observability.tracing]`."""

    enabled: bool = False
    exporter: Literal["otlp"] = "otlp"
    endpoint: Url = "http://localhost:4318"


class ObservabilitySettings(Section):
    """`[observability]`: what the server tells about itself."""

    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()
    tracing: TracingSettings = TracingSettings()


class CapabilityOverride(Section):
    """What a model can do; None keeps what the catalogue says."""

    text: bool | None = None
    vision: bool | None = None
    audio_input: bool | None = None
    audio_output: bool | None = None
    video: bool | None = None
    documents: bool | None = None
    tools: bool | None = None
    tool_streaming: bool | None = None
    thinking: bool | None = None
    structured_output: bool | None = None


NativeTool = Literal["web_search", "code_execution", "file_search", "computer_use", "text_editor", "web_fetch"]


class ModelOverride(Section):
    """`[models."provider/model"]`: what the catalogue does not know or has wrong; None keeps what it says.

    Prices are dollars for a million tokens.
    """

    context_window: Tokens | None = None
    max_output_tokens: Tokens | None = None
    capabilities: CapabilityOverride = CapabilityOverride()
    native_tools: tuple[NativeTool, ...] | None = None
    input_per_mtok: Price | None = None
    output_per_mtok: Price | None = None
    cache_read_per_mtok: Price | None = None
    cache_write_per_mtok: Price | None = None


def _some(models: tuple[str, ...]) -> tuple[str, ...]:
    if not models:
        raise ValueError("empty")
    return models


Fallback = Annotated[
    tuple[ModelName, ...], AfterValidator(_some), Expected("a list of models in the order in which they are tried")
]


class Settings(Section):
    """A whole configuration."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=dict)
    voice: VoiceSettings = VoiceSettings()
    aliases: dict[ModelName, ModelName] = Field(default_factory=dict)
    fallbacks: dict[ModelName, Fallback] = Field(default_factory=dict)
    defaults: DefaultSettings = DefaultSettings()
    retries: RetrySettings = RetrySettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    usage: UsageSettings = UsageSettings()
    observability: ObservabilitySettings = ObservabilitySettings()
    models: dict[ModelKey, ModelOverride] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _keep_the_rules(self) -> Self:
        if faults := rules.broken(self):
            message = ". ".join(f"{dotted(fault.path)} {fault.message}" for fault in faults)
            raise PydanticCustomError("rules", "{message}", {"message": message, "faults": faults})
        return self

    def configured_providers(self) -> list[str]:
        """Return the names of the providers that can be called without a caller's key, in the order of the file."""
        return [name for name, provider in self.providers.items() if provider.is_configured]
