"""From facts to rows: what one transaction is going to write, gathered table by table.

Pure except for what `Batch.apply` runs on the connection it is given. Threads and commits are in `journal`, what
must lie on the disk before a commit in `files`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from batchmill.ledger.database import storable
from batchmill.ledger.objects import LARGEST_INLINE, PREFIX
from batchmill.ledger.planning import PlanChunk
from batchmill.ledger.queries import SQL, write_rows
from batchmill.model.facts import (
    AttemptEnded,
    CallCached,
    CallClosed,
    CallReserved,
    Fact,
    HookEnded,
    JobCached,
    JobCancelled,
    JobDue,
    JobEnded,
    JobKeyed,
    JobReset,
    Noted,
    RunSet,
    SlotSet,
    StepSaved,
)
from batchmill.model.outcomes import Artifact, Blob, Outcome
from batchmill.model.states import JobState, RunState

_ALIVE = (RunState.PLANNING, RunState.RUNNING)
_Row = tuple[Any, ...]


class Linked(NamedTuple):
    """An artifact to be linked under `out/` after the commit: a job number or a hook, and the name it was given."""

    owner: str
    name: str
    digest: str


class Batch:
    """The facts of one transaction as rows. `apply` may be repeated until a commit succeeds.

    `tick` is the number of the transaction; `offset` turns monotonic into wall seconds.
    """

    def __init__(self, tick: int, offset: float) -> None:
        self.tick = tick
        self.highest = 0  # the last batch number that is in here
        self.count = 0  # batches in here
        self.blobs: list[tuple[int, Blob]] = []  # of a job (or of a hook: 0), to be adopted before the transaction
        self.contents: dict[str, bytes] = {}  # digest -> what must be an object before the transaction
        self.discarded: list[Blob] = []  # of attempts that gave no result
        self.links: list[Linked] = []
        self.notes: list[tuple[float, str]] = []
        self.spent = 0
        self.chunks: list[tuple[PlanChunk, dict[int, str]]] = []  # with the digests of large parameters, by job
        self.chunk_errors: list[str] = []  # after `apply`, for each chunk: empty when it is planned
        self.cached: list[JobCached] = []
        self._offset = offset
        self._lost: dict[int, str] = {}
        # in the order in which they are written: a call is reserved before it is closed
        self._rows: dict[str, list[_Row]] = {"call_reserved": []}
        self._stages: list[dict[str, list[_Row]]] = []
        self._jobs: dict[str, list[_Row]] = {}  # the stage that is being filled
        self._stage_of: dict[int, str] = {}  # job -> its statement in that stage
        self._staged: set[int] = set()  # jobs of earlier stages
        self._charges: dict[int, tuple[int, int]] = {}  # job -> charged attempts, last attempt
        self._slots: dict[int, _Row] = {}
        self._add: dict[type, Callable[[Any], None]] = {
            AttemptEnded: self._attempt_ended,
            JobEnded: self._job_ended,
            JobCached: self._job_cached,
            JobDue: self._job_due,
            JobKeyed: self._job_keyed,
            JobReset: self._job_reset,
            JobCancelled: self._job_cancelled,
            SlotSet: self._slot_set,
            StepSaved: self._step_saved,
            CallReserved: self._call_reserved,
            CallClosed: self._call_closed,
            CallCached: self._call_cached,
            HookEnded: self._hook_ended,
            RunSet: self._run_set,
            Noted: self._noted,
        }

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write or to answer."""
        return not (self.count or self.chunks)

    @property
    def jobs(self) -> set[int]:
        """The jobs that this transaction changes."""
        return self._staged.union(self._stage_of, self._charges, self._lost)

    def add(self, number: int, facts: Sequence[Fact]) -> None:
        """Take in the facts of a batch, in order."""
        self.highest = max(self.highest, number)
        self.count += 1
        for fact in facts:
            self._add[type(fact)](fact)

    def plan(self, chunk: PlanChunk) -> None:
        """Take in a chunk of the plan."""
        large = {
            job.number: self._object(job.params.encode()) for job in chunk.rows if len(job.params) > LARGEST_INLINE
        }
        self.chunks.append((chunk, large))

    def apply(self, connection: sqlite3.Connection) -> None:
        """Run the statements; jobs stage by stage, so that each job's changes keep their order."""
        for name, rows in self._rows.items():
            write_rows(connection, name, rows)
        for stage in [*self._stages, self._jobs]:
            for name, rows in stage.items():
                write_rows(connection, name, rows)
        if self._charges:
            rows = [(charged, last, self.tick, job) for job, (charged, last) in self._charges.items()]
            connection.executemany(SQL["job_attempted"], rows)
        if self._slots:
            connection.executemany(SQL["slot"], self._slots.values())
        if self._lost:
            connection.executemany(SQL["job_lost"], [(why, self.tick, job) for job, why in self._lost.items()])
            connection.executemany("DELETE FROM artifacts WHERE job = ?", [(job,) for job in self._lost])

    def lose(self, job: int, why: str) -> None:
        """A file that belongs to this job's result cannot be had: the job fails, the others go on."""
        self._lost[job] = why

    # --- jobs and attempts

    def _attempt_ended(self, fact: AttemptEnded) -> None:
        _, job, number, slot, outcome, is_charged = fact
        start, end, cpu, peak = outcome.usage
        log = outcome.log or (None, None, None)
        charged = 1 if is_charged else 0  # sqlite3 binds exact types only without a detour
        self._charges[job] = (charged + self._charges.get(job, (0,))[0], number)
        used = (charged, start + self._offset, end - start, cpu, peak)
        if outcome.state is JobState.SUCCEEDED:
            self._row("attempt_succeeded", (job, number, slot, *used, *log))
            return
        said = (outcome.kind, storable(outcome.message), _names(outcome), storable(outcome.traceback) or None)
        died = (outcome.signal, outcome.exit_code)
        self._row("attempt", (job, number, slot, outcome.state, *said, *used, *died, *log))
        self.discarded += _blobs(outcome)

    def _job_ended(self, fact: JobEnded) -> None:
        job, outcome = fact.job, fact.outcome
        charges = self._charges.pop(job, (0, 0))
        wall = fact.at + self._offset
        if fact.state is not JobState.SUCCEEDED or outcome is None:
            self._job_ended_otherwise(fact, charges)
            return
        start, end, cpu, peak = outcome.usage
        took = (start + self._offset, end - start, cpu, peak)
        self._job("job_succeeded", job, (*charges, *self._result(job, outcome), *took, wall, self.tick, job))
        if outcome.artifacts:
            self._artifacts(job, "", outcome.artifacts)

    def _job_ended_otherwise(self, fact: JobEnded, charges: tuple[int, int]) -> None:
        outcome = fact.outcome
        took: _Row = (None, None, None, None)
        said: tuple[str | None, str | None] = (None, None)
        result: tuple[str | None, ...] = (None, None, None)
        if outcome is not None:
            start, end, cpu, peak = outcome.usage
            took = (start + self._offset, end - start, cpu, peak)
            said = (outcome.kind, storable(outcome.message))
            result = self._result(fact.job, outcome)
            self._artifacts(fact.job, "", outcome.artifacts)
        row = (fact.state, *said, fact.quarantined, *charges, *result, *took, fact.at + self._offset, self.tick)
        self._job("job_ended", fact.job, (*row, fact.job))

    def _job_cached(self, fact: JobCached) -> None:
        if fact.job in self._stage_of:
            self._next_stage()
        self._stage_of[fact.job] = "job_cached"
        self.cached.append(fact)

    def _job_due(self, fact: JobDue) -> None:
        self._charges.pop(fact.job, None)
        counters = (fact.attempts, fact.total_attempts, fact.deaths, fact.first_started + self._offset)
        self._job("job_due", fact.job, (fact.due + self._offset, *counters, self.tick, fact.job))

    def _job_keyed(self, fact: JobKeyed) -> None:
        self._row("job_keyed", (fact.key, self.tick, fact.job))

    def _job_reset(self, fact: JobReset) -> None:
        self._job("job_reset", fact.job, (fact.at + self._offset, self.tick, fact.job))

    def _job_cancelled(self, fact: JobCancelled) -> None:
        self._job("job_cancelled", fact.job, (fact.at + self._offset, self.tick, fact.job))

    def _job(self, statement: str, job: int, row: _Row) -> None:
        if self._stage_of.setdefault(job, statement) != statement:
            self._next_stage()
            self._stage_of[job] = statement
        rows = self._jobs.get(statement)
        if rows is None:
            rows = self._jobs[statement] = []
        rows.append(row)

    def _next_stage(self) -> None:
        self._stages.append(self._jobs)
        self._staged.update(self._stage_of)
        self._jobs, self._stage_of = {}, {}

    # --- everything else

    def _slot_set(self, fact: SlotSet) -> None:
        self._slots[fact.slot] = (fact.slot, fact.job, fact.attempt, fact.pid, fact.at + self._offset)

    def _step_saved(self, fact: StepSaved) -> None:
        step, finished = fact.step, fact.at + self._offset
        saved = (fact.key, storable(step.name), step.arguments, self._kept(step.value))
        self._row("step", (*saved, fact.job, fact.attempt, finished, fact.seconds))

    def _call_reserved(self, fact: CallReserved) -> None:
        asked = (fact.call, fact.job, storable(fact.quota), storable(fact.key), fact.tokens, fact.cost)
        self._row("call_reserved", (*asked, fact.at + self._offset))

    def _call_closed(self, fact: CallClosed) -> None:
        usage = str(fact.usage, "utf-8", "replace")
        self._row("call_closed", (fact.state, fact.tokens, fact.cost, usage, fact.at + self._offset, fact.call))
        if fact.state == "settled":
            self.spent += fact.cost

    def _call_cached(self, fact: CallCached) -> None:
        usage, wall = str(fact.usage, "utf-8", "replace"), fact.at + self._offset
        self._row("call_cached", (fact.call, fact.job, storable(fact.quota), storable(fact.key), wall, wall, usage))

    def _hook_ended(self, fact: HookEnded) -> None:
        outcome = fact.outcome
        if outcome.result_blob is not None:
            self.blobs.append((0, outcome.result_blob))
            result: str | None = PREFIX + outcome.result_blob.digest
        else:
            result = None if outcome.result is None else self._kept(outcome.result)
        said = (outcome.state, outcome.kind, storable(outcome.message), result)
        self._row("hook", (fact.hook, fact.task, *said, fact.at + self._offset))
        self._artifacts(0, f"{fact.hook}:{fact.task}", outcome.artifacts)

    def _run_set(self, fact: RunSet) -> None:
        wall = fact.at + self._offset
        finished = None if fact.state in _ALIVE else wall
        self._row("run_set", (fact.state, storable(fact.reason), wall, finished))

    def _noted(self, fact: Noted) -> None:
        self.notes.append((fact.at + self._offset, fact.text))

    def _row(self, statement: str, row: _Row) -> None:
        rows = self._rows.get(statement)
        if rows is None:
            rows = self._rows[statement] = []
        rows.append(row)

    # --- contents

    def _result(self, job: int, outcome: Outcome) -> tuple[str | None, str | None, str | None]:
        """Result, its object and metrics as they are stored."""
        metrics = None if outcome.metrics is None else str(outcome.metrics, "utf-8", "replace")
        if outcome.result_blob is not None:
            self.blobs.append((job, outcome.result_blob))
            return None, outcome.result_blob.digest, metrics
        if outcome.result is None:
            return None, None, metrics
        if len(outcome.result) > LARGEST_INLINE:
            return None, self._object(outcome.result), metrics
        return str(outcome.result, "utf-8", "replace"), None, metrics

    def _kept(self, value: bytes) -> str:
        if len(value) > LARGEST_INLINE:
            return PREFIX + self._object(value)
        return str(value, "utf-8", "replace")

    def _object(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.contents[digest] = data
        return digest

    def _artifacts(self, job: int, hook: str, artifacts: Sequence[Artifact]) -> None:
        for name, blob in artifacts:
            self.blobs.append((job, blob))
            self._row("artifact", (job, hook, storable(name), blob.digest, blob.size))
            self.links.append(Linked(hook or str(job), name, blob.digest))


def _blobs(outcome: Outcome) -> list[Blob]:
    blobs = [artifact.blob for artifact in outcome.artifacts]
    return blobs if outcome.result_blob is None else [*blobs, outcome.result_blob]


def _names(outcome: Outcome) -> str | None:
    return json.dumps(outcome.exceptions) if outcome.exceptions else None
