"""The pace of one kind of unit, requests or tokens, towards one service: the limit that is known, and the true one as
far as refusals and remaining amounts teach it."""

from __future__ import annotations

from collections.abc import Sequence

from batchmill.core.pace import Pacer
from batchmill.model.limits import Rate

FIRST_BURST = 5.0  # units at once after a rest, until more is known
BURST_SHARE = 0.8  # seconds' worth: who counts by the second holds one second's worth, and clocks are not exact
LONGEST_BURST = 60.0  # seconds' worth
BURST_GROWTH = 0.03  # units, with every unit that passes
SAFETY = 0.97  # of a measured rate: an almost empty bucket refuses whoever is early by a hair
MEASURED = 20.0  # units between two refusals: from then on their rate is a measurement
DRAINED = 1.0  # seconds of its rate that a service may hold in its bucket
REGROWTH = 0.02  # of the rate, a second; a quarter of that after each further search
LEAST_STEP = 0.85  # a measurement may be low: a full bucket does not count what it spills
_KEPT = ("arrival", "burst", "bound", "learned", "lowered", "since", "passed", "refusals", "searches", "grown")


class Flow:
    """Units of one kind, paced by GCRA at the lower of the known and the learned rate.

    After a refusal the service's bucket is empty; what it then admits until the next refusal is what it refills: its
    rate. So a refusal lowers the rate, to the measured one where enough passed, else by up to a half (multiplicative
    decrease); then it grows again, each time more slowly.
    """

    def __init__(self, share: float = BURST_SHARE, first: float = FIRST_BURST) -> None:
        self._share, self._first = share, first
        self._known: float | None = None  # units a second
        self._pacer: Pacer | None = None  # None: unlimited
        self.arrival = -1.0  # of the next unit, were all evenly spread (the state of GCRA)
        self.burst = 0.0  # 0: not known yet
        self.bound = 0.0  # the burst grows up to here
        self.learned: float | None = None  # units a second; None: nothing speaks against what is known
        self.lowered = -1.0  # when the rate was: what left before tells nothing new
        self.since = -1.0  # the first unit, or the last refusal
        self.passed = 0.0  # units since then
        self.refusals = self.searches = 0
        self.grown = 0.0  # when `learned` was last made to grow

    def know(self, rate: Rate | None, burst: float | None = None) -> None:
        """The limit as it is known now."""
        before = self.speed or 0.0
        self._known = None if rate is None else rate.amount / rate.seconds
        speed = self.speed
        if burst is not None and not self.refusals:
            self.burst = self.bound = burst
        elif speed is not None and (not self.burst or speed < before):
            self.bound = max(1.0, speed * self._share)
            self.burst = min(self.bound, self.burst or self._first)
        self._set_pace()

    @property
    def speed(self) -> float | None:
        """Units a second; None: unlimited."""
        if self._known is None or self.learned is None:
            return self._known or self.learned
        return min(self._known, self.learned)

    def when(self, now: float, units: float = 1.0) -> float:
        """The earliest time at which `units` may pass. More than the burst wait for a full bucket."""
        if self.learned is not None:
            self._grow(now)
        return now if self._pacer is None else self._pacer.when(now, units)

    def take(self, now: float, units: float = 1.0) -> None:
        """Let `units` pass at `now`."""
        if self.since < 0.0:
            self.since = now
        self.passed += units
        if self._pacer is not None:
            self._pacer.take(now, units)
            if self.burst < self.bound:
                self.burst = self._pacer.burst = min(self.bound, self.burst + BURST_GROWTH * units)

    def give_back(self, units: float) -> None:
        """Return units that were taken but not used."""
        self.passed -= units
        if self._pacer is not None:
            self._pacer.give_back(units)

    def remaining(self, left: float) -> None:
        """So much is left at the service: where that is far more than was counted on, more may leave at once."""
        speed = self.speed
        if speed is not None and not self.refusals and left >= max(2.0 * self.bound, speed):
            self.bound = min(self.bound + max(1.0, self.bound / 20), left / 2, speed * LONGEST_BURST)
            self.burst = max(self.burst, self.bound)
            self._set_pace()

    def refused(self, left: float, now: float, units: float = 1.0) -> None:
        """The service did not admit `units` that left at `left`."""
        self.passed -= units
        if left <= self.lowered:
            return
        only_burst = not self.refusals and units < self.burst and self.passed < self.burst + units * FIRST_BURST
        if self.speed is None or not only_burst:
            self.learned = self._lower(max(left - self.since, 1e-3))
        self.refusals += 1
        self.burst, self.bound = 1.0, max(1.0, self.bound / 2)
        self.lowered = self.since = self.grown = now
        self.passed = 0.0
        self._set_pace()

    def _lower(self, elapsed: float) -> float | None:
        speed, measured = self.speed, self.passed / elapsed
        if speed is None:
            # where nothing passed yet, nothing is known but the pause that was asked for
            return max(measured / 2, 1e-3) if self.passed > 0 else None
        if self.learned is None:
            return speed * max(0.5, 1.0 - DRAINED / elapsed) * SAFETY
        if self.passed < MEASURED:
            return speed * 0.5 * SAFETY
        self.searches += 1
        return min(max(measured * SAFETY, speed * LEAST_STEP), speed * SAFETY)

    def _grow(self, now: float) -> None:
        seconds = min(now - self.grown, 1.0)  # more was not tried
        if self.learned is None or seconds <= 0.0:
            return
        self.grown = now
        self.learned *= 1.0 + REGROWTH * 0.25**self.searches * seconds
        if self._known is not None and self.learned >= self._known:
            self.learned = None
        self._set_pace()

    def _set_pace(self) -> None:
        speed = self.speed
        if speed is None:
            self._pacer = None
        elif self._pacer is None:
            self._pacer = Pacer(Rate(speed, 1.0), self.burst or 1.0)
            self._pacer.arrival = self.arrival
        else:
            self._pacer.retune(Rate(speed, 1.0))
            self._pacer.burst = self.burst

    def forgive(self) -> None:
        """A new day: the limit may be sought again."""
        self.searches = 0

    def restart(self, now: float) -> None:
        """The clock began anew."""
        self.arrival = self.lowered = self.since = -1.0
        self.passed, self.grown = 0.0, now

    def dump(self) -> list[float | None]:
        """The state as plain numbers, for another process."""
        if self._pacer is not None:
            self.arrival = self._pacer.arrival
        return [getattr(self, name) for name in _KEPT]

    def load(self, state: Sequence[float | None]) -> None:
        """Take over what `dump` gave; `know` comes after it."""
        for name, value in zip(_KEPT, state, strict=True):
            setattr(self, name, value)
        self._pacer = None
