"""What the numbers of a run come to: wall time, CPU, memory and the task's own metrics, in one pass over the jobs.

Memory does not grow beyond `EXACT` numbers a column; counts per state come from the ledger's own counters.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from batchmill.report.query import RunView
from batchmill.report.records import decode_all, non_finite

EXACT = 100_000  # more would outgrow the run itself; the rank of a percentile of a sample is within half a per cent
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
    """Numbers taken page by page. Beyond `exact` of them the percentiles are those of a uniform sample.

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

    def extend(self, values: Sequence[float]) -> None:
        """Take many numbers."""
        finite = [value for value in values if math.isfinite(value)]
        self.non_finite += len(values) - len(finite)
        if not finite:
            return
        self._sum(finite)
        self._min = min(self._min, *finite)
        self._max = max(self._max, *finite)
        room = max(self._exact - self.n, 0)
        self._kept.extend(finite[:room])
        self.n += len(finite[:room])
        for value in finite[room:]:
            self.n += 1
            if (place := self._random.randrange(self.n)) < self._exact:
                self._kept[place] = value

    def _sum(self, values: Sequence[float]) -> None:
        """What the exact sum has beyond the nearest float is kept: small values after a large one still count."""
        try:
            total = math.fsum((self._total, self._error, *values))
            self._error = math.fsum((self._total, self._error, *values, -total))
        except OverflowError:
            total, self._error = self._total + sum(values), 0.0
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

    def take(self, page: Sequence[tuple[Any, ...]]) -> None:
        ran = [row[1:-1] for row in page if row[5] is not None and not row[4]]
        if ran:
            self._ran(ran)
        self._measure(decode_all([row[-1] for row in page if row[-1] and row[3] == "succeeded"]))

    def _ran(self, rows: Sequence[tuple[Any, ...]]) -> None:
        names, groups, _, _, wall, cpu, peaks = zip(*rows, strict=True)
        self.wall.extend(wall)
        self.cpu.extend([seconds or 0.0 for seconds in cpu])
        self.memory.extend([peak for peak in peaks if peak])  # 0: nobody could measure it (async or inline)
        fastest, slowest = min(wall), max(wall)
        if self.fastest is None or fastest < self.fastest.wall_s:
            self.fastest = Extreme(names[wall.index(fastest)], fastest)
        if self.slowest is None or slowest > self.slowest.wall_s:
            self.slowest = Extreme(names[wall.index(slowest)], slowest)
        for group, seconds in zip(groups, wall, strict=True):
            if group is not None:
                self._ran_in(group, seconds)

    def _ran_in(self, group: str, seconds: float) -> None:
        kept = group if group in self.groups or len(self.groups) < MOST_GROUPS else OTHER_GROUPS
        jobs, before = self.groups.get(kept, (0, 0.0))
        self.groups[kept] = (jobs + 1, before + seconds)

    def _measure(self, measured: Sequence[dict[str, Any]]) -> None:
        found: dict[str, list[float]] = {}
        for metrics in measured:
            for name, value in metrics.items():
                number = value if isinstance(value, int | float) else non_finite(value)
                if number is not None and not isinstance(value, bool):
                    found.setdefault(name, []).append(_float(number))
        for name, numbers in found.items():
            if name not in self.metrics:
                self.metrics[name] = Column(self.exact)
            self.metrics[name].extend(numbers)

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
        collector.take(page)
    return collector.statistics()
