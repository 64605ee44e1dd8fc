"""The limits that the fake service enforces: token buckets for requests and tokens a minute, a day's requests.

Numbers and times only; how a refusal is worded belongs to the families.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

DAY = 86_400.0
Kind = Literal["requests", "tokens", "day", "concurrency"]
_SLACK = 1e-9


class Refusal(NamedTuple):
    """Which limit a request violated, and the seconds after which it would be admitted."""

    kind: Kind
    wait: float


class Level(NamedTuple):
    """A bucket as a reply's headers tell it: the limit a minute, what is left, and seconds until it is full."""

    limit: int
    remaining: int
    reset: float


class Bucket:
    """A token bucket: `capacity` at once, `per_minute` in the long run."""

    def __init__(self, per_minute: float, capacity: float, now: float) -> None:
        self.per_minute = per_minute
        self.capacity = capacity
        self._rate = per_minute / 60
        self._level = capacity
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` (or a full bucket, if it is more than that) is there; 0 if it is."""
        self._level = min(self.capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        missing = min(amount, self.capacity) - self._level
        return missing / self._rate if missing > _SLACK else 0.0

    def take(self, amount: float) -> None:
        """Take `amount`; more than a full bucket leaves it in debt."""
        self._level -= amount

    def level(self) -> Level:
        """As of the last `wait`."""
        missing = self.capacity - self._level
        return Level(int(self.per_minute), max(0, math.floor(self._level + _SLACK)), missing / self._rate)


class Quota:
    """The buckets of one key and model. None: there is no such limit."""

    def __init__(self, requests: Bucket | None, tokens: Bucket | None, day: int | None) -> None:
        self.requests = requests
        self.tokens = tokens
        self._day = day
        self._today = 0
        self._date = -1

    def admit(self, tokens: int, now: float, wall: float) -> Refusal | None:
        """Take one request of so many tokens, or nothing and tell why. `wall` is Unix time; days are of UTC."""
        if int(wall // DAY) != self._date:
            self._date, self._today = int(wall // DAY), 0
        if self._day is not None and self._today >= self._day:
            return Refusal("day", DAY - wall % DAY)
        requests, of_tokens = self.requests, self.tokens
        if requests is not None and (wait := requests.wait(1, now)):
            return Refusal("requests", wait)
        if of_tokens is not None and (wait := of_tokens.wait(tokens, now)):
            return Refusal("tokens", wait)
        self._today += 1
        if requests is not None:
            requests.take(1)
        if of_tokens is not None:
            of_tokens.take(tokens)
        return None
