"""What the numbers of a run come to: wall time, CPU, memory and the task's own metrics, in one pass over the jobs.

Memory is 8 bytes a job and column; counts per state come from the ledger's own counters, not from here.
"""

from __future__ import annotations

import math
import random
from array import array
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from batchmill.report.query import RunView
from batchmill.report.records import decode, non_finite

EXACT = 1_000_000
MOST_GROUPS = 10_000
OTHER_GROUPS = "(other groups)"


class Summary(NamedTuple):
    """One column of numbers. `non_finite` counts NaN and infinities, which the other fields leave out."""

    n: int
    total: float
    mean: float
    min: float
    p50: float
    p95: float
    max: float
    non_finite: int = 0


class Column:
    """Numbers taken one by one. Beyond `exact` of them the percentiles are those of a uniform sample.

    The sample is Vitter's algorithm R (ACM TOMS 11 (1985) 37-57) with a fixed seed.
    """

    def __init__(self, exact: int = EXACT) -> None:
        self.n = 0
        self.non_finite = 0
        self._exact = exact
        self._total = self._error = 0.0
        self._min, self._max = math.inf, -math.inf
        self._kept = array("d")
        self._random = random.Random(0)

    def add(self, value: float) -> None:
        """Take one number."""
        if not math.isfinite(value):
            self.non_finite += 1
            return
        self.n += 1
        self._sum(value)
        self._min = min(self._min, value)
        self._max = max(self._max, value)
        if self.n <= self._exact:
            self._kept.append(value)
        elif (place := self._random.randrange(self.n)) < self._exact:
            self._kept[place] = value

    def _sum(self, value: float) -> None:
        # Neumaier's compensated sum: a million small values after a large one still count.
        total = self._total + value
        larger, smaller = (self._total, value) if abs(self._total) >= abs(value) else (value, self._total)
        self._error += (larger - total) + smaller
        self._total = total

    def summary(self) -> Summary | None:
        """What the numbers come to; None when there was no finite one."""
        if not self.n:
            return None
        ordered = sorted(self._kept)
        total = self._total + self._error
        return Summary(
            self.n,
            total,
            total / self.n,
            self._min,
            percentile(ordered, 0.5),
            percentile(ordered, 0.95),
            self._max,
            self.non_finite,
        )


def percentile(ordered: list[float], share: float) -> float:
    """The quantile of sorted numbers, linear between neighbours (type 7 of Hyndman and Fan, Am. Stat. 50 (1996))."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


class Extreme(NamedTuple):
    """The job that was fastest or slowest, and its wall seconds."""

    name: str
    wall_s: float


@dataclass
class Statistics:
    """What `collect` found. Time and memory are those of jobs that ran here, not of cached ones; metrics are
    those of every job that succeeded. `groups` holds the wall seconds of each group."""

    wall: Summary | None = None
    cpu: Summary | None = None
    memory: Summary | None = None
    fastest: Extreme | None = None
    slowest: Extreme | None = None
    metrics: dict[str, Summary] = field(default_factory=dict)
    groups: dict[str, tuple[int, float]] = field(default_factory=dict)  # jobs that ran, their wall seconds


class _Collector:
    def __init__(self, exact: int) -> None:
        self.exact = exact
        self.wall, self.cpu, self.memory = Column(exact), Column(exact), Column(exact)
        self.fastest: Extreme | None = None
        self.slowest: Extreme | None = None
        self.metrics: dict[str, Column] = {}
        self.groups: dict[str, tuple[int, float]] = {}

    def take(self, row: tuple[Any, ...]) -> None:
        _, name, group, state, cached, wall, cpu, peak, metrics = row
        if wall is not None and not cached:
            self._ran(name, group, wall, cpu, peak)
        if metrics and state == "succeeded":
            self._measure(decode(metrics))

    def _ran(self, name: str, group: str | None, wall: float, cpu: float | None, peak: int | None) -> None:
        self.wall.add(wall)
        self.cpu.add(cpu or 0.0)
        if peak:  # 0: nobody could measure it (an async or inline attempt)
            self.memory.add(peak)
        if self.fastest is None or wall < self.fastest.wall_s:
            self.fastest = Extreme(name, wall)
        if self.slowest is None or wall > self.slowest.wall_s:
            self.slowest = Extreme(name, wall)
        if group is not None:
            kept = group if group in self.groups or len(self.groups) < MOST_GROUPS else OTHER_GROUPS
            jobs, seconds = self.groups.get(kept, (0, 0.0))
            self.groups[kept] = (jobs + 1, seconds + wall)

    def _measure(self, metrics: dict[str, Any]) -> None:
        for name, value in metrics.items():
            number = value if isinstance(value, int | float) else non_finite(value)
            if number is None or isinstance(value, bool):
                continue
            if name not in self.metrics:
                self.metrics[name] = Column(self.exact)
            self.metrics[name].add(_float(number))

    def statistics(self) -> Statistics:
        summaries = {name: column.summary() for name, column in self.metrics.items()}
        return Statistics(
            self.wall.summary(),
            self.cpu.summary(),
            self.memory.summary(),
            self.fastest,
            self.slowest,
            {name: summary for name, summary in summaries.items() if summary is not None},
            self.groups,
        )


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an exact integer beyond the range of floats
        return math.inf if number > 0 else -math.inf


def collect(view: RunView, *, as_of: int | None = None, exact: int = EXACT) -> Statistics:
    """The statistics of a run as of a tick (default: now). Percentiles are exact up to `exact` jobs."""
    collector = _Collector(exact)
    columns = "number, name, grp, state, cached, wall_s, cpu_s, peak_rss, metrics"
    for page in view.pages(columns, as_of=as_of):
        for row in page:
            collector.take(row)
    return collector.statistics()
