"""What a caller gets: an answer with what it took, or the error that says why there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from batchmill import Permanent
from batchmill.llm.messages import Finish, Usage


class ModelError(Permanent):
    """A model gave no answer that is of use; the job fails with it, unless it is caught.

    `failure` says why: a kind of `failures.Kind` (`auth`, `too_long`, `server`, ...), or `invalid` for answers that
    never fitted the schema. What passes was tried again before this is raised.
    """

    def __init__(self, message: str, *, failure: str, model: str = "") -> None:
        super().__init__(message)
        self.failure, self.model = failure, model
        self.invalid = failure == "invalid"


def add_costs(costs: Iterable[int | None]) -> int | None:
    """The sum of micro-cents; None where one is unknown."""
    known = list(costs)
    return None if None in known else sum(cost or 0 for cost in known)


def total(usages: Iterable[Usage | None]) -> Usage:
    """The sum of tokens, as far as they were told."""
    input = output = cached = written = 0
    for usage in usages:
        if usage is not None:
            input, output = input + usage.input, output + usage.output
            cached, written = cached + usage.cached, written + usage.written
    return Usage(input, output, cached, written)


@dataclass(frozen=True, slots=True)
class Stage:
    """What one model of a cascade came to.

    `usage` and `worth` are the tokens and the price of its replies, wherever they came from, so that they are the same
    whenever the same is asked; `requests` and `cost` are what it took this time, `cached` the replies from the cache.
    Money is in micro-cents, None where a price is unknown.
    """

    model: str
    requests: int
    cached: int
    usage: Usage
    cost: int | None
    worth: int | None
    accepted: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer.

    `value` is the checked value where there was a schema: plain JSON data, or an instance of the pydantic model.
    `rung` says how it was come by: `valid`, `repaired`, `asked_again` or `escalated`; empty without a schema.
    `saved` are the micro-cents that a cascade saved this time against asking its last model at once.
    """

    text: str
    value: Any
    model: str
    finish: Finish
    rung: str
    stages: tuple[Stage, ...]
    saved: int = 0

    @property
    def usage(self) -> Usage:
        """Tokens of all replies, wherever they came from."""
        return total(stage.usage for stage in self.stages)

    @property
    def worth(self) -> int | None:
        """What all replies would cost without the cache, in micro-cents; None where a price is unknown."""
        return add_costs(stage.worth for stage in self.stages)

    @property
    def cost(self) -> int | None:
        """What all requests cost this time, in micro-cents; None where a price is unknown."""
        return add_costs(stage.cost for stage in self.stages)

    @property
    def requests(self) -> int:
        """How many requests left this time."""
        return sum(stage.requests for stage in self.stages)

    @property
    def cached(self) -> bool:
        """Whether no request had to leave."""
        return self.requests == 0
