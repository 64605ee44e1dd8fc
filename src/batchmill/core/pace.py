"""Pacing of starts and calls by the generic cell rate algorithm."""

from __future__ import annotations

from batchmill.model.limits import Rate


class Pacer:
    """A GCRA limiter (ITU-T I.371, virtual scheduling form): in no window of `rate.seconds` more than
    `rate.amount` units pass, beyond a burst of `burst` units.

    It keeps one number, `arrival`, the theoretical arrival time of the next unit.
    """

    def __init__(self, rate: Rate, burst: float = 1.0) -> None:
        self.rate = rate
        self.burst = burst
        self.arrival = float("-inf")

    def when(self, now: float, units: float = 1.0) -> float:
        """The earliest time at which `units` may pass. More units than the burst wait for a full bucket."""
        headroom = max(self.burst - units, 0.0) * self.rate.interval
        return max(now, self.arrival - headroom)

    def take(self, now: float, units: float = 1.0) -> None:
        """Let `units` pass at `now`."""
        self.arrival = max(now, self.arrival) + units * self.rate.interval

    def give_back(self, units: float) -> None:
        """Return units that were taken but not used."""
        self.arrival -= units * self.rate.interval

    def retune(self, rate: Rate) -> None:
        """Change the rate; what has been taken stays taken."""
        self.rate = rate
