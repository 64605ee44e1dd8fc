"""Metered calls: which may leave now, under the limits of their quota and the budgets."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from batchmill.core.line import Line
from batchmill.core.loan import Loan
from batchmill.core.money import Budget, Purse, begins
from batchmill.core.policy import Policy
from batchmill.model.commands import Borrow, Told
from batchmill.model.events import CallAsked, Lent, LimitSeen
from batchmill.model.limits import QuotaLimit

INFINITY = float("inf")


class Granted(NamedTuple):
    """A call that may leave, under the number that it has in the run, since `at`."""

    call: int
    asked: CallAsked
    at: float
    line: Line


class CallDesk:
    """Admits calls. Each is reserved in the budget of the run, in those for quotas that begin like its own, and in the
    day's; `exhausted` names the one that has nothing left for a call."""

    def __init__(self, policy: Policy) -> None:
        limits = policy.limits
        self.exhausted = ""
        self.shared = policy.shared
        self._policy = policy
        self._next_call = policy.next_call
        self._lines: dict[str, Line] = {}
        self._lines_of: dict[int, dict[int, Line]] = {}  # job -> ticket -> where a call waits
        self._open: dict[int, dict[int, Granted]] = {}  # job -> ticket -> call
        self._asking = False  # the lender has not answered yet
        self.total = Budget("budget", _or_endless(limits.budget), policy.spent)
        self.day = Budget("day's budget", _or_endless(limits.budget_per_day), policy.spent_today)
        if self.shared:  # a part of the day's money is lent
            self.day = Budget(self.day.name, 0, hope=INFINITY)
        self._purse = Purse(self.day, limits.budget_per_day)
        self._parts = {
            start: Budget(f"budget of `{start}`", most, sum(n for quota, n in policy.spent_of if begins(quota, start)))
            for start, most in limits.budgets
        }

    @property
    def spent(self) -> int:
        """Micro-cents settled, with those of earlier invocations."""
        return self.total.spent

    @property
    def reserved(self) -> int:
        """The most micro-cents that open calls may still cost."""
        return self.total.reserved

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return sum(len(line.waiting) for line in self._lines.values())

    @property
    def calls(self) -> int:
        """How many calls wait or are in flight."""
        return sum(len(line.waiting) + line.in_flight for line in self._lines.values())

    @property
    def used(self) -> bool:
        """Whether any quota is known: else there was no call."""
        return bool(self._lines)

    def next_number(self) -> int:
        """A number that no call of the run has."""
        self._next_call += 1
        return self._next_call - 1

    def must_know_price(self, quota: str) -> bool:
        """Whether a budget applies to the calls of a quota."""
        limits = self._policy.limits
        given = limits.budget is not None or limits.budget_per_day is not None
        return given or any(begins(quota, start) for start in self._parts)

    # --- calls

    def _line(self, name: str) -> Line:
        line = self._lines.get(name)
        if line is None:
            budgets = [budget for start, budget in self._parts.items() if begins(name, start)]
            if self.day.limit < INFINITY:
                budgets.append(self.day)
            limit = _longest(self._policy.limits.quotas, name)
            line = self._lines[name] = Line(name, limit, (self.total, *budgets), Loan() if self.shared else None)
            line.quota.day_ends = self._policy.day_ends
        return line

    def ask(self, asked: CallAsked) -> None:
        """Queue a call."""
        line = self._line(asked.quota)
        line.add(asked)
        self._lines_of.setdefault(asked.job, {})[asked.ticket] = line

    def admit(self, now: float) -> tuple[list[Granted], list[CallAsked]]:
        """The calls that may leave now, and those that no money will ever be left for."""
        granted: list[Granted] = []
        refused: list[CallAsked] = []
        for line in self._lines.values():
            while line.waiting and line.opens(now, asked := line.head) <= now:
                if not (lacking := line.lacking(asked)):
                    granted.append(self._grant(line, asked, now))
                    continue
                spent = next((budget for budget in lacking if not budget.may_fit(asked.cost)), None)
                if spent is None:
                    break
                self.exhausted = f"{spent.name} spent"
                refused.append(asked)
                self.withdraw(asked.job, asked.ticket)
        return granted, refused

    def has_left(self, job: int, ticket: int, now: float) -> Granted | None:
        """Take note that a call left while it waited, as inline ones do; None where it does not wait."""
        line = self._lines_of.get(job, {}).get(ticket)
        return None if line is None else self._grant(line, line.waiting[job, ticket], now)

    def _grant(self, line: Line, asked: CallAsked, now: float) -> Granted:
        line.leave(now, asked)
        self._waits_no_more(asked.job, asked.ticket)
        for budget in line.budgets:
            budget.reserved += asked.cost
        granted = Granted(self.next_number(), asked, now, line)
        self._open.setdefault(asked.job, {})[asked.ticket] = granted
        return granted

    def settle(
        self, job: int, ticket: int, tokens: int, cost: int, sent: bool, now: float = 0.0, failed: bool = False
    ) -> Granted | None:
        """Close an open call at its true cost; returns it. One that still waits is withdrawn: None."""
        calls = self._open.get(job, {})
        granted = calls.pop(ticket, None)
        if granted is None:
            self.withdraw(job, ticket)
            return None
        if not calls:
            del self._open[job]
        for budget in granted.line.budgets:
            budget.reserved -= granted.asked.cost
            budget.spent += cost if sent else 0
        granted.line.ended(now, granted.asked, tokens, sent, failed)
        if sent and not failed and now > granted.at:
            granted.line.answered(now - granted.at)
        return granted

    def withdraw(self, job: int, ticket: int | None = None) -> None:
        """A job waits no longer for a call (None: for any)."""
        lines = self._lines_of.get(job, {})
        for one in list(lines) if ticket is None else [ticket]:
            if one in lines:
                del lines[one].waiting[job, one]
                self._waits_no_more(job, one)

    def _waits_no_more(self, job: int, ticket: int) -> None:
        lines = self._lines_of[job]
        del lines[ticket]
        if not lines:
            del self._lines_of[job]

    def forget(self, job: int, unsent: Container[int] = (), now: float = 0.0) -> list[Granted]:
        """A job's attempt is over without settling: its waiting calls vanish, its open ones count as spent in full,
        but for those whose grant never left (tickets in `unsent`)."""
        self.withdraw(job)
        closed = []
        for ticket, granted in list(self._open.get(job, {}).items()):
            asked = granted.asked
            self.settle(job, ticket, asked.tokens, asked.cost, ticket not in unsent, now, failed=True)
            closed.append(granted)
        return closed

    def correct(self, quota: str, difference: int) -> None:
        """A call that was settled came to more or less. The day's budget stays: it may have been another day's."""
        self.total.spent += difference
        for start, budget in self._parts.items():
            budget.spent += difference if begins(quota, start) else 0

    def limit_seen(self, seen: LimitSeen, now: float) -> None:
        """A service told its limit, to wait, or that a call was one too many."""
        granted = self._open.get(seen.job, {}).get(seen.ticket)
        told = Told(seen) if granted is None else Told(seen, granted.at, granted.asked.tokens)
        self._line(seen.quota).hear(told, now)

    # --- what runs share

    def borrow(self, now: float) -> Borrow | None:
        """What to ask the lender now, if anything."""
        if self._asking or not self.shared:
            return None
        money = self._purse.ask(now) if self._purse.due(self._short_of_money(), self.waiting > 0) <= now else None
        due = [line for line in self._lines.values() if line.due(now) <= now]
        if not due and money is None:
            return None
        self._asking = True
        return Borrow(tuple(line.ask(now) for line in due), money)

    def _short_of_money(self) -> int:
        """What calls that are next in their lines lack of the day's money."""
        lines = [line for line in self._lines.values() if line.waiting and not self.day.fits(line.head.cost)]
        return sum(line.cost_of_waiting() for line in lines)

    def lent(self, lent: Lent, now: float) -> None:
        """The lender's answer."""
        self._asking = False
        if lent.broken:
            self._stand_alone()
        for one in lent.quotas:
            self._line(one.quota).lent(one)
        if lent.money is not None:
            self._purse.lent(lent.money, lent.most, now)

    def _stand_alone(self) -> None:
        self.shared = False
        self.day.limit = self.day.hope = _or_endless(self._policy.limits.budget_per_day)
        self.day.spent += self._policy.spent_today
        for line in self._lines.values():
            line.stand_alone()

    def farewell(self, now: float) -> Borrow:
        """Give back all that was lent, as the run ends."""
        lines = [line for line in self._lines.values() if line.loan is not None]
        return Borrow(tuple(line.farewell(now) for line in lines), self._purse.ask(now, last=True))

    def next_wakeup(self, now: float) -> float:
        """When a waiting call may next leave, or something is to be asked; infinity if only an event can help."""
        heads = [(line, line.head) for line in self._lines.values() if line.waiting]
        soonest = min((line.opens(now, head) for line, head in heads if not line.lacking(head)), default=INFINITY)
        if self._asking or not self.shared:
            return soonest
        due = min((line.due(now) for line in self._lines.values()), default=INFINITY)
        return min(soonest, due, self._purse.due(self._short_of_money(), self.waiting > 0))


def _or_endless(money: int | None) -> float:
    return INFINITY if money is None else money


def _longest(limits: Sequence[tuple[str, QuotaLimit]], quota: str) -> QuotaLimit:
    """What was set for a quota, or for the longest beginning of its name."""
    fitting = [(len(start), limit) for start, limit in limits if begins(quota, start)]
    return max(fitting, default=(0, QuotaLimit()), key=lambda found: found[0])[1]
