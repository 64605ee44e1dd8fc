"""The pace of one kind of unit, requests or tokens, towards one service: the limit that is known, and the true one as
far as refusals and remaining amounts teach it."""

from __future__ import annotations

from collections.abc import Sequence

from batchmill.core.pace import Pacer
from batchmill.core.witness import DRAINED, MEASURED, SAFETY, Witness
from batchmill.model.limits import Rate

FIRST_BURST = 5.0  # units at once after a rest, until more is known
BURST_SHARE = 0.8  # seconds' worth: who counts by the second holds one second's worth, and clocks are not exact
LONGEST_BURST = 60.0  # seconds' worth
BURST_GROWTH = 0.03  # units, with every unit that passes
REGROWTH = 0.04  # of the rate, a second; a quarter of that after each further search
WELL_MEASURED = 2  # searches that a measured share of refusals is worth
LEAST_STEP = 0.85  # a measurement may be low: a full bucket does not count what it spills
BELIEVED = 0.5  # of a rate that only the user told: the rest is tried out
RISKED = 5.0  # refusals that trying it out may cost
HEARD = 1.0  # seconds after which a refusal is known: no model has to think about it
ENOUGH = 6.0  # units on their way when the first is refused: from then on the refused share is a measurement
MEANWHILE = 0.4  # of the rate, until that share is known
LEAST_SHARE = 0.2  # of what was sent is admitted, whatever that share seems to be
SLACK = 1.1  # times an answer took: so long another may take
INFINITY = float("inf")
_KEPT: tuple[str, ...] = ("arrival", "burst", "bound", "learned", "lowered", "since", "passed", "refusals", "searches")
_KEPT += ("grown", "quickest", "proven", "tried", "sent", "lost", "floor", "judged")


class Flow:
    """Units of one kind, paced by GCRA at the lower of the known and the learned rate.

    A rate that the service itself has not confirmed is reached step by step, the more slowly the longer a refusal would
    take to be heard of (see `_trial`). After a refusal the service's bucket is empty, and what it admits is what it
    refills: its rate. The share that it refuses of what is on its way tells how much lower that is. Where too little is
    on its way, the rate falls to what was admitted since the last refusal, or by up to a half (multiplicative
    decrease). Then it grows again, each time more slowly.
    """

    def __init__(self, share: float = BURST_SHARE, first: float = FIRST_BURST, tries: bool = True) -> None:
        self._share, self._first, self._tries = share, first, tries
        self._known: float | None = None  # units a second
        self._is_set = False  # the burst, by the user
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
        self.quickest = 0.0  # seconds that any answer took at least; 0: there was none
        self.proven = 0.0  # units a second that nothing speaks against
        # what the last refusal will have taught, once all that was on its way then is answered
        self.tried = 0.0  # units a second before it
        self.sent = 0.0  # units that were on their way
        self.lost = 0.0  # of them, those that were refused
        self.floor = 0.0  # units a second that were surely admitted
        self.judged = INFINITY  # when all of this is known
        self.witness = Witness()

    def know(self, rate: Rate | None, burst: float | None = None, confirmed: bool = False) -> None:
        """The limit as it is known now; `confirmed` by the service, or what the user says of it."""
        before = self.speed or 0.0
        self._known = None if rate is None else rate.amount / rate.seconds
        self._is_set = burst is not None
        if confirmed and not self.refusals and self._known:
            self._prove(self._known)
        elif self._known and self._tries and not self.refusals and self._known > self.proven:
            self.learned = max(self.learned or 0.0, self.proven, self._known * BELIEVED)
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
        self.witness.passes(now, units)
        if self._pacer is not None:
            self._pacer.take(now, units)
            if self.burst < self.bound:
                self.burst = self._pacer.burst = min(self.bound, self.burst + BURST_GROWTH * units)

    def give_back(self, units: float) -> None:
        """Return units that were taken but not used."""
        self.passed -= units
        self.witness.takes_back(units)
        if self._pacer is not None:
            self._pacer.give_back(units)

    def remaining(self, left: float) -> None:
        """So much is left at the service: where that is far more than was counted on, more may leave at once."""
        speed = self.speed
        if speed is not None and not self.refusals and left >= max(2.0 * self.bound, speed):
            self.bound = min(self.bound + max(1.0, self.bound / 20), left / 2, speed * LONGEST_BURST)
            self.burst = max(self.burst, self.bound)
            self._set_pace()

    def refused(self, left: float, now: float, units: float = 1.0, resumes: float = 0.0) -> None:
        """The service did not admit `units` that left at `left`. Nothing leaves before `resumes`."""
        self.passed -= units
        self.witness.takes_back(units)
        if left <= self.lowered:
            self.lost += units
            return
        if self.judged < INFINITY and self.learned is not None:  # even what leaves meanwhile is refused
            self.judged, self.lowered, self.learned = _all_known(left, now), now, self.learned / 2
            self._set_pace()
            return
        if self.witness.acquits(self.speed, self.passed, left, now):
            self.since, self.passed, self.searches = max(now, resumes), 0.0, max(0, self.searches - 1)
            return
        only_burst = not self.refusals and units < self.burst and self.passed < self.burst + units * FIRST_BURST
        if self.speed is None or not only_burst:
            self._slow_down(left, now, units)
        self.refusals += 1
        self.burst, self.bound = 1.0, max(1.0, self.bound / 2)
        self.lowered, self.since, self.grown = now, max(now, resumes), now
        self.passed = 0.0
        self._set_pace()

    def _slow_down(self, left: float, now: float, units: float) -> None:
        """Wait for the share that is refused of what is on its way, where that is enough; else measure, or guess."""
        speed = self.speed or 0.0
        self.tried, self.sent, self.lost = speed, speed * (now - left), units
        if self._known is not None and max(self.sent, self.refusals and self.passed) >= ENOUGH * units:
            self.floor = self._admitted(left, min(now - left, DRAINED) if self.refusals else DRAINED)
            self.judged = _all_known(left, now)
            self.learned = speed * MEANWHILE
        else:
            self.learned = self._lower(max(left - self.since, 1e-3))
            self.learned = self.learned and max(self.learned, self.witness.sure)

    def _admitted(self, until: float, spare: float) -> float:
        """Units a second that passed until then, beside what a bucket held at first: no more than the true rate."""
        passed = self.passed - self.sent
        if passed < MEASURED:
            return 0.0
        return passed / max(until - self.since + spare, DRAINED) * SAFETY

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
        if now >= self.judged:
            self._judge(now)
        seconds = min(now - self.grown, 1.0)  # more was not tried
        if self.learned is None or seconds <= 0.0 or self.judged < INFINITY:
            return
        self.grown = now
        growth = REGROWTH * 0.25**self.searches * self.learned if self.refusals else self._trial(now, self.learned)
        self.learned += growth * seconds
        if self._known is not None and self.learned >= self._known:
            self._prove(self._known)
        self._set_pace()

    def _judge(self, now: float) -> None:
        """All is known of what was on its way at the last refusal."""
        least = LEAST_STEP if self.refusals > 1 else LEAST_SHARE
        share = max(least, 1.0 - (self.lost - 0.5) / self.sent)
        self.learned = min(max(self.floor, self.witness.sure, self.tried * share * SAFETY), self.tried * SAFETY)
        self.judged, self.lowered, self.grown = INFINITY, now, now
        self.searches = max(self.searches + 1, WELL_MEASURED if self.sent >= MEASURED else 1)
        self._set_pace()

    def _trial(self, now: float, speed: float) -> float:
        """By how much the speed may grow in a second.

        When it has passed the true rate by x, a bucket of `DRAINED` seconds at the speed s is empty after x = sqrt(2 s
        growth), and until that is heard of, x times the time of an answer are refused.
        """
        quickest = self.quickest or (HEARD if now > self.since + HEARD else 0.0)
        return (RISKED / min(quickest, HEARD)) ** 2 / (2 * DRAINED * speed) if quickest else 0.0

    def _prove(self, speed: float) -> None:
        self.learned, self.proven = None, speed
        if not self.refusals and not self._is_set:
            self.bound = max(self.bound, speed * self._share)

    def answered(self, seconds: float) -> None:
        """An answer took so long."""
        self.quickest = min(self.quickest or seconds, seconds)

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
        self.witness.restart()
        self.passed, self.grown, self.judged = 0.0, now, INFINITY

    def dump(self) -> list[float | None]:
        """The state as plain numbers, for another process."""
        if self._pacer is not None:
            self.arrival = self._pacer.arrival
        return [*(getattr(self, name) for name in _KEPT), *self.witness.dump()]

    def load(self, state: Sequence[float | None]) -> None:
        """Take over what `dump` gave; `know` comes after it."""
        for name, value in zip(_KEPT, state, strict=False):
            setattr(self, name, value)
        self.witness.load(state[len(_KEPT) :])
        self._pacer = None


def _all_known(left: float, now: float) -> float:
    """When all that left before now is answered, going by what left at `left` and was answered now."""
    return now + SLACK * (now - left)
