"""Which endpoint of a model the next request goes to: even work for all, none for one that just failed.

Nothing here connects anywhere, and nothing waits: where every endpoint failed, the one that rested longest is tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from batchmill.llm.failures import Failure
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.retries import OUTAGE, is_unavailable

_FIRST_REST, _LONGEST_REST = 1.0, 60.0  # seconds for which an endpoint that failed is avoided
_USELESS_REST = 300.0  # the same where its key, account or day's quota is of no use
_BROKEN = frozenset({"connect", "timeout", "reset", "server"})
USELESS = frozenset({"auth", "no_money", "exhausted"})


class Way:
    """One endpoint, and how it has done."""

    __slots__ = ("answers", "down_since", "endpoint", "failures", "in_use", "rests_until")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.in_use = self.failures = self.answers = 0
        self.down_since = self.rests_until = 0.0

    @property
    def load(self) -> float:
        """Requests that wait for it or are on their way, for its weight."""
        return (self.in_use + 1) / self.endpoint.weight


class Balancer:
    """The endpoints of one model. Not for several threads at once."""

    def __init__(self, endpoints: Sequence[Endpoint], clock: Callable[[], float] = time.monotonic) -> None:
        self.ways = tuple(Way(endpoint) for endpoint in endpoints)
        self._clock = clock
        self._turn = 0

    def pick(self) -> Way:
        """The least busy way that does not rest."""
        if len(self.ways) == 1:
            return self.ways[0]
        now = self._clock()
        self._turn = (self._turn + 1) % len(self.ways)
        ways = self.ways[self._turn :] + self.ways[: self._turn]  # equal ones take turns
        awake = [way for way in ways if way.rests_until <= now]
        return min(awake, key=lambda way: way.load) if awake else min(ways, key=lambda way: way.rests_until)

    def went_well(self, way: Way) -> None:
        """It answered."""
        way.answers += 1
        way.failures, way.rests_until = 0, 0.0

    def failed(self, way: Way, failure: Failure) -> bool:
        """It did not, in this way. Returns whether the next request would go by another one that does not rest."""
        now = self._clock()
        if failure.kind in _BROKEN:
            if not way.failures:
                way.down_since = now
            way.rests_until = now + min(_LONGEST_REST, _FIRST_REST * 2.0 ** min(way.failures, 10))
            way.failures += 1
        elif failure.kind in USELESS or failure.kind == "rate_limited":
            rest = _USELESS_REST if failure.kind in USELESS else failure.after or _FIRST_REST
            for other in self.ways:
                if other.endpoint.quota == way.endpoint.quota:
                    other.rests_until = now + rest
        else:
            return False
        return any(other.rests_until <= now for other in self.ways)

    def is_down(self, way: Way, failure: Failure, answers: int) -> bool:
        """Whether a failed way is down for everybody: nobody had an answer since there were `answers`, though once
        there were some, and not for too long."""
        alone = 0 < way.answers == answers
        return alone and is_unavailable(failure) and self._clock() - way.down_since < OUTAGE
