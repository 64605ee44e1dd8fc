"""When a failed request is tried again, and after how long: decisions alone. Nobody waits here."""

from __future__ import annotations

import random
from collections.abc import Callable

from batchmill.llm.failures import Failure

BASE, MOST = 0.5, 60.0  # seconds
REFUSALS = 30  # by a service at its limit that one question survives, beside its tries
OUTAGE, PROBE = 120.0, 10.0  # seconds: of an outage that a question survives, and at most between two looks at it
_UNAVAILABLE = frozenset({502, 503, 529})
_chance = random.SystemRandom().random  # the global generator belongs to the job, whose draws must not change


def is_unavailable(failure: Failure) -> bool:
    """Whether a failure is of the service, whatever it was asked."""
    return failure.kind == "connect" or failure.status in _UNAVAILABLE


class Patience:
    """What is left of the tries for one question.

    `tries` counts requests; where it is 1, there is no other. Else two kinds are not counted: refusals of a service at
    its limit, since its quota is paused and the next request comes in its turn (up to `REFUSALS`), and requests to a
    service that is down for everybody.
    """

    def __init__(self, tries: int, chance: Callable[[], float] = _chance) -> None:
        self._tries, self._chance = tries, chance
        self._failures = self._refusals = self._outages = 0

    @property
    def is_only(self) -> bool:
        """Whether there is one request, whatever comes of it."""
        return self._tries <= 1

    def wait(self, failure: Failure, outage: bool = False) -> float | None:
        """Seconds until the next request, or None when there is to be none.

        As long as the service said, no longer; else a uniform part of an exponentially growing time ("full jitter",
        M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015).
        """
        if not failure.retry or self.is_only:
            return None
        self._count(failure, outage)
        if self._failures >= self._tries or self._refusals > REFUSALS:
            return None
        if failure.after is not None:
            return failure.after
        number = self._failures + self._refusals + self._outages
        return self._chance() * min(PROBE if outage else MOST, BASE * 2.0**number)

    def _count(self, failure: Failure, outage: bool) -> None:
        if failure.kind == "rate_limited":
            self._refusals += 1
        elif outage:
            self._outages += 1
        else:
            self._failures += 1
