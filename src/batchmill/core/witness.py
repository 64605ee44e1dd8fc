"""What a service surely admitted: by that, a refusal that has nothing to do with the rate is told from one that has.

A service in trouble refuses a few requests however slowly they come. Who slows down for each of them comes to a halt.
"""

from __future__ import annotations

from collections.abc import Sequence

SAFETY = 0.97  # of a measured rate: an almost empty bucket refuses whoever is early by a hair
MEASURED = 20.0  # units: of so many, their rate is a measurement
DRAINED = 1.0  # seconds of its rate that a service may hold in its bucket
LENT = 0.5  # seconds ahead of their time that units may be taken
SPAN = 5.0  # seconds after which counting begins anew
SURE = 0.9  # of the best rate that was ever admitted: who is slower is not refused for being too fast
RARE, FREQUENT = 1.1, 0.98  # by what that rate is believed to be another one, after such a refusal
SEVERAL, FEW = 3, 5.0  # refusals with no more units than that between them: what was admitted once is no more
_KEPT = ("best", "close", "since", "passed")


class Witness:
    """Counts the units of one flow."""

    def __init__(self) -> None:
        self.best = 0.0  # units a second that were surely admitted once
        self.close = 0  # refusals, one soon after the other
        self.since, self.passed = -1.0, 0.0  # when counting began, and the units that passed since, less the refused

    @property
    def sure(self) -> float:
        """Units a second that a service does not refuse for being too many."""
        return SURE * self.best

    def passes(self, now: float, units: float) -> None:
        """They leave."""
        if self.since < 0.0:
            self.since = now
        self.passed += units

    def takes_back(self, units: float) -> None:
        """They did not leave, or were refused."""
        self.passed -= units

    def acquits(self, speed: float | None, passed: float, left: float, now: float) -> bool:
        """Whether a refusal, of what left at `left`, does not speak against the `speed`: clearly more was admitted.

        `passed` units were admitted since the refusal before. No bucket admits more than its rate times a span of time
        and what it held at first.
        """
        ahead = (speed or 0.0) * (now - left)  # left later: nobody knows yet whether they were admitted
        elapsed, admitted = left - self.since, self.passed - ahead
        if admitted >= MEASURED:
            self.best = max(self.best, admitted / max(elapsed + DRAINED + LENT, DRAINED) * SAFETY)
        if elapsed >= SPAN:
            self.since, self.passed = left, ahead
        self.close = self.close + 1 if passed < FEW else 0
        if self.close == SEVERAL:
            self.best, self.close = self.best / 2, 0
        if speed is None or speed > self.sure:
            return False
        self.best *= RARE if passed >= MEASURED else FREQUENT
        return True

    def restart(self) -> None:
        """The clock began anew."""
        self.since, self.passed = -1.0, 0.0

    def dump(self) -> list[float]:
        """The state as plain numbers."""
        return [getattr(self, name) for name in _KEPT]

    def load(self, state: Sequence[float | None]) -> None:
        """Take over what `dump` gave."""
        for name, value in zip(_KEPT, state, strict=False):
            setattr(self, name, value)
