"""One outside limit: what is known of it, and what is used of it. The desk of a run keeps one, or, where runs share it,
whoever lends to them."""

from __future__ import annotations

from typing import Any

from batchmill.core.flow import Flow
from batchmill.model.commands import Told
from batchmill.model.limits import QuotaLimit, Rate

INFINITY = float("inf")
DAY = 86_400.0
UNLIMITED = QuotaLimit()


class Quota:
    """Requests and tokens of a minute and of a day, and the pauses that the service asks for."""

    def __init__(self) -> None:
        self.wanted = UNLIMITED  # by whoever asks
        self.seen = UNLIMITED  # as the service told
        self.limit = UNLIMITED  # what holds: the lower of the two
        self.requests = Flow()
        self.tokens = Flow(share=1.0, first=INFINITY, tries=False)
        self.paused_until = 0.0
        self.day_ends = INFINITY  # when the next day begins
        self.day_requests = self.day_tokens = 0  # used today

    def want(self, limit: QuotaLimit) -> None:
        """Use no more than this."""
        self.wanted = limit
        self._know()

    def _know(self) -> None:
        limit = self.limit = lower(self.wanted, self.seen)
        self.requests.know(limit.rate, limit.burst, confirmed=self.seen.rate is not None)
        self.tokens.know(limit.tokens)

    @property
    def paced(self) -> bool:
        """Whether calls may have to wait for anything but a pause."""
        limit = self.limit
        days = limit.day_requests is not None or limit.day_tokens is not None
        return days or self.requests.speed is not None or self.tokens.speed is not None

    def opens(self, now: float, tokens: float) -> float:
        """The earliest time at which a call with so many tokens may leave."""
        when = max(now, self.paused_until)
        if self._day_is_used(now, tokens):
            when = max(when, self.day_ends)
        return max(when, self.requests.when(now), self.tokens.when(now, tokens))

    def take(self, now: float, tokens: float) -> None:
        """One call leaves."""
        self.took(now, 1, tokens)

    def took(self, now: float, requests: float, tokens: float) -> None:
        """So many calls have left."""
        self.day_requests += int(requests)
        self.day_tokens += int(tokens)
        self.requests.take(now, requests)
        self.tokens.take(now, tokens)

    def give_back(self, requests: float, tokens: float) -> None:
        """Calls that did not leave, and tokens that were not used."""
        self.day_requests -= int(requests)
        self.day_tokens -= int(tokens)
        if requests:
            self.requests.give_back(requests)
        if tokens:
            self.tokens.give_back(tokens)

    def answered(self, seconds: float) -> None:
        """An answer, or a refusal, took so long."""
        self.requests.answered(seconds)
        self.tokens.answered(seconds)

    def hear(self, told: Told, now: float) -> None:
        """Learn from what a service told."""
        seen = told.seen
        if told.left is not None and seen.refused and now > told.left:
            self.answered(now - told.left)
        if seen.limit is not None:
            self.seen = merged(seen.limit, self.seen)
            self._know()
        self.paused_until = max(self.paused_until, seen.pause_until)
        if seen.refused and told.left is not None:
            self._refused(told, told.left, now)
        elif seen.remaining is not None:
            self.requests.remaining(seen.remaining)
        if seen.remaining_tokens is not None:
            self.tokens.remaining(seen.remaining_tokens)

    def _refused(self, told: Told, left: float, now: float) -> None:
        """Too many tokens, if that is what ran out, or all that is limited; else too many requests."""
        remaining = told.seen.remaining_tokens
        ran_out = remaining is not None and remaining < told.tokens
        if self.tokens.speed is not None and (ran_out or self.requests.speed is None):
            self.tokens.refused(left, now, told.tokens, self.paused_until)
        else:
            self.requests.refused(left, now, 1.0, self.paused_until)

    def _day_is_used(self, now: float, tokens: float) -> bool:
        if now >= self.day_ends:
            self.day_ends += DAY * (1 + (now - self.day_ends) // DAY)
            self.new_day()
        limit = self.limit
        if limit.day_requests is not None and self.day_requests >= limit.day_requests:
            return True
        # a call that is larger than a whole day's tokens has a day to itself
        return limit.day_tokens is not None and 0 < self.day_tokens > limit.day_tokens - tokens

    def dump(self) -> dict[str, Any]:
        """The state as JSON values, but for what is wanted."""
        return {
            "seen": self.seen,
            "requests": self.requests.dump(),
            "tokens": self.tokens.dump(),
            "paused_until": self.paused_until,
            "day": (self.day_requests, self.day_tokens),
        }

    def new_day(self) -> None:
        """Nothing is used yet."""
        self.day_requests = self.day_tokens = 0
        self.requests.forgive()
        self.tokens.forgive()

    def restart(self, now: float) -> None:
        """The clock began anew: what is known stays, what is timed is forgotten."""
        self.requests.restart(now)
        self.tokens.restart(now)
        self.paused_until = 0.0

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave; `want` comes after it. Raises LookupError, TypeError or ValueError."""
        rate, tokens, *rest = state["seen"]
        self.seen = QuotaLimit(rate and Rate(*rate), tokens and Rate(*tokens), *rest)
        self.requests.load(state["requests"])
        self.tokens.load(state["tokens"])
        self.paused_until = float(state["paused_until"])
        self.day_requests, self.day_tokens = state["day"]


def lower(one: QuotaLimit, other: QuotaLimit) -> QuotaLimit:
    """Each part as the stricter of two says."""
    if other == UNLIMITED or one == other:
        return one
    return QuotaLimit._make(_less(a, b) for a, b in zip(one, other, strict=True))


def merged(new: QuotaLimit, old: QuotaLimit) -> QuotaLimit:
    """What is new, and of the old what the new does not tell."""
    return QuotaLimit._make(b if a is None else a for a, b in zip(new, old, strict=True))


def _less(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return a if _speed(a) <= _speed(b) else b


def _speed(part: Rate | float) -> float:
    return part.amount / part.seconds if isinstance(part, Rate) else part
