"""Metered calls: which may leave now, under the limits of their quota and the run's budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from batchmill.core.pace import Pacer
from batchmill.model.events import CallAsked
from batchmill.model.limits import QuotaLimit, Rate

INFINITY = float("inf")


class Granted(NamedTuple):
    """A call that may leave, under the number that it has in the run."""

    call: int
    asked: CallAsked


@dataclass
class Quota:
    """One outside limit: its pace, its calls in flight, and who waits, first come first served."""

    limit: QuotaLimit = field(default_factory=QuotaLimit)
    requests: Pacer | None = None
    tokens: Pacer | None = None
    in_flight: int = 0
    paused_until: float = -INFINITY
    waiting: deque[CallAsked] = field(default_factory=deque)

    def tighten(self, limit: QuotaLimit) -> None:
        """Take over what is known of the limit; what is None stays as it was."""
        self.limit = QuotaLimit(
            limit.rate or self.limit.rate,
            limit.tokens or self.limit.tokens,
            limit.concurrency or self.limit.concurrency,
        )
        self.requests = _pacer(self.requests, self.limit.rate, burst=1.0)
        # a bucket of one second's tokens: a single large call must be able to pass
        rate = self.limit.tokens
        self.tokens = _pacer(self.tokens, rate, burst=max(1.0, rate.amount / rate.seconds) if rate else 1.0)

    def opens(self, now: float) -> float:
        """When the first waiting call may leave, as far as pace tells; infinity while slots are full."""
        if self.limit.concurrency is not None and self.in_flight >= self.limit.concurrency:
            return INFINITY
        when = max(now, self.paused_until)
        if self.requests is not None:
            when = max(when, self.requests.when(now))
        if self.tokens is not None:
            when = max(when, self.tokens.when(now, self.waiting[0].tokens))
        return when

    def take(self, now: float, tokens: int) -> None:
        """One call leaves."""
        self.in_flight += 1
        if self.requests is not None:
            self.requests.take(now)
        if self.tokens is not None:
            self.tokens.take(now, tokens)


def _pacer(old: Pacer | None, rate: Rate | None, burst: float) -> Pacer | None:
    if rate is None or old is None:
        return Pacer(rate, burst) if rate is not None else None
    old.retune(rate)
    return old


class CallDesk:
    """Admits calls. Money is integer micro-cents: `spent` is settled, `reserved` is the most that open calls
    may still cost; their sum never passes `budget` (None: no budget).
    """

    def __init__(self, budget: int | None, quotas: Mapping[str, QuotaLimit], spent: int, next_call: int) -> None:
        self.budget = budget
        self.spent = spent
        self.reserved = 0
        self.exhausted = False
        self._next_call = next_call
        self._quotas: dict[str, Quota] = {}
        self._open: dict[int, dict[int, Granted]] = {}  # job -> ticket -> call
        for name, limit in quotas.items():
            self._quota(name).tighten(limit)

    def _quota(self, name: str) -> Quota:
        return self._quotas.setdefault(name, Quota())

    def ask(self, asked: CallAsked) -> None:
        """Queue a call."""
        quota = self._quota(asked.quota)
        if asked.limit is not None:
            quota.tighten(asked.limit)
        quota.waiting.append(asked)

    def admit(self, now: float) -> tuple[list[Granted], list[CallAsked]]:
        """The calls that may leave now, and those that no money will ever be left for."""
        granted: list[Granted] = []
        refused: list[CallAsked] = []
        for quota in self._quotas.values():
            while quota.waiting and quota.opens(now) <= now and not self._must_wait_for_money(quota):
                asked = quota.waiting.popleft()
                if self._affordable(asked.cost):
                    granted.append(self._grant(quota, asked, now))
                else:
                    self.exhausted = True
                    refused.append(asked)
        return granted, refused

    def _affordable(self, cost: int) -> bool:
        return self.budget is None or self.spent + self.reserved + cost <= self.budget

    def _must_wait_for_money(self, quota: Quota) -> bool:
        """Whether an open call may yet settle for less, so that the next one can be paid."""
        return self.reserved > 0 and not self._affordable(quota.waiting[0].cost)

    def _grant(self, quota: Quota, asked: CallAsked, now: float) -> Granted:
        granted = Granted(self.next_number(), asked)
        self.reserved += asked.cost
        quota.take(now, asked.tokens)
        self._open.setdefault(asked.job, {})[asked.ticket] = granted
        return granted

    def next_number(self) -> int:
        """A number that no call of the run has."""
        self._next_call += 1
        return self._next_call - 1

    def settle(self, job: int, ticket: int, tokens: int, cost: int, sent: bool) -> Granted | None:
        """Close an open call at its true cost; returns it. One that still waits is withdrawn: None."""
        calls = self._open.get(job, {})
        granted = calls.pop(ticket, None)
        if granted is None:
            self.withdraw(job, ticket)
            return None
        if not calls:
            del self._open[job]
        quota = self._quota(granted.asked.quota)
        quota.in_flight -= 1
        self.reserved -= granted.asked.cost
        self.spent += cost if sent else 0
        if quota.tokens is not None:
            quota.tokens.give_back(granted.asked.tokens - (tokens if sent else 0))
        return granted

    def withdraw(self, job: int, ticket: int | None = None) -> None:
        """A job waits no longer for a call (None: for any)."""
        for quota in self._quotas.values():
            if any(asked.job == job for asked in quota.waiting):
                quota.waiting = deque(a for a in quota.waiting if a.job != job or ticket not in (None, a.ticket))

    def forget(self, job: int, unsent: Container[int] = ()) -> list[Granted]:
        """A job's attempt is over without settling: its waiting calls vanish, its open ones count as spent in full,
        but for those whose grant never left (tickets in `unsent`)."""
        self.withdraw(job)
        closed = []
        for ticket, granted in list(self._open.get(job, {}).items()):
            asked = granted.asked
            self.settle(job, ticket, asked.tokens, asked.cost, ticket not in unsent)
            closed.append(granted)
        return closed

    def limit_seen(self, quota: str, limit: QuotaLimit | None, pause_until: float) -> None:
        """A service told its limit, or to wait."""
        entry = self._quota(quota)
        if limit is not None:
            entry.tighten(limit)
        entry.paused_until = max(entry.paused_until, pause_until)

    def next_wakeup(self, now: float) -> float:
        """When a waiting call may next leave; infinity if only a settlement can help."""
        waiting = [q for q in self._quotas.values() if q.waiting and not self._must_wait_for_money(q)]
        return min((q.opens(now) for q in waiting), default=INFINITY)

    @property
    def waiting(self) -> bool:
        """Whether a call waits."""
        return any(quota.waiting for quota in self._quotas.values())

    @property
    def used(self) -> bool:
        """Whether any quota is known: else there was no call."""
        return bool(self._quotas)
