"""A fake clock, and events as the scheduler would publish them."""

from __future__ import annotations

import pytest

from batchmill.live.facts import LiveFacts, Running
from batchmill.model.commands import Published, Start
from batchmill.model.jobs import Row
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import FailureKind, JobState, Mode


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def row(job: int, *, group: str | None = None, mode: Mode = Mode.PROCESS) -> Row:
    return Row(job, f"job-{job}", "t", mode, "1", "{}", None, group=group)


def start(job: int, slot: int = 1, *, attempt: int = 1, mode: Mode = Mode.PROCESS, hook: str = "") -> Start:
    return Start(slot, row(job, mode=mode), attempt, None, None, hook=hook)


def published(
    job: int,
    state: JobState = JobState.SUCCEEDED,
    *,
    at: float = 1000.0,
    seconds: float = 1.0,
    result: bytes = b"{}",
    message: str = "",
    group: str | None = None,
    retry_in: float | None = None,
) -> Published:
    kind = FailureKind.ERROR if state is JobState.FAILED else None
    usage = Usage(at - seconds, at)
    outcome = Outcome(state, usage, kind, message, result=result if state is JobState.SUCCEEDED else None)
    return Published(at, row(job, group=group), state, outcome, False, retry_in)


def cached(job: int, at: float = 1000.0) -> Published:
    return Published(at, row(job), JobState.SUCCEEDED, None, True)


def busy(workers: int, **more: object) -> LiveFacts:
    """Facts of a run in which every worker runs something."""
    running = tuple(Running(n, f"job-{n}", 1, 10.0, 3, 10, "fitting", 10**8) for n in range(min(workers, 64)))
    counts = {"succeeded": 440, "failed": 3, "skipped": 0, "cancelled": 0, "cached": 12, "retried": 5}
    facts = {"counts": counts, "total": 1000, "running": running, "running_total": workers, "elapsed": 80.0}
    return LiveFacts(**{**facts, **more})  # type: ignore[arg-type]
