"""Make `vango/providers/catalog/models.json` from public facts about models.

    python tools/make_catalog.py --models-dev models-dev.json --as-of 2026-11-24

Sources, the later ones filling what the earlier leave open: `catalog_facts.toml` beside this file (kept by hand), the
models.dev collection as one JSON file `{provider: {model: facts}}`, the `genai_prices` package for prices, and the
model lists in the types of the `anthropic`, `openai` and `google-genai` SDKs, so far as those are installed.
The same sources and day always give the same bytes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from catalog_prices import TOOLS, Facts, Prices, fast_mode, price_by_hand, price_of_models_dev
from catalog_sdks import literals, retirements, sdk_names

HERE = Path(__file__).parent
CATALOG = HERE.parent / "vango" / "providers" / "catalog" / "models.json"

# Vango's provider name: the names it has in models.dev and genai-prices.
PROVIDERS = {
    "anthropic": ("anthropic", "anthropic"),
    "openai": ("openai", "openai"),
    "gemini": ("google", "google"),
    "groq": ("groq", "groq"),
    "cerebras": ("cerebras", "cerebras"),
    "mistral": ("mistral", "mistral"),
    "together": ("togetherai", "together"),
    "perplexity": ("perplexity", "perplexity"),
    "deepseek": ("deepseek", "deepseek"),
    "xai": ("xai", "x-ai"),
    "openrouter": ("openrouter", "openrouter"),
}

# OpenRouter's vendor prefixes of the providers that are in the catalogue themselves.
VENDORS = {
    "anthropic": "anthropic",
    "openai": "openai",
    "google": "gemini",
    "mistralai": "mistral",
    "deepseek": "deepseek",
    "x-ai": "xai",
}

DATED = re.compile(r"-(?:20\d{6}|20\d\d-\d\d-\d\d)$")


def canonical(made: str, models: list[Facts]) -> str:
    """Write the catalogue as JSON with one model a line, everything sorted."""
    ordered = sorted(models, key=lambda model: (model["provider"], model["id"]))
    lines = ",\n".join(
        json.dumps(model, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for model in ordered
    )
    return f'{{"made":"{made}","models":[\n{lines}\n]}}\n'


class Sources:
    """The facts of all sources, put together one model at a time."""

    def __init__(self, facts: Facts, models_dev: Facts, prices: Prices) -> None:
        self.facts = facts
        self.models_dev = models_dev
        self.prices = prices
        self.sdk = sdk_names()
        self.ends = retirements()
        self.by_hand = {model["id"]: model for model in facts["model"]}
        self.responses_only = set(literals("openai.types.shared.all_models", "AllModels"))

    def models(self) -> list[Facts]:
        """Return all models; OpenRouter's come last because they borrow facts from the others."""
        made: dict[str, Facts] = {}
        for provider in PROVIDERS:
            for name, aliases in self._names(provider):
                model = self._model(provider, name, aliases, made)
                made[f"{provider}/{name}"] = model
        return list(made.values())

    def _names(self, provider: str) -> list[tuple[str, list[str]]]:
        select = self.facts["select"].get(provider, {})
        if only := select.get("only"):
            return [(name, []) for name in only]
        dev = self.models_dev[PROVIDERS[provider][0]]
        names = {*self.sdk.get(provider, []), *select.get("include", [])}
        names |= {name for name, entry in dev.items() if entry.get("status") != "deprecated" or provider == "gemini"}
        names |= {full.partition("/")[2] for full in self.by_hand if full.startswith(f"{provider}/")}
        if provider not in {"anthropic", "openai"}:
            # genai-prices names a family there, not always a model that can be called.
            names |= {
                entry.id
                for entry in self.prices.entries(PROVIDERS[provider][1])
                if entry.context_window and not entry.deprecated
            }
        include = select.get("include", [])
        excluded = select.get("exclude", [])
        names = {
            name for name in names if name in include or not any(fnmatchcase(name, pattern) for pattern in excluded)
        }
        aliases: dict[str, list[str]] = {name: [] for name in names}
        for name in sorted(names):
            target = self._stands_for(provider, name, names)
            if target is not None:
                aliases[target].append(name)
                del aliases[name]
        return sorted(aliases.items())

    def _stands_for(self, provider: str, name: str, names: set[str]) -> str | None:
        """Return the model that a name is only another name of."""
        by_hand = self.by_hand.get(f"{provider}/{name}", {})
        if latest := by_hand.get("latest"):
            if latest not in names:
                raise ValueError(f"{provider}/{name} should stand for {latest}, which is not in the catalogue")
            return str(latest)
        for full, model in self.by_hand.items():
            if name in model.get("aliases", ()) and full.startswith(f"{provider}/"):
                return str(full).partition("/")[2]
        if provider == "anthropic":
            # The dated name is the model; the bare one points at it.
            return next((other for other in sorted(names) if other != name and DATED.sub("", other) == name), None)
        bare = DATED.sub("", name)
        if bare == name or bare not in names:
            return None
        own, same = self.prices.find(PROVIDERS[provider][1], name), self.prices.find(PROVIDERS[provider][1], bare)
        return bare if own is same else None

    def _model(self, provider: str, name: str, aliases: list[str], made: dict[str, Facts]) -> Facts:
        full = f"{provider}/{name}"
        by_hand = self.by_hand.get(full, {})
        family = self._family(provider, name)
        entry = self.models_dev[PROVIDERS[provider][0]].get(name, {})
        if base := by_hand.get("base"):
            owner, _, other = base.partition("/")
            entry = {**self.models_dev[PROVIDERS[owner][0]][other], **entry}
        vendor, _, bare = name.partition("/")
        relative = made.get(f"{VENDORS.get(vendor)}/{bare}") or made.get(
            f"{VENDORS.get(vendor)}/{bare.replace('.', '-')}"
        )
        if provider == "openrouter" and relative is None:
            relative = next((one for one in made.values() if bare.replace(".", "-") in one.get("aliases", ())), None)
        borrowed = relative if provider == "openrouter" and relative else {}

        priced = self.prices.find(PROVIDERS[provider][1], by_hand.get("price_from", name))
        model: Facts = {"provider": provider, "id": name}
        model["display_name"] = (
            by_hand.get("display_name")
            or (entry.get("name") or "").removesuffix(" (latest)")
            or family.get("display_name")
            or borrowed.get("display_name")
            or (priced and priced.name)
            or name
        )
        created = by_hand.get("created") or entry.get("release_date") or family.get("created")
        if created:
            model["created_at"] = f"{created}T00:00:00Z"
        elif "created_at" in borrowed:
            model["created_at"] = borrowed["created_at"]
        limit = entry.get("limit", {})
        for field, key in (("context_window", "context"), ("max_output_tokens", "output")):
            value = by_hand.get(field) or limit.get(key) or family.get(field) or borrowed.get(field)
            if value is None and field == "context_window" and priced:
                value = priced.context_window
            if value:
                model[field] = value

        capabilities = {"text": True, **borrowed.get("capabilities", {}), **family.get("capabilities", {})}
        capabilities |= _capabilities(entry) | family.get("surely", {}) | by_hand.get("capabilities", {})
        if capabilities.get("tools") is False:
            capabilities["tool_streaming"] = False
        model["capabilities"] = capabilities
        if tools := by_hand.get("native_tools", family.get("native_tools")):
            model["native_tools"] = sorted(tools)
        sampling = by_hand.get("sampling", entry.get("temperature", family.get("sampling", borrowed.get("sampling"))))
        if sampling is not None:
            model["sampling"] = sampling
        if thinking := _thinking(entry, {**family, **by_hand}) or borrowed.get("thinking"):
            model["thinking"] = thinking
        if provider == "openai" and name in self.responses_only:
            model["responses_only"] = True
        if names := sorted({*aliases, *by_hand.get("aliases", ())}):
            model["aliases"] = names
        if nicknames := by_hand.get("nicknames"):
            model["nicknames"] = nicknames
        self._end(model, by_hand)
        self._cost(model, by_hand, family | {"capabilities": capabilities}, entry, priced, made)
        return model

    def _family(self, provider: str, name: str) -> Facts:
        family: Facts = {"capabilities": {}}
        for rule in self.facts["family"]:
            if rule["provider"] == provider and any(fnmatchcase(name, pattern) for pattern in rule["match"]):
                family = {**family, **rule, "capabilities": {**family["capabilities"], **rule.get("capabilities", {})}}
        return family

    def _end(self, model: Facts, by_hand: Facts) -> None:
        ends = self.ends.get(model["provider"], {})
        if retired := by_hand.get("retired") or ends.get(model["id"]):
            model["retired"] = retired
        successor = by_hand.get("successor")
        if not successor and retired:
            for rule in self.facts["successors"]:
                if rule["provider"] == model["provider"] and any(
                    fnmatchcase(model["id"], item) for item in rule["match"]
                ):
                    successor = rule["successor"]
                    break
        if successor:
            model["successor"] = successor

    def _cost(
        self, model: Facts, by_hand: Facts, family: Facts, entry: Facts, priced: Any, made: dict[str, Facts]
    ) -> None:
        changes: list[Facts] = []
        if "price" in by_hand:
            price: Facts | None = price_by_hand(by_hand)
            if other := by_hand.get("price_of_tools"):
                relative = self.prices.find(PROVIDERS[model["provider"]][1], other)
                tools = self.prices.schedule(relative, family)[0] or {}
                price = {**price, **{name: tools[name] for name in TOOLS if name in tools}} if price else None
        else:
            if other := by_hand.get("price_of"):
                priced = self.prices.find(PROVIDERS[model["provider"]][1], other)
            price, changes = self.prices.schedule(priced, family) if priced else (None, [])
            price = price or price_of_models_dev(entry.get("cost", {}), family)
        if price is None:
            return
        if (fast := fast_mode(entry)) and fast[0] not in price.get("modes", {}):
            price.setdefault("modes", {})[fast[0]] = fast[1]
        for one in (price, *(change["price"] for change in changes)):
            for mode in family.get("list_price_modes", ()):
                one.setdefault("modes", {}).setdefault(mode, one["standard"])
            if geo := family.get("geo_permille"):
                one["geo_permille"] = geo
            if family.get("web_fetch_is_free"):
                one["web_fetch"] = 0
        model["price"] = price
        if changes:
            model["price_changes"] = changes


def _capabilities(entry: Facts) -> dict[str, bool]:
    found: dict[str, bool] = {}
    modalities = entry.get("modalities", {})
    if takes := modalities.get("input"):
        inputs = {"vision": "image", "audio_input": "audio", "video": "video", "documents": "pdf"}
        found |= {name: kind in takes for name, kind in inputs.items()}
    if makes := modalities.get("output"):
        found |= {"text": "text" in makes, "audio_output": "audio" in makes}
    for name, key in (("tools", "tool_call"), ("thinking", "reasoning"), ("structured_output", "structured_output")):
        if isinstance(entry.get(key), bool):
            found[name] = entry[key]
    return found


def _thinking(entry: Facts, facts: Facts) -> Facts:
    thinking: Facts = {}
    for option in entry.get("reasoning_options", ()):
        if option["type"] == "effort":
            thinking["effort"] = option["values"]
        elif option["type"] == "budget_tokens":
            thinking["budget"] = True
            thinking |= {f"budget_{bound}": option[bound] for bound in ("min", "max") if bound in option}
    if "effort" in facts:
        thinking["effort"] = facts["effort"]
    if facts.get("adaptive"):
        thinking["adaptive"] = True
    if facts.get("thinking_required"):
        thinking["required"] = True
    return thinking


def main() -> None:
    """Write the catalogue, or with `--check` say whether the one in the tree is what the sources give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-dev", type=Path, required=True, help="models.dev's facts as one JSON file")
    parser.add_argument("--as-of", type=dt.date.fromisoformat, required=True, help="the day whose prices are in force")
    parser.add_argument("--facts", type=Path, default=HERE / "catalog_facts.toml")
    parser.add_argument("--out", type=Path, default=CATALOG)
    parser.add_argument("--check", action="store_true", help="compare, and fail where it differs")
    options = parser.parse_args()

    facts = tomllib.loads(options.facts.read_text(encoding="utf-8"))
    models_dev = json.loads(options.models_dev.read_text(encoding="utf-8"))
    text = canonical(options.as_of.isoformat(), Sources(facts, models_dev, Prices(options.as_of)).models())
    if options.check:
        sys.exit(0 if options.out.read_text(encoding="utf-8") == text else f"{options.out} differs from its sources")
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
