"""Writing chunks of the plan: names made unique, tasks bound, groups counted. What is planned is not decided here."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from batchmill.errors import LedgerError
from batchmill.ledger.counting import add_counts
from batchmill.ledger.database import storable
from batchmill.ledger.objects import PREFIX
from batchmill.ledger.queries import SQL, write_rows
from batchmill.model.jobs import PlannedJob
from batchmill.model.limits import Backoff, Retry
from batchmill.model.states import FailureKind, JobState


class PlanChunk(NamedTuple):
    """Rows of the plan and the position after them."""

    rows: Sequence[PlannedJob]
    position: int
    done: bool


def encode_retry(retry: Retry | None) -> str | None:
    """A retry policy as JSON."""
    if retry is None:
        return None
    return json.dumps(retry._asdict() | {"backoff": retry.backoff._asdict()})


def decode_retry(text: str | None) -> Retry | None:
    """What `encode_retry` wrote."""
    if text is None:
        return None
    fields = json.loads(text)
    on = None if fields["on"] is None else tuple(fields["on"])
    return Retry(**fields | {"on": on, "backoff": Backoff(**fields["backoff"])})


class Planner:
    """Inserts plan chunks within the transaction that is open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._bindings: dict[tuple[str, str, str], int] = {}

    def insert(self, chunk: PlanChunk, objects: dict[int, str], tick: int, now: float) -> None:
        """Insert a chunk with its position. `objects` holds the digests of large parameters by job number.

        Raises LedgerError when an explicit name is taken; nothing of the chunk is written then.
        """
        self._connection.execute("SAVEPOINT chunk")
        try:
            self._insert_jobs(chunk.rows, objects, tick, now)
            self._count(chunk.rows)
            moved = (len(chunk.rows), chunk.position, chunk.done)
            self._connection.execute(SQL["plan_moved"], moved)
        except BaseException:
            self._bindings.clear()
            self._connection.execute("ROLLBACK TO chunk")
            raise
        finally:
            self._connection.execute("RELEASE chunk")

    def forget(self) -> None:
        """The transaction was rolled back: what it bound is unknown again."""
        self._bindings.clear()

    def _insert_jobs(self, jobs: Sequence[PlannedJob], objects: dict[int, str], tick: int, now: float) -> None:
        rows = [self._row(job, objects, tick, now) for job in jobs]
        self._connection.execute("SAVEPOINT names")
        try:
            write_rows(self._connection, "plan_job", rows)
        except sqlite3.IntegrityError:
            self._connection.execute("ROLLBACK TO names")
            self._insert_one_by_one(jobs, rows)
        self._connection.execute("RELEASE names")

    def _insert_one_by_one(self, jobs: Sequence[PlannedJob], rows: Sequence[tuple[Any, ...]]) -> None:
        for job, row in zip(jobs, rows, strict=True):
            name = self._free_name(row[1]) if job.generated else row[1]
            try:
                self._connection.execute(SQL["plan_job"], (row[0], name, *row[2:]))
            except sqlite3.IntegrityError as error:
                raise LedgerError(
                    f"job {job.number} cannot be planned: the name `{name}` is taken, or its number is",
                    hint="names of jobs are unique in a run",
                    code="plan/duplicate-name",
                ) from error

    def _free_name(self, name: str) -> str:
        """The name itself or `name~2`, `name~3`...: found by doubling and halving, as there may be a million."""
        if not self._taken(name):
            return name
        taken, free = 1, 2
        while self._taken(f"{name}~{free}"):
            taken, free = free, 2 * free
        while free - taken > 1:
            middle = (free + taken) // 2
            taken, free = (middle, free) if self._taken(f"{name}~{middle}") else (taken, middle)
        return f"{name}~{free}"

    def _taken(self, name: str) -> bool:
        return self._connection.execute("SELECT 1 FROM jobs WHERE name = ?", (name,)).fetchone() is not None

    def _row(self, job: PlannedJob, objects: dict[int, str], tick: int, now: float) -> tuple[Any, ...]:
        params = PREFIX + objects[job.number] if job.number in objects else job.params
        inputs = json.dumps(job.inputs) if job.inputs else None
        state, kind, finished = JobState.PENDING.value, None, None
        if job.invalid is not None:
            state, kind, finished = JobState.FAILED.value, FailureKind.INVALID.value, now
        return (
            job.number,
            storable(job.name),
            self._binding((job.task, str(job.mode), job.version)),
            params,
            job.key,
            inputs,
            storable(job.group) if job.group else job.group,
            job.lane,
            job.priority,
            job.timeout,
            job.memory,
            encode_retry(job.retry),
            state,
            kind,
            storable(job.invalid or "") or None,
            job.invalid is not None,
            finished,
            tick,
        )

    def _binding(self, binding: tuple[str, str, str]) -> int:
        if binding not in self._bindings:
            ((self._bindings[binding],),) = self._connection.execute(SQL["binding"], binding).fetchall()
        return self._bindings[binding]

    def _count(self, jobs: Sequence[PlannedJob]) -> None:
        states = Counter(
            (storable(job.group or ""), str(JobState.PENDING if job.invalid is None else JobState.FAILED))
            for job in jobs
        )
        self._connection.executemany(SQL["count_group"], [(group,) for group, _ in states])
        add_counts(self._connection, states)
