"""A run's share of a quota that other runs use too: what was lent, what is to be asked for, and when."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from batchmill.model.commands import QuotaAsk, Told
from batchmill.model.events import QuotaLent
from batchmill.model.limits import QuotaLimit

INFINITY = float("inf")
MOST_WANTED = 256  # times in one asking
AHEAD = 0.1  # seconds of calls, at their present rate, that times are asked for before they come
STALE = 0.05  # seconds after which a time that nobody used goes back
KEEP = 0.25  # seconds between two askings while slots are lent
LISTEN = 1.0  # and while there is nothing but pauses to hear of
LEAST_WAIT = 0.005


class Loan:
    """Times at which calls may leave, each for so many tokens, and slots in flight."""

    def __init__(self) -> None:
        self.limit = QuotaLimit()
        self.slots: int | None = 0  # None: as many as it likes
        self.paced = True
        self._times: deque[tuple[float, int]] = deque()
        self._spare = 0  # tokens that were lent and not used
        self._unused = 0  # times that go back
        self._free = self._free_tokens = 0  # of calls that needed or had no time
        self._told: list[Told] = []
        self._quickest = 0.0  # seconds of any answer; 0: there was none
        self._again = self._spoken = -INFINITY
        self._taken = 0  # calls since the last answer
        self._rate = 0.0  # calls a second
        self._typical = 0  # tokens of a call
        self._wanted: tuple[int, ...] = ()  # in the question that is not answered yet

    def opens(self, now: float, tokens: int) -> float:
        """When a call may leave; infinity where nothing is lent."""
        if not self.paced:
            return now
        if not self._times:
            return INFINITY
        when, lent = self._times[0]
        if tokens > lent + self._spare:  # what was asked for was another call
            self._return_times()
            return INFINITY
        return max(now, when)

    def take(self, tokens: int) -> None:
        """A call leaves, at its time or without one."""
        self._taken += 1
        self._typical = tokens
        if self.paced and self._times:
            self._spare += self._times.popleft()[1] - tokens
        else:
            self._free += 1
            self._free_tokens += tokens

    def give_back(self, left: bool, tokens: int) -> None:
        """A call used fewer tokens than it took, or did not leave at all."""
        self._spare += tokens
        self._unused += not left

    def answered(self, seconds: float) -> None:
        """An answer took so long."""
        self._quickest = min(self._quickest or seconds, seconds)

    def hear(self, told: Told) -> None:
        """Pass on what the service told; a refusal or a pause makes what was lent worthless."""
        self._told.append(told)
        if told.seen.refused or told.seen.pause_until > told.seen.at:
            self._return_times()
            self.paced = True

    def _return_times(self) -> None:
        self._unused += len(self._times)
        self._spare += sum(tokens for _, tokens in self._times)
        self._times.clear()
        self._again = -INFINITY

    # --- talking to the lender

    def due(self, now: float, waiting: int, open_calls: int) -> float:
        """When to ask next, as far as is known now."""
        soonest = self._spoken + LEAST_WAIT
        if self._told:
            return soonest
        due = INFINITY
        if waiting or open_calls:
            due = self._spoken + (LISTEN if self.slots is None else KEEP)
        elif self.slots:
            due = soonest
        if self._short_of_times(waiting) or self._short_of_slots(waiting, open_calls):
            due = min(due, max(self._again, soonest))
        if self._times and not waiting:
            due = min(due, self._times[0][0] + STALE)
        return due

    def _short_of_times(self, waiting: int) -> bool:
        return self.paced and (waiting > 0 or self._taken > 0) and len(self._times) < self._needed(waiting)

    def _needed(self, waiting: int) -> int:
        """Times that should be at hand: for those who wait, and half of those that are asked for ahead."""
        return min(waiting, MOST_WANTED) if waiting else int(self._rate * AHEAD / 2)

    def _short_of_slots(self, waiting: int, open_calls: int) -> bool:
        return self.slots is not None and waiting > 0 and open_calls >= self.slots

    def ask(self, quota: str, limit: QuotaLimit, now: float, waiting: Sequence[int], open_calls: int) -> QuotaAsk:
        """The question; `waiting` are the tokens of the calls that wait."""
        while self._times and not waiting and self._times[0][0] + STALE <= now:
            self._spare += self._times.popleft()[1]
            self._unused += 1
        self._rate += (self._taken / max(now - self._spoken, LEAST_WAIT) - self._rate) / 2
        self._wanted = self._next(waiting) if self.paced else ()
        slots = open_calls + len(waiting)
        free, back, told = (self._free, self._free_tokens), (self._unused, self._spare), tuple(self._told)
        self._told.clear()
        self._taken = self._unused = self._spare = self._free = self._free_tokens = 0
        self._spoken = now
        return QuotaAsk(quota, limit, self._wanted, free, *back, open_calls, slots, told, self._quickest)

    def farewell(self, quota: str, limit: QuotaLimit, now: float) -> QuotaAsk:
        """The last message: all comes back."""
        self._return_times()
        return self.ask(quota, limit, now, (), 0)._replace(wanted=())

    def _next(self, waiting: Sequence[int]) -> tuple[int, ...]:
        have = len(self._times)
        ahead = int(self._rate * AHEAD) - max(have - len(waiting), 0)
        return (*waiting[have:MOST_WANTED], *[self._typical] * min(ahead, MOST_WANTED))

    def lent(self, lent: QuotaLent) -> None:
        """The answer."""
        self.limit, self.slots, self.paced, self._again = lent.limit, lent.slots, lent.paced, lent.again
        self._times.extend(zip(lent.times, self._wanted, strict=False))
        if self._told:  # the lender did not know that yet
            self._return_times()
            self.paced = True
