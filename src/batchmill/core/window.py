"""How many calls to keep in flight at a service whose limit nobody knows: what delivers most, as measured."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 8  # calls in flight at the start: few servers break down under so many, and few need more than four doublings
STEPS = 8  # windows to a doubling: 9 % apart
LONGEST_STRIDE = 4
MOST = 4096
LEAST_ANSWERS = 32  # of a measurement
QUICK_ANSWERS = 16  # of one in the doubling phase
DOUBLING_PAYS = 1.15  # so much more goodput, or the doubling ends
ABANDON = (0.4, 0.7)  # after this share of a measurement, one below this share of the best is broken off
CHANGED = 0.6  # of what the leader gave before, twice in a row: then nothing that was measured before holds
KEPT = 0.9  # weight of a window's past beside a new measurement
FORGET = 0.97  # of every measurement with each new one: servers change
LEAST_WEIGHT = 4.0  # answers' worth, below which a measurement is forgotten
AS_GOOD = 0.97  # of the best: then the smaller window is better, for it makes nobody wait
NEAR = 0.93  # of the best: a neighbour worth measuring again soon
SOON, LATE = 0.3, 0.06  # share of the leader's weight below which a near or a far neighbour is measured again


def _ladder() -> list[int]:
    rungs, exact = [1], 1.0
    while rungs[-1] < MOST:
        exact = max(exact * 2 ** (1 / STEPS), rungs[-1] + 1)
        rungs.append(round(exact))
    return rungs


LADDER = _ladder()


@dataclass
class Goodput:
    """Useful answers a second with one window; `weight` in answers."""

    value: float
    weight: float


class Window:
    """Hill climbing on the goodput of windows that grow by 9 %, as of a unimodal bandit (Combes and Proutiere, ICML
    2014): the best known window and its neighbours are measured in turn, neighbours that did badly only now and then.
    Before that the window doubles as long as it pays (slow start).
    """

    def __init__(self) -> None:
        self._rung = LADDER.index(FIRST)
        self._known: dict[int, Goodput] = {}
        self._best = 0.0  # goodput of any window
        self._drops = 0  # measurements of the leader in a row that were far below the one before
        self._doubling = True
        self._leader = self._rung
        self._stride, self._up = 2, True
        self._before = self._answers = self._good = self._enough = 0
        self._since = 0.0
        self._start(0, 0.0)

    @property
    def size(self) -> int:
        """Calls that may be in flight."""
        return LADDER[self._rung]

    def answered(self, now: float, good: bool, in_flight: int, waiting: bool) -> None:
        """A call ended. It counts where others `waiting` show that the window was full."""
        if not waiting:
            self._start(0, now)
        elif self._before > 0:
            self._before -= 1
            self._since = max(self._since, now)
        else:
            self._answers += 1
            self._good += good
            if now > self._since and self._is_enough(now):
                self._measured(now, in_flight)

    def _start(self, before: int, now: float) -> None:
        """Measure from now on; the next `before` answers are of calls that left under another window."""
        self._before, self._since = before, now
        self._answers = self._good = 0
        least = QUICK_ANSWERS if self._doubling else LEAST_ANSWERS
        self._enough = max(least, self.size if self._doubling else 2 * self.size)

    def _is_enough(self, now: float) -> bool:
        if self._answers >= self._enough:
            return True
        share, bad = ABANDON
        if self._best == 0.0 or self._answers < max(share * self._enough, 12):
            return False
        return self._good < bad * self._best * (now - self._since)

    def _measured(self, now: float, in_flight: int) -> None:
        rung, goodput = self._rung, self._good / (now - self._since)
        pays = goodput > DOUBLING_PAYS * self._best
        old = self._known.get(rung, Goodput(0.0, 0.0))
        if rung == self._leader:
            self._drops = self._drops + 1 if goodput < CHANGED * old.value else 0
            if self._drops > 1:  # not by chance: it is another service now
                self._known.clear()
                old, self._stride, self._up = Goodput(0.0, 0.0), LONGEST_STRIDE, False
        weight = self._answers + KEPT * old.weight
        goodput = (goodput * self._answers + old.value * KEPT * old.weight) / weight
        self._known[rung] = Goodput(goodput, weight)
        self._best = max(known.value for known in self._known.values())
        if self._doubling and pays:
            self._rung = min(rung + STEPS, len(LADDER) - 1)
            self._start(0, now)
            return
        self._doubling = False
        self._rung = self._next()
        self._start(in_flight if self._rung != rung else 0, now)

    def _next(self) -> int:
        """The window to measure now."""
        leader = min(rung for rung, known in self._known.items() if known.value >= AS_GOOD * self._best)
        for rung, known in list(self._known.items()):
            known.weight *= FORGET
            if known.weight < LEAST_WEIGHT and rung != leader:
                del self._known[rung]
        self._turn(leader)
        while True:
            ahead = self._stride if self._up else -self._stride
            for rung in (leader + ahead, leader - ahead):
                if 0 <= rung < len(LADDER) and self._is_due(rung, leader):
                    return rung
            if self._stride == 1:
                return leader
            self._stride //= 2

    def _turn(self, leader: int) -> None:
        """Longer steps as long as they lead on in one direction."""
        if leader != self._leader:
            up = leader > self._leader
            if up == self._up:
                self._stride = min(2 * self._stride, LONGEST_STRIDE)
            self._leader, self._up = leader, up

    def _is_due(self, rung: int, leader: int) -> bool:
        known, led = self._known.get(rung), self._known[leader]
        if known is None:
            return True
        share = SOON if known.value > NEAR * led.value else LATE
        return known.weight < share * led.weight
