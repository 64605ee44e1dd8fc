"""A clock that moves only when told, with actions that wait for their time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

INFINITY = float("inf")


class FakeClock:
    """Monotonic seconds that pass in no time. Call it for the present time.

    Actions run in the order of their times, those of the same time in the order in which they were asked for.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        self._asked = 0
        self._actions: list[tuple[float, int, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Run `action` when the clock reaches `when` (a time in the past means now)."""
        self._asked += 1
        heappush(self._actions, (max(when, self.now), self._asked, action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` that many seconds from now."""
        self.at(self.now + seconds, action)

    @property
    def next_time(self) -> float:
        """The time of the next action; infinity when none waits."""
        return self._actions[0][0] if self._actions else INFINITY

    def advance(self, until: float) -> None:
        """Move on to `until`, running what comes due on the way, each action at its own time."""
        while self._actions and self._actions[0][0] <= until:
            self.now, _, action = heappop(self._actions)
            action()
        self.now = max(self.now, until)

    def forget(self) -> None:
        """Drop all waiting actions."""
        self._actions.clear()
