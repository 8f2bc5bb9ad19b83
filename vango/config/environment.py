"""What the environment says about a configuration, as tables: providers' keys and the short names of settings."""

from __future__ import annotations

from importlib.metadata import entry_points

# Each provider that needs no `kind` and `base_url`, and the variables its key is read from: the first one set wins.
BUILT_IN: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "gemini": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "together": ("TOGETHER_API_KEY",),
    "perplexity": ("PERPLEXITY_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "deepgram": ("DEEPGRAM_API_KEY",),
    "elevenlabs": ("ELEVENLABS_API_KEY",),
    "cartesia": ("CARTESIA_API_KEY",),
    "assemblyai": ("ASSEMBLYAI_API_KEY",),
    "sandbox": (),
}

BUILT_IN_VOICES: dict[str, tuple[str, ...]] = {
    "stt": ("deepgram", "openai", "assemblyai", "cartesia", "elevenlabs", "groq", "local"),
    "tts": ("elevenlabs", "openai", "cartesia", "deepgram", "local"),
}

RETIRED_VOICES = {"playht": "closed at the end of 2025"}

# Names that people try, and what they are called here.
OTHER_NAMES = {"google": "gemini", "claude": "anthropic", "eleven": "elevenlabs"}

SHORT_NAMES: dict[str, tuple[str, ...]] = {
    "VANGO_HOST": ("server", "host"),
    "VANGO_PORT": ("server", "port"),
    "VANGO_LOG_LEVEL": ("observability", "logging", "level"),
    "VANGO_LOG_FORMAT": ("observability", "logging", "format"),
}

PREFIX = "VANGO__"
CONFIG_FILE = "VANGO_CONFIG"


def plug_ins() -> list[str]:
    """Return the names of providers that installed packages bring along, by the names of their entry points."""
    return [point.name for point in entry_points(group="vango.providers")]
