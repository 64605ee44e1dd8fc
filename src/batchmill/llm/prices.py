"""What requests cost, in integer micro-cents: a user's own prices first, then those of `genai-prices`.

Nothing here knows budgets; a model without a price is None, never free.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import cached_property
from typing import Any, NamedTuple

import pydantic_core

from batchmill import UsageError
from batchmill.llm.extras import needed
from batchmill.llm.messages import Usage

MICRO_CENTS = 100_000_000  # in a US dollar
TOKENS = 1_000_000  # prices are told for so many
WITHOUT_MODEL = frozenset({"extractive", "describe"})  # providers that use no tokens, and say so
OWN_MACHINES = WITHOUT_MODEL | {"ollama", "llamacpp", "lmstudio", "vllm", "local", "python"}
_FRESH = 600.0  # seconds for which a price is taken as it was: some differ by the hour of the day
_INPUT, _OUTPUT = ("input_mtok", "input_image_mtok"), ("output_mtok", "output_reasoning_mtok")
_KEYS = frozenset({"input", "output", "cached_input", "cache_write", "request", "batch"})
_IN_BATCHES = Decimal("0.5")  # of the price, at OpenAI, Anthropic, Google, Groq and Mistral


class Tier(NamedTuple):
    """Prices in micro-cents for a million tokens, of requests with more than `above` input tokens."""

    above: int
    input: int
    output: int
    cached: int
    written: int


@dataclass(frozen=True)
class Price:
    """What a model costs. `tiers` ascend; the tier of a request holds for all its tokens. `version` names the list."""

    tiers: tuple[Tier, ...]
    request: int = 0  # micro-cents for each request
    version: str = ""
    batch: Decimal = _IN_BATCHES  # share of it that a request in a batch costs

    def cost(self, usage: Usage) -> int:
        """What a request cost, in micro-cents, rounded up."""
        for tier in reversed(self.tiers):
            if usage.input > tier.above:
                break
        cached = min(usage.cached, usage.input)
        written = min(usage.written, usage.input - cached)
        plain = (usage.input - cached - written) * tier.input + usage.output * tier.output
        return self.request - (-(plain + cached * tier.cached + written * tier.written) // TOKENS)

    def most(self, input: int, output: int) -> int:
        """What a request with at most so many tokens can cost at most, in micro-cents."""
        dearest = dearest_output = 0
        for tier in self.tiers:
            if tier.above < input or not tier.above:
                dearest = max(dearest, tier.input, tier.cached, tier.written)
                dearest_output = max(dearest_output, tier.output)
        return self.request - (-(input * dearest + output * dearest_output) // TOKENS)

    @cached_property
    def in_batches(self) -> Price:
        """What a request costs that is sent in a batch, with many others, and answered later."""
        tiers = tuple(Tier(tier.above, *(_share(self.batch, amount) for amount in tier[1:])) for tier in self.tiers)
        return Price(tiers, _share(self.batch, self.request), f"{self.version}, {self.batch} in batches", self.batch)


FREE = Price((Tier(0, 0, 0, 0, 0),), version="own machine")


class PriceList:
    """Prices by the full name of a model, `provider/model`.

    `own` maps names to `{input, output, cached_input, cache_write, request, batch}`: US dollars for a million tokens
    (by default both kinds of cached input cost what `input` does), and for a request; `batch` is the share of all of
    it that requests in batches cost (0.5).
    A name may end in `*`; the longest one that fits is taken.
    """

    def __init__(self, own: Mapping[str, Any] | None = None) -> None:
        self._own = {name: _own_price(name, fields) for name, fields in (own or {}).items()}
        self._found: dict[str, tuple[float, Price | None]] = {}

    def price_of(self, model: str) -> Price | None:
        """The price of a model now, or None."""
        now = time.monotonic()
        known = self._found.get(model)
        if known is None or known[0] < now:
            known = self._found[model] = (now + _FRESH, self._look_up(model))
        return known[1]

    def _look_up(self, model: str) -> Price | None:
        if model in self._own:
            return self._own[model]
        if fitting := [name for name in self._own if name.endswith("*") and model.startswith(name[:-1])]:
            return self._own[max(fitting, key=len)]
        provider, _, name = model.partition("/")
        return FREE if provider in OWN_MACHINES else _listed_price(provider, name)


def _own_price(model: str, fields: Any) -> Price:
    """A user's own price. Raises UsageError."""
    if not isinstance(fields, Mapping) or not {"input", "output"} <= fields.keys() <= _KEYS:
        raise UsageError(
            f"the price of `{model}` is not understood",
            hint="`input` and `output` are needed, `cached_input`, `cache_write`, `request` and `batch` may be given",
        )
    told = {
        key: _micro_cents(value, f"`{key}` of the price of `{model}`")
        for key, value in fields.items()
        if key != "batch"
    }
    batch = Decimal(_micro_cents(fields.get("batch", _IN_BATCHES), f"`batch` of the price of `{model}`")) / MICRO_CENTS
    cached, written = (told.get(key, told["input"]) for key in ("cached_input", "cache_write"))
    tier = Tier(0, told["input"], told["output"], cached, written)
    digest = hashlib.blake2b(pydantic_core.to_json(sorted(told.items())), digest_size=4).hexdigest()
    return Price((tier,), told.get("request", 0), f"own {digest}", batch)


def _share(share: Decimal, amount: int) -> int:
    return int((share * amount).to_integral_value(ROUND_CEILING))


def _micro_cents(dollars: Any, what: str) -> int:
    try:
        amount = Decimal(str(dollars))
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or amount < 0:
        raise UsageError(f"{what} is not an amount of US dollars: `{dollars}`")
    return int((amount * MICRO_CENTS).to_integral_value(ROUND_CEILING))


def _listed_price(provider: str, name: str) -> Price | None:
    """The price in the list that comes with `genai-prices`."""
    from datetime import UTC, datetime
    from importlib.metadata import version

    try:
        listed, model = (
            needed("genai_prices.data_snapshot").get_snapshot().find_provider_model(name, None, provider, None)
        )
    except LookupError:
        return None
    prices = {k: v for k, v in model.get_prices(datetime.now(UTC)).__dict__.items() if v is not None}
    return _from_list(prices, f"genai-prices {version('genai-prices')} {listed.id}/{model.id}")


def _from_list(prices: Mapping[str, Any], version: str) -> Price | None:
    """A price from unit prices, on the safe side: the dearest of what may apply to a token."""
    if "input_mtok" not in prices or "output_mtok" not in prices:
        return None
    starts = sorted({0, *(tier.start for value in prices.values() for tier in getattr(value, "tiers", ()))})
    tiers = tuple(
        Tier(
            start,
            _dearest(prices, _INPUT, start),
            _dearest(prices, _OUTPUT, start),
            _dearest(prices, ("cache_read_mtok",) if "cache_read_mtok" in prices else _INPUT, start),
            _dearest(prices, ("cache_write_mtok",) if "cache_write_mtok" in prices else _INPUT, start),
        )
        for start in starts
    )
    request = -int(-_at(prices.get("requests_kcount", Decimal(0)), 0) * MICRO_CENTS // 1000)
    return Price(tiers, request, version)


def _dearest(prices: Mapping[str, Any], keys: Iterable[str], start: int) -> int:
    return max(_micro_cents(_at(prices[key], start), key) for key in keys if key in prices)


def _at(price: Any, start: int) -> Decimal:
    """A unit price of requests with more than `start` input tokens."""
    for tier in reversed(getattr(price, "tiers", ())):
        if start >= tier.start:
            return Decimal(tier.price)
    return Decimal(getattr(price, "base", price))
