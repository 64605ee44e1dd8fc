"""What several runs have in common, shared out: times to leave at, calls in flight, the money of a day.

Pure: who keeps the books between processes calls this inside a transaction.
"""

from __future__ import annotations

from typing import NamedTuple

from batchmill.core.quota import Quota
from batchmill.model.commands import MoneyAsk, QuotaAsk
from batchmill.model.events import QuotaLent

HORIZON = 0.25  # seconds ahead that times are lent: what a run holds when it is killed, or leaves unused, is lost
LEAST_WAIT = 0.01  # seconds between two askings
SLOT_WAIT = 0.05  # seconds after which slots that others have are asked for again


class Others(NamedTuple):
    """The other runs that use a quota now: the calls in flight that were lent to them, how many runs they are, and
    whether any wants more than it has, or has none."""

    slots: int = 0
    runs: int = 0
    hungry: bool = False
    starving: bool = False


class Day(NamedTuple):
    """What the other runs of the user spent today, and what they hold; of that, what dead ones will never give back."""

    spent: int = 0
    held: int = 0
    lost: int = 0


def lend(quota: Quota, ask: QuotaAsk, others: Others, now: float) -> QuotaLent:
    """Take in what a run found, and lend it what it wants as far as there is some, in equal parts to all."""
    quota.want(ask.limit)
    quota.took(now, *ask.left)
    quota.give_back(ask.unused, ask.unused_tokens)
    if ask.quickest:
        quota.answered(ask.quickest)
    for told in ask.told:
        quota.hear(told, now)
    slots = _slots(quota.limit.concurrency, ask, others)
    times, again = _times(quota, ask, others, now)
    if slots is not None and slots < ask.slots:
        again = max(again, now + SLOT_WAIT)
    return QuotaLent(ask.quota, quota.limit, quota.paced, times, again, slots, quota.paused_until)


def _times(quota: Quota, ask: QuotaAsk, others: Others, now: float) -> tuple[tuple[float, ...], float]:
    if not quota.paced:
        return (), now
    times: list[float] = []
    for tokens in ask.wanted:
        when = quota.opens(now, tokens)
        if when > now + HORIZON or (times and when > now + HORIZON / (1 + others.runs)):
            return tuple(times), max(now + LEAST_WAIT, min(when, now + 1.0) - HORIZON / 2)
        quota.take(when, tokens)
        times.append(when)
    return tuple(times), now


def _slots(limit: int | None, ask: QuotaAsk, others: Others) -> int | None:
    if limit is None:
        return None
    most = limit
    if others.starving and limit <= others.runs and ask.open:
        most = 0  # more runs than slots: they take turns
    elif others.hungry:
        most = -(-limit // (1 + others.runs))
    return max(0, min(ask.slots, limit - others.slots, most))


def lend_money(ask: MoneyAsk, day: Day, spent_today: int) -> tuple[int, int | None]:
    """How much this invocation may settle and reserve in all, and what that may ever become today (None: no end).

    `spent_today` is the part of `ask.spent` that was settled today.
    """
    in_use = ask.spent + ask.reserved
    if ask.budget is None:
        return in_use + ask.wanted, None
    room = ask.budget - spent_today - ask.reserved - day.spent - day.held
    most = ask.spent + ask.budget - spent_today - day.spent - day.lost
    return in_use + max(0, min(ask.wanted, room)), max(most, 0)
