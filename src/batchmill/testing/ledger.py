"""A ledger in memory: what is durable, who writes it (late, sometimes in vain) and who reads it (late, too).

`SimulatedLedger` survives a simulated kill -9; `SimulatedJournal` and `SimulatedFeed` do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, NamedTuple

from batchmill.errors import InternalError
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model import facts
from batchmill.model.jobs import Row, SavedStep, Source
from batchmill.model.limits import Limits
from batchmill.model.outcomes import Outcome
from batchmill.model.states import JobState, RunState
from batchmill.testing.clock import FakeClock

Post = Callable[[ev.Event], None]


class Written(NamedTuple):
    """The facts of this batch are durable (the driver does not know it yet)."""

    at: float
    batch: int


@dataclass
class Record:
    """One job as the ledger has it."""

    row: Row
    state: JobState = JobState.PENDING
    due: float | None = None
    cached: bool = False
    quarantined: bool = False
    source: Source | None = None
    kind: str | None = None
    attempts: list[facts.AttemptEnded] = field(default_factory=list)
    ends: int = 0  # how often it reached an end, since it was reset


class SimulatedLedger:
    """The durable truth about one run. Raises InternalError for a fact that no sound run could state.

    `keys` are the keys of jobs with input files, known once these are digested (None: the input is invalid);
    `elsewhere` are results of other runs by key.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        keys: Mapping[int, str | None] | None = None,
        elsewhere: Mapping[str, Source] | None = None,
        unshared: frozenset[str] = frozenset(),
    ) -> None:
        self.plan = list(rows)
        self.keys = dict(keys or {})
        self.elsewhere = dict(elsewhere or {})
        self.unshared = unshared
        self.jobs: dict[int, Record] = {}
        self.plan_done = False
        self.steps: dict[tuple[str, str], facts.StepSaved] = {}
        self.calls: dict[int, tuple[str, int]] = {}  # call -> (state, cost)
        self.quotas: dict[int, str] = {}  # call -> its quota
        self.hooks: dict[tuple[str, str], Outcome] = {}
        self.state = RunState.PLANNING
        self.reason = ""
        self.notes: list[str] = []
        self._apply: dict[type, Callable[[Any], None]] = {
            facts.AttemptEnded: self._attempt_ended,
            facts.JobEnded: self._job_ended,
            facts.JobCached: self._job_cached,
            facts.JobDue: self._job_due,
            facts.JobKeyed: self._job_keyed,
            facts.JobReset: self._job_reset,
            facts.JobCancelled: self._job_cancelled,
            facts.StepSaved: self._step_saved,
            facts.CallReserved: self._call_reserved,
            facts.CallClosed: self._call_closed,
            facts.HookEnded: self._hook_ended,
            facts.RunSet: self._run_set,
            facts.Noted: lambda fact: self.notes.append(fact.text),
        }

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        states = [record.state for record in self.jobs.values()]
        return {state: states.count(state) for state in JobState}

    @property
    def spent(self) -> int:
        """Micro-cents settled, and those of calls of whose end nobody knows."""
        return sum(cost for _, cost in self.calls.values())

    @property
    def spent_of(self) -> tuple[tuple[str, int], ...]:
        """The same by quota; a name may come several times."""
        return tuple((self.quotas[call], cost) for call, (_, cost) in self.calls.items() if call in self.quotas)

    def waiting(self) -> dict[int, int]:
        """The lanes of the jobs that wait for another attempt, by their numbers."""
        return {int(job): self.jobs[int(job)].row.lane for _, job in self._waiting()}

    def grow(self, count: int) -> None:
        """Take the next `count` jobs of the plan in."""
        start = len(self.jobs)
        self.jobs |= {row.job: Record(row) for row in self.plan[start : start + count]}
        self.plan_done = len(self.jobs) == len(self.plan)

    def apply(self, new: Sequence[facts.Fact]) -> None:
        """Write facts, in order."""
        for fact in new:
            if (write := self._apply.get(type(fact))) is not None:
                write(fact)

    def recover(self) -> None:
        """What a new owner does first: open calls of a dead one count as spent in full."""
        for call, (state, cost) in self.calls.items():
            if state == "reserved":
                self.calls[call] = ("unknown", cost)

    def reset_failed(self, now: float) -> None:
        """Failed jobs run again, but for quarantined ones."""
        for job, record in self.jobs.items():
            if record.state is JobState.FAILED and not record.quarantined:
                self._job_reset(facts.JobReset(now, job))

    # --- facts

    def _pending(self, fact: facts.JobEnded | facts.JobCached | facts.JobDue) -> Record:
        record = self.jobs[fact.job]
        if record.state is not JobState.PENDING:
            raise InternalError(f"{type(fact).__name__} of job {fact.job}, which is {record.state} already")
        return record

    def _attempt_ended(self, fact: facts.AttemptEnded) -> None:
        record = self.jobs[fact.job]
        if fact.number != record.row.total_attempts + 1:
            raise InternalError(f"attempt {fact.number} of job {fact.job} after {record.row.total_attempts}")
        record.attempts.append(fact)
        charged = record.row.attempts + fact.charged
        record.row = record.row._replace(attempts=charged, total_attempts=fact.number)

    def _job_ended(self, fact: facts.JobEnded) -> None:
        record = self._pending(fact)
        record.state, record.due, record.quarantined = fact.state, None, fact.quarantined
        record.kind = None if fact.outcome is None else fact.outcome.kind
        record.ends += 1

    def _job_cached(self, fact: facts.JobCached) -> None:
        record = self._pending(fact)
        if fact.source.run == "" and self.jobs[fact.source.job].state is not JobState.SUCCEEDED:
            raise InternalError(f"job {fact.job} takes a result of job {fact.source.job}, which has none")
        record.state, record.due, record.cached, record.source = JobState.SUCCEEDED, None, True, fact.source
        record.ends += 1

    def _job_due(self, fact: facts.JobDue) -> None:
        record = self._pending(fact)
        record.due = fact.due
        record.row = record.row._replace(
            attempts=fact.attempts,
            total_attempts=fact.total_attempts,
            deaths=fact.deaths,
            first_started=fact.first_started,
        )

    def _job_keyed(self, fact: facts.JobKeyed) -> None:
        record = self.jobs[fact.job]
        record.row = record.row._replace(key=fact.key)

    def _job_reset(self, fact: facts.JobReset) -> None:
        record = self.jobs.get(fact.job)
        if record is None or record.state in (JobState.PENDING, JobState.SUCCEEDED):
            return
        record.row = record.row._replace(attempts=0, deaths=0, first_started=None)
        record.state, record.due, record.quarantined = JobState.PENDING, fact.at, False
        record.kind, record.ends = None, 0

    def _job_cancelled(self, fact: facts.JobCancelled) -> None:
        record = self.jobs.get(fact.job)
        if record is not None and record.state is JobState.PENDING:
            record.state, record.due = JobState.CANCELLED, None
            record.ends += 1

    def _step_saved(self, fact: facts.StepSaved) -> None:
        self.steps[fact.key, fact.step.name] = fact

    def _call_reserved(self, fact: facts.CallReserved) -> None:
        if fact.call in self.calls:
            raise InternalError(f"call {fact.call} is reserved twice")
        self.calls[fact.call] = ("reserved", fact.cost)
        self.quotas[fact.call] = fact.quota

    def _call_closed(self, fact: facts.CallClosed) -> None:
        if self.calls[fact.call][0] not in ("reserved", "unknown"):
            raise InternalError(f"call {fact.call} is closed twice")
        self.calls[fact.call] = (fact.state, fact.cost)

    def _hook_ended(self, fact: facts.HookEnded) -> None:
        self.hooks[fact.hook, fact.task] = fact.outcome

    def _run_set(self, fact: facts.RunSet) -> None:
        self.state, self.reason = fact.state, fact.reason

    # --- reading

    def load(
        self, load: do.Load, now: float, capped: frozenset[str]
    ) -> tuple[tuple[Row, ...], bool, Any, float | None]:
        """Rows of a stream after a position, whether that was all, the position to go on from, and the next due."""
        places = self._waiting() if load.stream == "due" else self._ready(load.stream, capped)
        rest = sorted(place for place in places if load.after is None or place > load.after)
        open_now = [place for place in rest if load.stream != "due" or place[0] <= now]
        page, later = open_now[: load.limit], rest[len(open_now) :]
        rows = tuple(self._row(int(place[-1])) for place in page)
        return rows, len(page) == len(open_now), page[-1] if page else None, later[0][0] if later else None

    def _waiting(self) -> list[tuple[float, ...]]:
        pending = [r for r in self.jobs.values() if r.state is JobState.PENDING and r.due is not None]
        return [(float(r.due or 0.0), r.row.job) for r in pending]

    def _ready(self, stream: str, capped: frozenset[str]) -> list[tuple[float, ...]]:
        name = stream.partition(":")[2] or None
        return [
            (record.row.lane, -record.row.priority, record.row.job)
            for record in self.jobs.values()
            if record.state is JobState.PENDING and record.due is None
            if (record.row.group == name if name else record.row.group not in capped)
        ]

    def _row(self, job: int) -> Row:
        row = self.jobs[job].row
        steps = tuple(self._steps(row.key)) if row.key is not None else ()
        return row._replace(steps=steps, source=self.source(row.task, row.key))

    def _steps(self, key: str) -> list[SavedStep]:
        return [saved.step for (owner, _), saved in self.steps.items() if owner == key]

    def source(self, task: str, key: str | None) -> Source | None:
        """A result that exists for a key."""
        if key is None or task in self.unshared:
            return None
        for record in self.jobs.values():
            if record.row.key == key and record.state is JobState.SUCCEEDED and not record.cached:
                return Source("", record.row.job)
        return self.elsewhere.get(key)


class SimulatedJournal:
    """Writes what is submitted, everything that waits in one transaction, after a moment; plans in chunks, too.

    `watch` is told what became durable (Written); `fails` says how often the transaction of a number fails before it
    works.
    """

    def __init__(
        self,
        ledger: SimulatedLedger,
        clock: FakeClock,
        chance: Random,
        post: Post,
        watch: Callable[[Written], None],
        fails: Callable[[int], int],
    ) -> None:
        self._ledger, self._clock, self._chance = ledger, clock, chance
        self._post, self._watch, self._fails = post, watch, fails
        self._queue: deque[tuple[int, Sequence[facts.Fact]]] = deque()
        self._chunks: deque[int] = deque()
        self._writing = False
        self._number = 0  # transactions
        self._failures_left = 0

    def submit(self, batch: int, new: Sequence[facts.Fact]) -> None:
        """Have facts written; answered by Committed."""
        self._queue.append((batch, new))
        self._write()

    def submit_plan(self, count: int) -> None:
        """Have the next `count` jobs of the plan written; answered by Planned."""
        self._chunks.append(count)
        self._write()

    @property
    def uncommitted(self) -> int:
        """Batches that wait."""
        return len(self._queue)

    def _write(self) -> None:
        if not self._writing:
            self._writing = True
            self._number += 1
            self._failures_left = self._fails(self._number)
            self._clock.after(self._chance.uniform(0.0002, 0.004), self._commit)

    def _commit(self) -> None:
        if self._failures_left:
            self._failures_left -= 1
            number = self._queue[-1][0] if self._queue else 0
            self._post(ev.CommitFailed(self._clock.now, number, "no space left on device"))
            self._clock.after(0.05, self._commit)
            return
        now, number, self._writing = self._clock.now, 0, False
        while self._chunks:
            self._ledger.grow(self._chunks.popleft())
            self._post(ev.Planned(now, len(self._ledger.jobs), self._ledger.plan_done))
        while self._queue:
            number, new = self._queue.popleft()
            self._ledger.apply(new)
            self._watch(Written(now, number))
        if number:
            self._post(ev.Committed(now, number))


class SimulatedFeed:
    """Answers Load and Prepare: reads a moment after it was asked, answers a moment after it has read."""

    def __init__(self, ledger: SimulatedLedger, clock: FakeClock, chance: Random, post: Post, limits: Limits) -> None:
        self._ledger, self._clock, self._chance, self._post = ledger, clock, chance, post
        self._capped = frozenset(group for group, _ in limits.group_concurrency)

    def ask(self, loads: Sequence[do.Load], prepares: Sequence[do.Prepare]) -> None:
        """Answer later."""
        for load in loads:
            self._later(partial(self._read, load))
        for prepare in prepares:
            self._later(partial(self._digest, prepare.row))

    def _later(self, action: Callable[[], None]) -> None:
        self._clock.after(self._chance.uniform(0.0, 0.003), action)

    def _read(self, load: do.Load) -> None:
        rows, exhausted, after, due = self._ledger.load(load, self._clock.now, self._capped)
        self._later(lambda: self._post(ev.Loaded(self._clock.now, load.stream, rows, exhausted, after, due)))

    def _digest(self, row: Row) -> None:
        key = self._ledger.keys.get(row.job)
        source = self._ledger.source(row.task, key)
        invalid = "" if key is not None else "input file `a` changed while it was read"
        self._later(lambda: self._post(ev.Prepared(self._clock.now, row.job, key, source, invalid)))
