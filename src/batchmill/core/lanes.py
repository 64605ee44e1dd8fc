"""Under `order: group`: which groups, told apart by their lanes, have jobs left that are not running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Lanes:
    """Counts jobs by lane: those in the window, and those that wait for another attempt (`waiting`: job -> lane)."""

    def __init__(self, waiting: Mapping[int, int]) -> None:
        self._waiting = dict(waiting)
        self._open = Counter(self._waiting.values())

    def enter(self, lane: int) -> None:
        """A job came into the window."""
        self._open[lane] += 1

    def leave(self, lane: int) -> None:
        """A job left the window."""
        self._open[lane] -= 1
        if not self._open[lane]:
            del self._open[lane]

    def wait(self, job: int, lane: int) -> None:
        """A job waits for another attempt."""
        self._waiting[job] = lane
        self.enter(lane)

    def wait_ends(self, job: int) -> None:
        """A job waits no longer, if it did."""
        lane = self._waiting.pop(job, None)
        if lane is not None:
            self.leave(lane)

    def any_before(self, lane: int) -> bool:
        """Whether a job of an earlier lane is left."""
        return any(other < lane for other in self._open)
