"""What the fake service does: every option of `FakeLLM`, checked. Plain values; nothing happens here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from batchmill.errors import UsageError
from batchmill.model.near import did_you_mean
from batchmill.testing.fake_llm import answers
from batchmill.testing.fake_llm.asked import Asked
from batchmill.testing.fake_llm.faults import KINDS
from batchmill.testing.fake_llm.latency import Latency, latency

ANSWERS: dict[str, answers.Answerer] = {"words": answers.words, "echo": answers.echo}
Script = Sequence[str | None] | Callable[[Asked], str | None]
RetryAfter = Literal["both", "seconds", "ms", "date", "none"]


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """The options. None is: no such limit. Rates are for each key and model; times are seconds."""

    seed: int = 0
    latency: Latency = field(default_factory=Latency)
    token_time: float = 0.0  # seconds for each token of an answer
    slots: int | None = None  # requests that are worked on at once, the others wait, as at a local server
    rpm: float | None = None
    burst: float | None = None  # requests at once; default: those of a second, at least one
    tpm: float | None = None  # tokens in and out
    token_burst: float | None = None  # default: those of a minute
    rpd: int | None = None
    concurrency: int | None = None  # more at once are refused
    tell_limits: bool = True  # in the headers of each reply
    retry_after: RetryAfter = "both"  # how a refusal by a limit tells the wait
    faults: Mapping[str, float] = field(default_factory=dict)  # kind: share of the requests
    script: Script = ()  # faults of the first requests, or a function that tells each request's
    by_text: Mapping[str, Sequence[str | None]] = field(default_factory=dict)  # of attempts of requests with a text
    outage: tuple[float, float] | None = None  # from, for: seconds since the first request; 503 meanwhile
    drip: float = 0.05  # pause between the pieces of a slow reply
    answer: answers.Answerer = answers.words
    keys: Sequence[str] = field(default=(), repr=False)  # that are let in; none given: all
    models: Sequence[str] = ()  # that there are; none given: all
    context: int | None = None  # tokens in
    vision: bool = True
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # dollars a million tokens in and out
    default_price: tuple[float, float] = (1.0, 4.0)
    dimensions: int = 384  # of embeddings
    batch_time: float = 0.2  # from the making of a batch to its end
    batch_done: float = 1.0  # share of a batch's lines that are done; the others expire
    batch_tokens: int | None = None  # that the batches of a model that wait may hold
    batch_script: Sequence[str | None] = ()  # faults of the requests that make batches: errors, `reset`, `hang`
    log: int = 10_000  # requests that are remembered
    keep_texts: bool = False  # remember what was asked, too

    @classmethod
    def of(cls, **given: Any) -> Behaviour:
        """The behaviour with some options set, in any of their forms. Raises UsageError."""
        names = [option.name for option in fields(cls)]
        for name in given:
            if name not in names:
                raise UsageError(f"a fake service has no option `{name}`", hint=did_you_mean(name, names) or None)
        try:
            if "latency" in given:
                given["latency"] = latency(given["latency"])
        except ValueError as error:
            raise UsageError(str(error)) from None
        if isinstance(given.get("answer"), str):
            given["answer"] = _answerer(given["answer"])
        behaviour = cls(**given)
        behaviour.check()
        return behaviour

    def check(self) -> None:
        """Raises UsageError for values that cannot be."""
        check_kinds([*self.faults, *self.batch_script, *(() if callable(self.script) else self.script)])
        check_kinds([*(kind for script in self.by_text.values() for kind in script)])
        if any(not 0 <= share <= 1 for share in self.faults.values()) or sum(self.faults.values()) > 1 + 1e-9:
            raise UsageError("the shares of faults must be from 0 to 1, and their sum too")
        for name in ("rpm", "burst", "tpm", "token_burst", "rpd", "concurrency", "slots", "context"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"`{name}` must be above zero")

    def price(self, model: str, tokens_in: int, tokens_out: int) -> int:
        """The cost in micro-cents: a dollar for a million tokens is 100 micro-cents a token."""
        dollars_in, dollars_out = self.prices.get(model, self.default_price)
        return round(100 * dollars_in * tokens_in) + round(100 * dollars_out * tokens_out)


def check_kinds(kinds: Sequence[str | None]) -> None:
    """Raises UsageError for a fault that there is not."""
    for kind in kinds:
        if kind is not None and kind not in KINDS:
            hint = did_you_mean(kind, KINDS) or f"there are {', '.join(KINDS)}"
            raise UsageError(f"there is no fault `{kind}`", hint=hint)


def _answerer(name: str) -> answers.Answerer:
    if name not in ANSWERS:
        raise UsageError(f"there is no way to answer called `{name}`", hint="`words`, `echo` or a function of Asked")
    return ANSWERS[name]
