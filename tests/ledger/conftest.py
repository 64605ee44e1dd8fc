"""A home in a temporary folder, and a journal whose answers can be waited for."""

from __future__ import annotations

import hashlib
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from batchmill.ledger.home import Home, NewRun
from batchmill.ledger.journal import Journal
from batchmill.ledger.lease import acquire
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from batchmill.model.events import CommitFailed, Committed, Event, Planned
from batchmill.model.facts import AttemptEnded, Fact, JobEnded
from batchmill.model.jobs import PlannedJob
from batchmill.model.outcomes import Artifact, Blob, Outcome, Usage
from batchmill.model.states import FailureKind, JobState, Mode

OFFSET = 1_000_000.0  # wall minus monotonic time, in these tests
PATIENCE = 30.0  # seconds until a missing answer fails a test


def planned(number: int, name: str | None = None, **changes: Any) -> PlannedJob:
    """A job of a plan; its key is made of its number."""
    job = PlannedJob(
        number, name or f"job-{number}", name is None, "noop", Mode.PROCESS, "1", f'{{"x":{number}}}', key_of(number)
    )
    return job._replace(**changes)


def key_of(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def success(result: bytes | None = b'{"value":1}', **changes: Any) -> Outcome:
    return Outcome(JobState.SUCCEEDED, Usage(5.0, 6.5, 0.5, 1000), result=result, metrics=b'{"m":1}')._replace(
        **changes
    )


def failure(message: str = "went wrong", **changes: Any) -> Outcome:
    outcome = Outcome(JobState.FAILED, Usage(5.0, 6.5, 0.5, 1000), kind=FailureKind.ERROR, message=message)
    return outcome._replace(exceptions=("ValueError", "Exception"), traceback="Traceback...", **changes)


def ending(job: int, outcome: Outcome | None = None, number: int = 1) -> list[Fact]:
    """An attempt that ended its job."""
    outcome = outcome or success()
    return [AttemptEnded(10.0, job, number, 0, outcome), JobEnded(10.0, job, outcome.state, outcome)]


def waiting(paths: RunPaths, data: bytes, name: str) -> Blob:
    """A file as a worker leaves it in `tmp/`."""
    (paths.tmp / name).write_bytes(data)
    return Blob(hashlib.sha256(data).hexdigest(), len(data), name)


def artifact(paths: RunPaths, name: str, data: bytes) -> Artifact:
    return Artifact(name, waiting(paths, data, f"blob-{hashlib.sha256(name.encode()).hexdigest()[:8]}"))


class Written:
    """A journal with its answers."""

    def __init__(self, paths: RunPaths, **options: Any) -> None:
        self.paths = paths
        self.answers: queue.Queue[Event] = queue.Queue()
        self.lease = acquire(paths)
        self.journal = Journal(
            paths,
            self.lease,
            **{"wall_offset": OFFSET, "durability": "process", "answer": self.answers.put} | options,
        )
        self.journal.start()
        self.number = 0

    def submit(self, *facts: Fact) -> int:
        self.number += 1
        self.journal.submit(self.number, list(facts))
        return self.number

    def write(self, *facts: Fact) -> None:
        """Submit facts and wait until they are committed."""
        self.wait(lambda event: isinstance(event, Committed) and event.number >= self.number, self.submit(*facts))

    def plan(self, *jobs: PlannedJob, position: int = 0, done: bool = True) -> Planned:
        self.journal.submit_plan(jobs, position or len(jobs), done)
        answer = self.wait(lambda event: isinstance(event, Planned))
        assert isinstance(answer, Planned)
        return answer

    def wait(self, wanted: Callable[[Event], bool], *_: object) -> Event:
        end = time.monotonic() + PATIENCE
        while True:
            event = self.answers.get(timeout=max(end - time.monotonic(), 0.001))
            if wanted(event):
                return event

    def wait_for_failure(self) -> CommitFailed:
        answer = self.wait(lambda event: isinstance(event, CommitFailed))
        assert isinstance(answer, CommitFailed)
        return answer

    def close(self) -> None:
        try:
            self.journal.close()
        finally:
            self.lease.release()

    def ask(self, query: str, *given: object) -> list[Any]:
        """What the ledger says, to a reader."""
        return ask(self.paths, query, *given)


def ask(paths: RunPaths, query: str, *given: object) -> list[Any]:
    with LedgerReader(paths.ledger) as reader:
        return reader._all(query, given)


@contextmanager
def writing(paths: RunPaths, **options: Any) -> Iterator[Written]:
    written = Written(paths, **options)
    try:
        yield written
    finally:
        written.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / ".batchmill")


@pytest.fixture
def new_run(home: Home) -> Callable[..., RunPaths]:
    def make(name: str = "sweep", **fields: Any) -> RunPaths:
        run = NewRun(name, "noop", "digest", "/somewhere")._replace(**fields)
        return home.create_run(run)

    return make


@pytest.fixture
def paths(new_run: Callable[..., RunPaths]) -> RunPaths:
    return new_run()


@pytest.fixture
def written(paths: RunPaths) -> Iterator[Written]:
    with writing(paths) as written:
        yield written
