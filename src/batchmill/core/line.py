"""The calls of one quota in one run: who waits, first come first served, and when the next may leave."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from batchmill.core.loan import MOST_WANTED, Loan
from batchmill.core.money import Budget
from batchmill.core.quota import Quota, lower
from batchmill.core.window import Window
from batchmill.model.commands import QuotaAsk, Told
from batchmill.model.events import CallAsked, QuotaLent
from batchmill.model.limits import QuotaLimit

INFINITY = float("inf")


class Line:
    """Admits by pace, pause and calls in flight. Other runs use the same quota where there is a `loan`."""

    def __init__(self, name: str, limit: QuotaLimit, budgets: tuple[Budget, ...], loan: Loan | None) -> None:
        self.name = name
        self.budgets = budgets
        self.quota = Quota()
        self.loan = loan
        self.waiting: OrderedDict[tuple[int, int], CallAsked] = OrderedDict()  # by job and ticket
        self.in_flight = 0
        self._window = Window()
        self._limit = limit
        self._told: QuotaLimit | None = None  # by the last caller
        self.quota.want(limit)

    def add(self, asked: CallAsked) -> None:
        """One more waits."""
        if asked.limit is not None and asked.limit != self._told:
            self._told = asked.limit
            self._limit = lower(self._limit, asked.limit)
            self.quota.want(self._limit)
        self.waiting[asked.job, asked.ticket] = asked

    @property
    def head(self) -> CallAsked:
        """Who is next."""
        return next(iter(self.waiting.values()))

    def opens(self, now: float, asked: CallAsked) -> float:
        """When the next call, `asked`, may leave, as far as is known; infinity while slots are full."""
        if self.in_flight >= self.room:
            return INFINITY
        tokens = asked.tokens
        if self.loan is None:
            return self.quota.opens(now, tokens)
        return max(self.quota.paused_until, self.loan.opens(now, tokens))

    @property
    def room(self) -> float:
        """How many calls may be in flight."""
        if self.loan is not None:
            slots, limited = self.loan.slots, self.loan.paced
        else:
            slots, limited = self.quota.limit.concurrency, self.quota.paced
        if slots is not None:
            return slots
        return INFINITY if limited else self._window.size

    def lacking(self, asked: CallAsked) -> list[Budget]:
        """The budgets that have not enough for a call now."""
        return [budget for budget in self.budgets if not budget.fits(asked.cost)]

    def cost_of_waiting(self) -> int:
        """The most that the next calls may cost."""
        return sum(asked.cost for asked in islice(self.waiting.values(), MOST_WANTED))

    def leave(self, now: float, asked: CallAsked) -> None:
        """A call leaves: the next one, or one that did not wait for its turn."""
        del self.waiting[asked.job, asked.ticket]
        self.in_flight += 1
        if self.loan is None:
            self.quota.take(now, asked.tokens)
        else:
            self.loan.take(asked.tokens)

    def ended(self, now: float, asked: CallAsked, tokens: int, sent: bool, failed: bool) -> None:
        """A call is over; it used so many tokens, or was never `sent`."""
        self.in_flight -= 1
        unused = asked.tokens - (tokens if sent else 0)
        if self.loan is not None:
            self.loan.give_back(sent, unused)
        elif unused or not sent:
            self.quota.give_back(not sent, unused)
        if sent:
            self._window.answered(now, not failed, self.in_flight, bool(self.waiting))

    def answered(self, seconds: float) -> None:
        """An answer took so long."""
        if self.loan is None:
            self.quota.answered(seconds)
        else:
            self.loan.answered(seconds)

    def hear(self, told: Told, now: float) -> None:
        """A service told something."""
        if self.loan is None:
            self.quota.hear(told, now)
        else:
            self.loan.hear(told)
            self.quota.paused_until = max(self.quota.paused_until, told.seen.pause_until)

    # --- what runs share

    def due(self, now: float) -> float:
        """When to talk to the lender next."""
        return INFINITY if self.loan is None else self.loan.due(now, len(self.waiting), self.in_flight)

    def ask(self, now: float) -> QuotaAsk:
        """What to ask the lender."""
        assert self.loan is not None
        waiting = [asked.tokens for asked in islice(self.waiting.values(), MOST_WANTED)]
        return self.loan.ask(self.name, self._limit, now, waiting, self.in_flight)

    def farewell(self, now: float) -> QuotaAsk:
        """Give everything back."""
        assert self.loan is not None
        return self.loan.farewell(self.name, self._limit, now)

    def lent(self, lent: QuotaLent) -> None:
        """What the lender answered."""
        if self.loan is not None:
            self.loan.lent(lent)
            self.quota.paused_until = max(self.quota.paused_until, lent.paused_until)

    def stand_alone(self) -> None:
        """Nothing can be shared any more: the limits hold for this run."""
        if self.loan is not None:
            self.quota.want(lower(self._limit, self.loan.limit))
            self.loan = None
