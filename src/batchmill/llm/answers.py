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

    def __init__(self, message: str, *, failure: str, model: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.failure, self.model = failure, model
        self.kind = "invalid" if failure == "invalid" else "error"
        if hint:
            self.add_note(f"hint: {hint}")


def add_costs(costs: Iterable[int | None]) -> int | None:
    """The sum of micro-cents; None where one is unknown."""
    known = list(costs)
    return None if None in known else sum(cost or 0 for cost in known)


@dataclass(frozen=True, slots=True)
class Stage:
    """What the requests to one model of a cascade came to. Money in micro-cents, None where a price is unknown."""

    model: str
    requests: int
    cached: int
    usage: Usage
    cost: int | None
    accepted: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer.

    `value` is the checked value where there was a schema: plain JSON data, or an instance of the pydantic model.
    `rung` says how it was come by: `valid`, `repaired`, `asked_again` or `escalated`; empty without a schema.
    `saved` are the micro-cents that a cascade saved against asking its last model at once. `replied` and `worth` are
    tokens and micro-cents of all replies, also of those that came from the cache: they are the same whenever the same
    is answered.
    """

    text: str
    value: Any
    model: str
    finish: Finish
    rung: str
    stages: tuple[Stage, ...]
    saved: int = 0
    replied: Usage = Usage()
    worth: int | None = None

    @property
    def usage(self) -> Usage:
        """Tokens of all requests."""
        parts = [stage.usage for stage in self.stages]
        return Usage(sum(u.input for u in parts), sum(u.output for u in parts), sum(u.cached for u in parts))

    @property
    def cost(self) -> int | None:
        """Micro-cents of all requests; None where a price is unknown. Replies of the cache cost nothing."""
        return add_costs(stage.cost for stage in self.stages)

    @property
    def requests(self) -> int:
        """How many requests left."""
        return sum(stage.requests for stage in self.stages)

    @property
    def cached(self) -> bool:
        """Whether no request had to leave."""
        return self.requests == 0
