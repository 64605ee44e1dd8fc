"""What was acknowledged survives any kill, and what was not leaves nothing half done."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

from batchmill.ledger.home import Home
from batchmill.ledger.invocation import prepare_invocation
from batchmill.ledger.lease import acquire, holder
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.verify import verify
from tests.ledger.conftest import ask

KILLS = 6
SIZE = 20

# runs every pending job in batches; says how far it is after each commit
DRIVER = """
import hashlib, sys, time
from pathlib import Path
from batchmill.ledger.invocation import prepare_invocation
from batchmill.ledger.journal import Journal
from batchmill.ledger.lease import acquire
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from batchmill.model.events import Committed
from batchmill.model.facts import AttemptEnded, JobEnded, SlotSet
from batchmill.model.jobs import PlannedJob
from batchmill.model.outcomes import Artifact, Blob, Outcome, Usage
from batchmill.model.states import JobState, Mode

size = int(sys.argv[3])
paths = RunPaths(Path(sys.argv[1]), sys.argv[2])
batches = {}

def answer(event):
    if isinstance(event, Committed):
        for number in [n for n in batches if n <= event.number]:
            print("done", *batches.pop(number), flush=True)

def success(job):
    data = b"result of %d" % job
    (paths.tmp / f"blob-{job}").write_bytes(data)
    artifact = Artifact("a.txt", Blob(hashlib.sha256(data).hexdigest(), len(data), f"blob-{job}"))
    return Outcome(JobState.SUCCEEDED, Usage(1.0, 2.0), result=b"%d" % job, artifacts=(artifact,))

with acquire(paths) as lease:
    prepare_invocation(paths)
    journal = Journal(paths, lease, durability="process", wall_offset=0.0, answer=answer)
    journal.start()
    with LedgerReader(paths.ledger) as reader:
        planned = reader.run().planned
        pending = [row.job for row in reader.load("main", None, 100_000, 0.0).rows]
    print("ready", flush=True)
    for number in range(1, 100_000):
        jobs = [pending.pop(0) if pending else 0 for _ in range(size)]
        if not all(jobs):
            rows = [PlannedJob(n, f"job-{n}", True, "t", Mode.PROCESS, "1", "{}", None)
                    for n in range(planned + 1, planned + size + 1)]
            journal.submit_plan(rows, planned + size, False)
            pending += [row.number for row in rows]
            planned += size
        while journal.uncommitted >= 4:
            time.sleep(0.0005)
        jobs = [job for job in jobs if job]
        outcomes = [success(job) for job in jobs]
        batches[number] = jobs
        journal.submit(number, [fact for job, outcome in zip(jobs, outcomes) for fact in (
            AttemptEnded(2.0, job, 1, 0, outcome), JobEnded(2.0, job, JobState.SUCCEEDED, outcome),
            SlotSet(2.0, 0, job, 1, 1))])
"""


def drive_and_kill(paths: RunPaths, lines: int) -> list[int]:
    """Start a driver, kill it after some lines of its answers, and return the jobs that it said are done."""
    command = [sys.executable, "-c", DRIVER, str(paths.home), paths.id, str(SIZE)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    told = [driver.stdout.readline() for _ in range(lines)]
    driver.send_signal(signal.SIGKILL)
    rest, _ = driver.communicate()
    whole = [line for line in [*told, *rest.splitlines(keepends=True)] if line.endswith("\n")]
    return [int(job) for line in whole if line.startswith("done") for job in line.split()[1:]]


def test_acknowledged_batches_survive_kills(home: Home, paths: RunPaths) -> None:
    chance = random.Random(1)
    done: list[int] = []
    for _ in range(KILLS):
        done += drive_and_kill(paths, chance.randrange(2, 15))
        assert holder(paths) is None
        left = [paths.ledger.read_bytes(), paths.ledger.with_name("ledger.db-wal").read_bytes()]
        assert verify(paths) == []
        succeeded = {n for (n,) in ask(paths, "SELECT number FROM jobs WHERE state = 'succeeded'")}
        assert set(done) <= succeeded
        # readers neither checkpoint nor remove the log that a dead writer left
        assert left == [paths.ledger.read_bytes(), paths.ledger.with_name("ledger.db-wal").read_bytes()]
    assert len(done) == len(set(done)) > 0
    with acquire(paths):
        prepare_invocation(paths)
    assert verify(paths) == []
    assert all((paths.out / str(job) / "a.txt").read_bytes() == b"result of %d" % job for job in done)
    assert home.gc() >= 0
    assert verify(paths) == []
