"""Folds what happens in a run into the facts that displays show, in memory that does not grow with the jobs.

`publish` is on the hot path (50,000 jobs a second): it counts, and leaves every text for `facts`, which is asked
four times a second. It counts what it is told; the ledger's counters stay the truth.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pydantic_core

from batchmill.live.facts import Failed, Finished, GroupFacts, LiveFacts, RequestFacts, Running
from batchmill.model.commands import Published, Start
from batchmill.model.events import (
    Asked,
    CallCached,
    CallFound,
    CallSettled,
    Died,
    Event,
    LimitSeen,
    Loaded,
    Planned,
    Progress,
    Recalled,
    Sample,
)
from batchmill.model.states import JobState, Mode
from batchmill.model.text import duration_text, one_line

MOST_GROUPS = 1000
OTHER_GROUPS = "(other groups)"
_FAILURES_KEPT = 50
_WORDS = 100  # characters of a result or message
_QUEUE_KEPT = 1000
_STOPPING = {
    "drain": "finishing what runs; a second Ctrl-C stops now",
    "stop": "stopping now",
    "cancel": "cancelled",
}
_PACE_SECONDS = 60.0
_PACE_SAMPLES = 240
_STEPS_PER_OCTAVE = 4  # of the duration histogram: bounds 19 % apart


@dataclass(slots=True)
class _Attempt:
    slot: int
    job: str
    number: int
    sent: float
    alone: bool  # its slot runs one job at a time, in the order sent
    progress: Progress | None = None


class Histogram:
    """Counts of durations in classes that are 19 % wide: a median without keeping the values."""

    def __init__(self) -> None:
        self.n = 0
        self._classes: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Take one duration."""
        mantissa, exponent = math.frexp(seconds if seconds > 1e-9 else 1e-9)
        place = exponent * _STEPS_PER_OCTAVE + int((mantissa - 0.5) * 2 * _STEPS_PER_OCTAVE)
        classes = self._classes
        classes[place] = classes.get(place, 0) + 1
        self.n += 1

    def percentile(self, share: float) -> float | None:
        """The middle of the class that holds this share of the durations; None when there are none."""
        left = share * self.n
        for place in sorted(self._classes):
            left -= self._classes[place]
            if left <= 0:
                exponent, step = divmod(place, _STEPS_PER_OCTAVE)
                return math.ldexp(0.5 + (step + 0.5) / (2 * _STEPS_PER_OCTAVE), exponent)
        return None


class _Pace:
    """How many jobs ended in the last minute, from samples that are taken as often as facts are asked for."""

    def __init__(self, now: float) -> None:
        self._samples = deque([(now, 0)], maxlen=_PACE_SAMPLES)
        self._first = now

    def per_second(self, now: float, done: int) -> float | None:
        since, before = self._samples[0]
        if done - before < 10:  # too few for a recent pace: that of the whole run is steadier
            since, before = self._first, 0
        if now - self._samples[-1][0] >= _PACE_SECONDS / _PACE_SAMPLES:
            self._samples.append((now, done))
        return (done - before) / (now - since) if done > before and now > since else None


class Tracker:
    """Told of every start and publication, it says how the run stands.

    `clock` is the monotonic clock of the events. `counts` and `groups` are what the ledger held when this
    invocation began: jobs by state, and (ended, planned, failed) by group. `whole` is the number of jobs of the whole
    plan, where that is known before they are planned.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        counts: Mapping[str, int] | None = None,
        groups: Mapping[str, GroupFacts] | None = None,
        total: int = 0,
        planning_done: bool = False,
        whole: int | None = None,
        spent: int = 0,
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._before = dict(counts or {})
        self._succeeded = self._failed = self._skipped = self._cancelled = self._cached = self._retried = 0
        self._groups = {name: list(facts) for name, facts in (groups or {}).items()}
        self._total, self._planning_done, self._spent = whole or total, planning_done or whole is not None, spent
        self._whole = whole
        self._answered = self._call_hits = self._tokens_in = self._tokens_out = 0
        self._attempts: dict[int, _Attempt] = {}
        self._free_since: dict[int, float] = {}
        self._rss: dict[int, int] = {}
        self._last: Published | None = None
        self._failures: deque[Published] = deque(maxlen=_FAILURES_KEPT)
        self._durations = Histogram()
        self._pace = _Pace(self._began)
        self._queued: dict[int, str] = {}
        self._pauses: dict[str, float] = {}
        self._stopping = ""
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Sample: self._sampled,
            Progress: self._progressed,
            Planned: self._planned,
            Loaded: self._loaded,
            CallSettled: self._settled,
            CallCached: self._spared,
            CallFound: self._found,
            LimitSeen: self._limited,
            Recalled: self._recalled,
            Died: self._died,
            Asked: self._asked,
        }

    def publish(self, ends: Iterable[Published]) -> None:
        """Count what ended. About 1 us each."""
        attempts, free_since, add_duration = self._attempts, self._free_since, self._durations.add
        for published in ends:
            at, row, state, outcome, cached, retry_in = published
            attempt = attempts.pop(row.job, None)
            if attempt is not None:
                free_since[attempt.slot] = at
            else:
                self._queued.pop(row.job, None)
            if outcome is not None:
                usage = outcome.usage
                add_duration(usage.ended - usage.started)
            if retry_in is not None:
                self._retried += row.total_attempts == 0  # jobs, however often they are tried
                continue
            if state is JobState.SUCCEEDED:
                self._succeeded += 1
                self._cached += cached
            else:
                self._count_other(published)
            if row.group is not None:
                self._count_group(row.group, state)
            self._last = published

    def _count_other(self, published: Published) -> None:
        if published.state is JobState.FAILED:
            self._failed += 1
            self._failures.append(published)
        elif published.state is JobState.SKIPPED:
            self._skipped += 1
        elif published.state is JobState.CANCELLED:
            self._cancelled += 1

    def _count_group(self, name: str, state: JobState) -> None:
        group = self._groups.get(name)
        if group is None:
            kept = name if len(self._groups) < MOST_GROUPS else OTHER_GROUPS
            group = self._groups.setdefault(kept, [0, 0, 0])
        group[0] += 1
        group[2] += state is JobState.FAILED

    def start(self, starts: Iterable[Start]) -> None:
        """Note what was sent to workers now. Hooks and offloaded functions are not jobs."""
        now, attempts, queued = self._clock(), self._attempts, self._queued
        for start in starts:
            if not start.hook:
                row = start.row
                queued.pop(row.job, None)
                attempts.pop(row.job, None)  # to the end of the order
                alone = row.mode is not Mode.ASYNC
                attempts[row.job] = _Attempt(start.slot, row.name, start.attempt, now, alone)

    def notice(self, events: Iterable[Event]) -> None:
        """Take what else concerns a display among the loop's events; others are passed over."""
        handlers = self._handlers
        for event in events:
            handler = handlers.get(type(event))
            if handler is not None:
                handler(event)

    def _sampled(self, event: Sample) -> None:
        self._rss = dict(event.rss)

    def _progressed(self, event: Progress) -> None:
        if (attempt := self._attempts.get(event.job)) is not None:
            attempt.progress = event

    def _planned(self, event: Planned) -> None:
        if self._whole is None:
            self._total, self._planning_done = event.total, event.done

    def _loaded(self, event: Loaded) -> None:
        self._queued.update({row.job: row.name for row in event.rows if row.job not in self._attempts})
        while len(self._queued) > _QUEUE_KEPT:
            self._queued.pop(next(reversed(self._queued)))

    def _settled(self, event: CallSettled) -> None:
        self._spent += event.cost
        if event.sent:
            self._answered += 1
            usage = pydantic_core.from_json(event.usage)
            self._tokens_in += _count(usage.get("input"))
            self._tokens_out += _count(usage.get("output"))

    def _found(self, event: CallFound) -> None:
        usage = pydantic_core.from_json(event.usage)
        self._tokens_in += _count(usage.get("input"))
        self._tokens_out += _count(usage.get("output"))

    def _spared(self, event: CallCached) -> None:
        self._call_hits += 1

    def _limited(self, event: LimitSeen) -> None:
        self._pauses[event.quota] = event.pause_until

    def _recalled(self, event: Recalled) -> None:
        for job in event.jobs:
            if (attempt := self._attempts.pop(job, None)) is not None:
                self._queued[job] = attempt.job

    def _died(self, event: Died) -> None:
        self._attempts = {job: attempt for job, attempt in self._attempts.items() if attempt.slot != event.slot}
        self._free_since[event.slot] = event.at
        self._rss.pop(event.slot, None)

    def _asked(self, event: Asked) -> None:
        if event.what in _STOPPING and (event.what != "cancel" or event.job == 0):
            self._stopping = _STOPPING[event.what]

    def facts(self, *, waiting: Iterable[str] = (), stopping: str = "", running: int = 64) -> LiveFacts:
        """How the run stands now, with at most `running` of the attempts that run, oldest first.

        `waiting` are reasons why nothing more starts, and `stopping` why the run ends early, beyond those that
        the events told.
        """
        now, counts = self._clock(), self._counts()
        shown = self._running(now)
        ended = self._succeeded + self._failed + self._skipped + self._cancelled
        pace = self._pace.per_second(now, ended - self._cached)
        left = self._total - sum(counts[state] for state in ("succeeded", "failed", "skipped", "cancelled"))
        return LiveFacts(
            elapsed=now - self._began,
            counts=counts | {"pending": max(left, 0)},
            total=self._total,
            planning_done=self._planning_done,
            running=tuple(shown[:running]),
            running_total=len(shown),
            queued=tuple(islice(self._queued.values(), 3)),
            last=None if self._last is None else _finished(self._last),
            failures=self._latest_failures(),
            groups={name: GroupFacts(*facts) for name, facts in self._groups.items()},
            memory=sum(self._rss.values()),
            jobs_per_hour=None if pace is None else 3600 * pace,
            eta=max(left, 0) / pace if pace and self._planning_done else None,
            typical=self._durations.percentile(0.5),
            spent=self._spent,
            requests=RequestFacts(self._answered, self._call_hits, self._tokens_in, self._tokens_out),
            waiting=(*waiting, *self._paused(now)),
            stopping=stopping or self._stopping,
        )

    def _paused(self, now: float) -> list[str]:
        left = {quota: until - now for quota, until in self._pauses.items() if until > now}
        return [f"rate limit of `{quota}` for {duration_text(seconds)}" for quota, seconds in left.items()]

    def _counts(self) -> dict[str, int]:
        counted = {
            "succeeded": self._succeeded,
            "failed": self._failed,
            "skipped": self._skipped,
            "cancelled": self._cancelled,
            "cached": self._cached,
            "retried": self._retried,
        }
        return {state: self._before.get(state, 0) + n for state, n in counted.items()}

    def _running(self, now: float) -> list[Running]:
        shown: list[Running] = []
        heads: set[int] = set()
        for attempt in self._attempts.values():
            if attempt.alone and attempt.slot in heads:
                continue  # sent ahead: it has not begun
            heads.add(attempt.slot)
            since = max(attempt.sent, self._free_since.get(attempt.slot, 0.0)) if attempt.alone else attempt.sent
            shown.append(self._running_one(attempt, now - since))
        return sorted(shown, key=lambda running: -running.seconds)

    def _running_one(self, attempt: _Attempt, seconds: float) -> Running:
        running = Running(
            attempt.slot, attempt.job, attempt.number, max(seconds, 0.0), rss=self._rss.get(attempt.slot, 0)
        )
        if (progress := attempt.progress) is None:
            return running
        return running._replace(done=progress.done, total=progress.total, stage=one_line(progress.stage, 40))

    def _latest_failures(self) -> tuple[Failed, ...]:
        first = self._failed - len(self._failures) + 1
        return tuple(
            Failed(first + place, published.row.name, _kind(published), _words(published))
            for place, published in enumerate(self._failures)
        )


def _count(told: object) -> int:
    """A number of tokens as a task told it: what is no count is none."""
    return told if isinstance(told, int) else 0


def _finished(published: Published) -> Finished:
    state = "cached" if published.cached else str(published.state)
    return Finished(published.row.name, state, _words(published))


def _kind(published: Published) -> str:
    outcome = published.outcome
    return str(outcome.kind) if outcome is not None and outcome.kind is not None else "error"


def _words(published: Published) -> str:
    outcome = published.outcome
    if outcome is None:
        return ""
    if outcome.result is not None and published.state is JobState.SUCCEEDED:
        return one_line(outcome.result[: 8 * _WORDS].decode(errors="replace"), _WORDS)
    return one_line(outcome.message, _WORDS)
