"""Budgets: hard, since the most that a call can cost is reserved before it leaves. Money is integer micro-cents."""

from __future__ import annotations

from dataclasses import dataclass

from batchmill.model.commands import MoneyAsk

INFINITY = float("inf")
LEAST_WAIT = 0.005  # seconds between two askings
RETRY = 0.25  # seconds after which money that others hold is asked for again, and what is not needed goes back


@dataclass
class Budget:
    """`spent` is settled, `reserved` the most that open calls may still cost: their sum never passes `limit`.

    A part of a larger budget that others use too may grow: `hope` is what its limit can become.
    """

    name: str
    limit: float
    spent: int = 0
    reserved: int = 0
    hope: float = 0.0

    def fits(self, cost: int) -> bool:
        """Whether a call that costs so much at most may leave now."""
        return self.spent + self.reserved + cost <= self.limit

    def may_fit(self, cost: int) -> bool:
        """Whether it may, once open calls settled for less than was reserved, or more is lent."""
        return self.reserved > 0 or self.spent + cost <= self.hope


class Purse:
    """A run's part of the money that all runs of the user may spend today; `part` grows by what is lent."""

    def __init__(self, part: Budget, budget: int | None) -> None:
        self._part, self._budget = part, budget
        self._spoken = -INFINITY
        self._wanted = self._used_before = 0
        self._denied = False

    def due(self, short: int, waiting: bool) -> float:
        """When to ask next, where calls lack so much."""
        part = self._part
        self._wanted = short
        if short:
            return self._spoken + (RETRY if self._denied else LEAST_WAIT)
        return INFINITY if waiting or part.spent + part.reserved >= part.limit else self._spoken + RETRY

    def ask(self, now: float, *, last: bool = False) -> MoneyAsk:
        """The question: what is lacking, and as much again as was used since the last time."""
        part = self._part
        used = part.spent + part.reserved
        ahead, self._used_before = max(used - self._used_before, 0), used
        wanted = 0 if last or not self._wanted else self._wanted + ahead
        self._spoken = now
        return MoneyAsk(part.spent, part.reserved, wanted, self._budget)

    def lent(self, money: int, most: int | None, now: float) -> None:
        """The answer."""
        self._denied = money <= self._part.limit
        self._part.limit = money
        self._part.hope = INFINITY if most is None else most


def begins(name: str, start: str) -> bool:
    """Whether a quota is `start` or lies below it: `openai` holds `openai/gpt-5/key`."""
    return name == start or name.startswith(f"{start}/")
