"""How fast the journal plans and records jobs, and what a job costs its thread: `python benchmarks/journal.py --help`.

Each success is three facts (attempt, job, slot). The main thread submits batches as the driver does, at most four
uncommitted, and with `--busy` also keeps the interpreter occupied between them.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from batchmill.ledger.home import Home, NewRun
from batchmill.ledger.journal import Journal
from batchmill.ledger.lease import acquire
from batchmill.model.events import Committed, Event, Planned
from batchmill.model.facts import AttemptEnded, Fact, JobEnded, RunSet, SlotSet
from batchmill.model.jobs import PlannedJob
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import JobState, Mode, RunState

MOST_UNCOMMITTED = 4


def planned(numbers: range, groups: int) -> list[PlannedJob]:
    """Rows of a plan."""
    return [
        PlannedJob(
            n,
            f"job-{n}",
            True,
            "noop",
            Mode.PROCESS,
            "1",
            f'{{"x":{n},"y":"some text"}}',
            hashlib.sha256(b"%d" % n).hexdigest(),
            group=f"group-{n % groups}" if groups else None,
        )
        for n in numbers
    ]


def successes(numbers: range) -> Iterator[Fact]:
    """The facts of one batch."""
    for n in numbers:
        now = time.monotonic()
        outcome = Outcome(
            JobState.SUCCEEDED, Usage(now, now + 0.001, 0.001, 20_000_000), result=b'{"value":1}', metrics=b'{"m":1}'
        )
        yield AttemptEnded(now, n, 1, n % 2, outcome)
        yield JobEnded(now, n, JobState.SUCCEEDED, outcome)
        yield SlotSet(now, n % 2, n + 2, 4711, 1)


class Answers:
    """Lets the submitting thread wait for room."""

    def __init__(self) -> None:
        self.room = threading.Semaphore(MOST_UNCOMMITTED)
        self.cpu = 0.0
        self.commits = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Committed | Planned):
            self.commits += 1
            self.cpu = time.thread_time()
        self.room.release()


def spin(seconds: float) -> None:
    """Occupy the interpreter."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--groups", type=int, default=0)
    parser.add_argument("--durability", choices=("power", "process"), default="power")
    parser.add_argument("--busy", type=float, default=0.0, help="ms of work of the main thread per batch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        measure(Home(Path(folder) / "home"), options)


def measure(home: Home, options: argparse.Namespace) -> None:
    """Plan, record, close; print each rate."""
    paths = home.create_run(NewRun("bench", "noop", "0", "/"))
    answers = Answers()
    with acquire(paths) as lease:
        offset = time.time() - time.monotonic()
        journal = Journal(paths, lease, durability=options.durability, wall_offset=offset, answer=answers)
        journal.start()
        began = time.perf_counter()
        for first in range(1, options.jobs + 1, 1000):
            numbers = range(first, min(first + 1000, options.jobs + 1))
            answers.room.acquire()
            journal.submit_plan(planned(numbers, options.groups), numbers[-1], numbers[-1] == options.jobs)
        wait(journal)
        report("planned", options.jobs, time.perf_counter() - began, answers.cpu)
        began, cpu, commits, number = time.perf_counter(), answers.cpu, answers.commits, 0
        for first in range(1, options.jobs + 1, options.batch):
            facts = list(successes(range(first, min(first + options.batch, options.jobs + 1))))
            while journal.uncommitted >= MOST_UNCOMMITTED:
                time.sleep(0.0002)
            number += 1
            journal.submit(number, facts)
            spin(options.busy / 1000)
        wait(journal)
        report("recorded", options.jobs, time.perf_counter() - began, answers.cpu - cpu)
        print(f"{answers.commits - commits} transactions for {number} batches")
        began = time.perf_counter()
        journal.submit(number + 1, [RunSet(time.monotonic(), RunState.FINISHED)])
        journal.close()
        lease.release()
        print(f"closed in {time.perf_counter() - began:.3f} s, {paths.ledger.stat().st_size / 1e6:.0f} MB")


def wait(journal: Journal) -> None:
    """Until everything is durable."""
    while journal.backlog:
        time.sleep(0.0005)


def report(what: str, jobs: int, seconds: float, cpu: float) -> None:
    """One line."""
    print(f"{what} {jobs:,} jobs: {jobs / seconds:,.0f} jobs/s, {1e6 * cpu / jobs:.1f} us of the journal's CPU a job")


if __name__ == "__main__":
    main()
