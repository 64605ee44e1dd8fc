"""What a batch will come to before it is paid for: tokens, money and time as intervals.

Before anything ran, tasks estimate a sample of their jobs (`Task.estimate`), and earlier runs tell how long one takes.
After a pilot, its own jobs tell both. Nothing here runs jobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, NamedTuple

from pydantic import ValidationError

from batchmill.api.batch import Batch
from batchmill.driver.host import look
from batchmill.driver.policy import concurrency_of
from batchmill.model.jobs import PlannedJob
from batchmill.model.limits import MICRO_CENTS_PER_USD
from batchmill.model.manifest import Manifest
from batchmill.model.states import Mode
from batchmill.model.tasks import Estimate
from batchmill.model.text import duration_text, money_text, number_text
from batchmill.report.query import RunView

SAMPLE = 200
_STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78}  # 97.5 % quantiles of Student's t


class Interval(NamedTuple):
    """From `low` to `high`: nineteen in twenty totals lie within, as far as the sample is like the rest."""

    low: float
    high: float


class Forecast(NamedTuple):
    """What `jobs` more jobs will come to, judged by `sampled` of them; None is unknown. Cost in US dollars."""

    jobs: int
    sampled: int
    tokens: Interval | None = None
    cost: Interval | None = None
    seconds: Interval | None = None

    def words(self) -> str:
        """Such as `12,000 to 15,000 tokens, 0.02 USD to 0.03 USD, 3 min to 5 min`."""
        parts = [
            _span(self.tokens, lambda n: number_text(float(round(n))), " tokens"),
            "cost unknown" if self.cost is None else _span(self.cost, _money),
            "time unknown" if self.seconds is None else _span(self.seconds, duration_text),
        ]
        return ", ".join(part for part in parts if part)

    def record(self) -> dict[str, Any]:
        """For programs: intervals as lists of low and high."""
        return {name: list(value) if isinstance(value, Interval) else value for name, value in self._asdict().items()}


class Reservoir:
    """A sample of a stream in which every item is as likely, the same one each time (Vitter's algorithm R, 1985)."""

    def __init__(self, size: int = SAMPLE) -> None:
        self.items: list[PlannedJob] = []
        self.seen = 0
        self._size, self._random = size, Random(0)

    def add(self, item: PlannedJob) -> None:
        """Offer one item."""
        self.seen += 1
        if len(self.items) < self._size:
            self.items.append(item)
        elif (place := self._random.randrange(self.seen)) < self._size:
            self.items[place] = item


def estimates(batch: Batch) -> bool:
    """Whether a task of the batch can estimate its jobs."""
    return any(task.estimate is not None for task in batch.plan.tasks.values())


def expected(batch: Batch, sample: Reservoir, past: Iterable[RunView]) -> Forecast | None:
    """What the jobs that a sample was drawn from will come to; None when no task can tell. `past` is newest first."""
    found = [estimate for job in sample.items if (estimate := _estimate(batch, job)) is not None]
    if not found:
        return None
    known = [each.cost for each in found if each.cost is not None]
    times = _seconds(batch, past)
    return Forecast(
        sample.seen,
        len(found),
        _total([each.tokens for each in found], sample.seen),
        _total(known, sample.seen) if len(known) == len(found) else None,
        _total([(t, t) for t in times], sample.seen, 1 / _at_once(batch.manifest, batch)) if times else None,
    )


def measured(batch: Batch, view: RunView, left: int) -> Forecast:
    """What `left` jobs will come to, judged by those of the run that ended."""
    ended = [job for state in ("succeeded", "failed") for job in view.jobs(state) if not job.cached]
    calls = [view.calls(job) for job in ended]
    tokens = [float(sum(_tokens(call.usage) for call in each)) for each in calls]
    money = [sum(call.cost for call in each) / MICRO_CENTS_PER_USD for each in calls]
    times = [job.wall_s for job in ended if job.wall_s is not None]
    return Forecast(
        left,
        len(ended),
        _total(_points(tokens), left) if any(tokens) else None,
        _total(_points(money), left) if any(calls) else None,
        _total(_points(times), left, 1 / _at_once(batch.manifest, batch)) if times else None,
    )


def _estimate(batch: Batch, job: PlannedJob) -> Estimate | None:
    task = batch.plan.tasks.get(job.task)
    if task is None or task.estimate is None or job.invalid:
        return None
    try:
        return task.estimate(task.params.model_validate_json(job.params))
    except (ValidationError, OSError):  # a file that is gone: the run will say so
        return None


def _seconds(batch: Batch, past: Iterable[RunView]) -> list[float]:
    """How long jobs of the batch's tasks took in the newest run that had some."""
    for view in past:
        times = [
            job.wall_s
            for job, _ in zip(view.jobs("succeeded"), range(SAMPLE), strict=False)
            if job.task in batch.plan.tasks and job.wall_s is not None and not job.cached
        ]
        if times:
            return times
    return []


def _at_once(manifest: Manifest, batch: Batch) -> int:
    """How many jobs run at one time."""
    if any(task.mode is Mode.ASYNC for task in batch.plan.tasks.values()):
        allowed = manifest.limits.concurrency
        return allowed if isinstance(allowed, int) else concurrency_of(batch.plan.tasks.values())
    return manifest.limits.workers or look().cores


def _points(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(value, value) for value in values]


def _total(ranges: Sequence[tuple[float, float]], jobs: int, scale: float = 1.0) -> Interval:
    """The sum over all jobs, from the ranges of some: their mean, with the error that sampling makes."""
    lows, highs = [low for low, _ in ranges], [high for _, high in ranges]
    low, high = _mean(lows) - _error(lows, jobs), _mean(highs) + _error(highs, jobs)
    return Interval(max(low, 0.0) * jobs * scale, high * jobs * scale)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _error(values: Sequence[float], jobs: int) -> float:
    """Half the 95 % interval of the mean of all jobs; none where the sample is all of them."""
    n = len(values)
    if n >= jobs:
        return 0.0
    if n < 2:
        return _mean(values) / 2  # one job tells the order of magnitude
    spread = math.sqrt(sum((value - _mean(values)) ** 2 for value in values) / (n - 1))
    freedom = n - 1
    student = _STUDENT.get(freedom, 1.96 + 2.37 / freedom + 2.82 / freedom**2)
    return student * spread / math.sqrt(n) * math.sqrt(1 - n / jobs)


def _tokens(usage: Any) -> int:
    told = (usage.get("input"), usage.get("output"))
    return sum(count for count in told if isinstance(count, int))


def _money(dollars: float) -> str:
    return money_text(round(dollars * MICRO_CENTS_PER_USD))


def _span(interval: Interval | None, text: Callable[[float], str], unit: str = "") -> str:
    if interval is None:
        return ""
    low, high = text(interval.low), text(interval.high)
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"
