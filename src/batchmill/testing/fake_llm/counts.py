"""What the fake service counts, and what it remembers of each request. Costs are integers of micro-cents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MICRO_CENTS = 100_000_000  # in a US dollar; so a dollar for a million tokens is 100 micro-cents a token


@dataclass(slots=True)
class ModelCounts:
    """Of one model: billed requests, tokens in and out, cost in micro-cents."""

    billed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: int = 0


@dataclass(slots=True)
class Counts:
    """Everything since the start or the last reset.

    `requests` arrived at a model; each is then `billed` (its work was done, also where the client did not wait for
    the reply or the reply was spoilt), or it was not. `answered`: whole replies of status 200. `abandoned`: the
    client had gone, or the connection was broken. `violations` of the limits, by kind; `refused` is their sum.
    `duplicates`: billed although an equal request had been billed before. `repeated_keys`: requests with an
    `Idempotency-Key` that was seen before. Lines of `batches` are no `requests`, but are billed too, at half price.
    """

    requests: int = 0
    answered: int = 0
    billed: int = 0
    abandoned: int = 0
    refused: int = 0
    duplicates: int = 0
    repeated_keys: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: int = 0
    batches: int = 0
    batch_lines: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    models: dict[str, ModelCounts] = field(default_factory=dict)

    def bill(self, model: str, tokens_in: int, tokens_out: int, cost: int) -> None:
        """One more request whose work was done."""
        of_model = self.models.get(model)
        if of_model is None:
            of_model = self.models[model] = ModelCounts()
        for counts in (self, of_model):
            counts.billed += 1
            counts.tokens_in += tokens_in
            counts.tokens_out += tokens_out
            counts.cost += cost

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Counts:
        """From the JSON of its fields."""
        counters = {name: Counter(values[name]) for name in ("violations", "faults", "statuses")}
        models = {name: ModelCounts(**counts) for name, counts in values["models"].items()}
        return cls(**{**values, **counters, "models": models})


@dataclass(slots=True)
class Entry:
    """One request of the log. `seconds` since the start; `digest` is equal for equal requests; `fault` may be empty."""

    number: int
    seconds: float
    family: str
    status: int
    fault: str
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost: int = 0
    billed: bool = False
    digest: str = ""
    idempotency_key: str = ""
    batch: str = ""
    text: str = ""
