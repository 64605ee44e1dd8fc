"""Judges the history of a simulation: what must be true of every run, whatever the seed."""

from __future__ import annotations

from collections import Counter, defaultdict

from batchmill.core.policy import Policy
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model import facts
from batchmill.model.states import FailureKind, JobState, Mode, RunState
from batchmill.testing import Began, Crash, Hang, Killed, Left, Opened, Sent, Simulation, Submitted, Written

KILL_SLACK = 0.3  # seconds that a kill may take, with a driver that wakes late
TERMINAL = {RunState.FINISHED, RunState.STOPPED, RunState.INTERRUPTED, RunState.CANCELLED}


class Judge:
    """Reads a history once, in order; every rule that is broken fails an assertion."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.policy: Policy = simulation.policy
        self.rows = {row.job: row for row in simulation.ledger.plan}
        self.keys = {j: r.key or simulation.ledger.keys.get(j) for j, r in self.rows.items()}
        self.running: dict[tuple[int, int], Began] = {}
        self.starts: list[float] = []
        self.opened = 0.0
        self.batches: dict[int, list[object]] = {}
        self.batch: list[object] = []
        self.committed: dict[int, JobState] = {}  # job -> how it ended, durably
        self.questions: dict[int, ev.StepDone | ev.CallAsked] = {}
        self.saved: set[tuple[str, str]] = set()
        self.acked_steps: set[tuple[int, str]] = set()
        self.reserved: Counter[int] = Counter()  # job -> committed reservations
        self.granted: Counter[int] = Counter()
        self.sent = 0
        self.broken_disk = False
        self.over = False
        self.ever: set[int] = set()  # jobs that have ended durably, once or more
        self.told: set[int] = set()  # jobs of whose end the driver that lives has told, or found

    def judge(self) -> None:
        """Check everything."""
        for at, item in self.simulation.history:
            getattr(self, f"on_{type(item).__name__.lower()}", self.on_other)(at, item)
        self.final()

    def on_other(self, at: float, item: object) -> None:
        self.batch.append(item)
        if isinstance(item, facts.JobEnded | facts.JobCached | facts.JobCancelled):
            self.told.add(item.job)

    # --- invocations

    def on_opened(self, at: float, item: Opened) -> None:
        self.opened, self.starts, self.over, self.broken_disk = at, [], False, False
        self.batches = {}
        self.questions = {}
        self.told = set(self.committed)

    def on_killed(self, at: float, item: Killed) -> None:
        assert not self.running, "workers outlive the driver"

    def on_submitted(self, at: float, item: Submitted) -> None:
        assert item.batch == max(self.batches, default=0) + 1
        self.batch = self.batches[item.batch] = []

    def on_written(self, at: float, item: Written) -> None:
        for fact in self.batches[item.batch]:
            self.durable(fact)

    def on_committed(self, at: float, item: ev.Committed) -> None:
        self.broken_disk = False

    def on_commitfailed(self, at: float, item: ev.CommitFailed) -> None:
        self.broken_disk = True

    def durable(self, fact: object) -> None:
        if isinstance(fact, facts.JobEnded):
            self.committed[fact.job] = fact.state
            self.ever.add(fact.job)
        elif isinstance(fact, facts.JobCached):
            self.committed[fact.job] = JobState.SUCCEEDED
            self.ever.add(fact.job)
        elif isinstance(fact, facts.JobCancelled):
            self.committed.setdefault(fact.job, JobState.CANCELLED)
        elif isinstance(fact, facts.JobReset) and self.committed.get(fact.job) is not JobState.SUCCEEDED:
            self.committed.pop(fact.job, None)
        elif isinstance(fact, facts.StepSaved):
            self.saved.add((fact.key, fact.step.name))
        elif isinstance(fact, facts.CallReserved):
            self.reserved[fact.job] += 1

    # --- starts

    def on_start(self, at: float, item: do.Start) -> None:
        if item.hook in ("summarise", "report"):
            assert set(self.committed) >= set(self.rows), "a summary before the last end is committed"
        if item.hook:
            return
        job, limits = item.row.job, self.policy.limits
        assert job not in self.committed, f"job {job} is {self.committed[job]} already"
        assert not self.broken_disk, "a start while the ledger cannot be written"
        assert not self.over, "a start after the end"
        if limits.deadline is not None:
            assert at <= self.opened + limits.deadline + KILL_SLACK
        self.starts.append(at)
        if self.policy.waiting is not None:
            before = {n for n, row in self.rows.items() if row.lane < item.row.lane}
            assert before <= self.told, f"job {job} starts before the group of {before - self.told} has ended"
        if limits.rate is not None and len(self.starts) > limits.rate.amount:
            first = self.starts[-1 - int(limits.rate.amount)]
            assert at - first >= limits.rate.seconds * (1 - 1e-9), "the rate is exceeded"

    def on_began(self, at: float, item: Began) -> None:
        assert (item.slot, item.job) not in self.running
        self.running[item.slot, item.job] = item
        self.one_place(item)
        self.room_in_slots()
        if not item.hook:
            self.limits_hold()

    def on_left(self, at: float, item: Left) -> None:
        began = self.running.pop((item.slot, item.job))
        if self.policy.limits.deadline is not None and not began.hook:
            place = next(p for p in self.policy.places if p.slot == item.slot)
            slack = KILL_SLACK + (1.5 if place.mode is Mode.ASYNC else 0)
            if place.mode is not Mode.INLINE:
                assert at <= self.opened + self.policy.limits.deadline + slack

    def one_place(self, item: Began) -> None:
        assert [job for _, job in self.running].count(item.job) == 1
        key = self.keys.get(item.job)
        if key is None or not self.shared(item.job):
            return
        same = [job for _, job in self.running if self.keys.get(job) == key]
        assert len(same) == 1, f"jobs {same} have one key"
        done = [job for job, end in self.committed.items() if self.keys.get(job) == key and end is JobState.SUCCEEDED]
        assert not done, f"job {item.job} has the key of {done}"

    def shared(self, job: int) -> bool:
        return self.rows[job].task not in self.simulation.ledger.unshared

    def room_in_slots(self) -> None:
        held = Counter(slot for slot, _ in self.running)
        for place in self.policy.places:
            assert held[place.slot] <= place.capacity

    def limits_hold(self) -> None:
        jobs = [began.job for began in self.running.values() if not began.hook]
        groups = Counter(self.rows[job].group for job in jobs)
        for group, cap in self.policy.limits.group_concurrency:
            assert groups[group] <= cap, f"group {group} is over its limit"
        total, memory = self.policy.limits.total_memory, self.policy.limits.memory
        serial = [j for j in jobs if self.rows[j].mode is not Mode.ASYNC]
        if total is not None and len(serial) > 1:
            assert sum(self.rows[j].memory or memory or 0 for j in serial) <= total

    # --- what waits for commits

    def on_stepdone(self, at: float, item: ev.StepDone) -> None:
        step = (item.job, item.step.name)
        assert step not in self.acked_steps, f"step {step} ran again"
        self.questions[item.ticket] = item

    def on_callasked(self, at: float, item: ev.CallAsked) -> None:
        self.questions[item.ticket] = item

    def on_ack(self, at: float, item: do.Ack) -> None:
        question = self.questions.pop(item.ticket, None)
        if isinstance(question, ev.StepDone) and not item.refused:
            step = (self.keys.get(item.job), question.step.name)
            assert step in self.saved, "a step is acknowledged before its commit"
            self.acked_steps.add((item.job, question.step.name))
        elif isinstance(question, ev.CallAsked) and not item.refused:
            self.granted[item.job] += 1
            assert self.granted[item.job] <= self.reserved[item.job], "a grant before its commit"

    @property
    def budget(self) -> float:
        """The smallest that holds for all calls: simulated ones are all of one day and one service."""
        limits = self.policy.limits
        given = (limits.budget, limits.budget_per_day, dict(limits.budgets).get("service"))
        return min((money for money in given if money is not None), default=float("inf"))

    def on_sent(self, at: float, item: Sent) -> None:
        self.sent += item.cost
        assert self.sent <= self.budget, "the budget is exceeded"

    def on_published(self, at: float, item: do.Published) -> None:
        job = item.row.job
        if item.retry_in is None and item.state is not JobState.CANCELLED:
            assert job in self.ever, "published before its commit"

    # --- attempts

    def on_runset(self, at: float, item: facts.RunSet) -> None:
        self.batch.append(item)
        self.over = item.state in TERMINAL

    def on_attemptended(self, at: float, item: facts.AttemptEnded) -> None:
        self.batch.append(item)
        if not item.charged or item.job < 0:
            return
        script = self.simulation.faults.script(self.rows[item.job], item.number)
        kind = item.outcome.kind
        if kind is FailureKind.CRASHED:
            assert isinstance(script.end, Crash), "a neighbour is charged"
        elif kind is FailureKind.TIMEOUT:
            took = item.outcome.usage.ended - item.outcome.usage.started
            assert took >= (self.timeout(item.job) or 0) - 1e-6
        elif kind is FailureKind.MEMORY:
            assert script.memory > 0
        elif item.outcome.state is JobState.SUCCEEDED:
            assert not isinstance(script.end, Crash | Hang)

    def timeout(self, job: int) -> float | None:
        row = self.rows[job]
        traits = self.policy.tasks.get(row.task)
        return row.timeout or self.policy.limits.timeout or (traits.timeout if traits else None)

    def on_jobdue(self, at: float, item: facts.JobDue) -> None:
        self.batch.append(item)
        assert item.due >= item.at

    # --- the end

    def final(self) -> None:
        ledger = self.simulation.ledger
        assert not self.running
        for job, record in ledger.jobs.items():
            assert record.ends == (record.state is not JobState.PENDING), f"job {job} ended {record.ends} times"
            if record.quarantined:
                assert (record.state, record.kind) == (JobState.FAILED, FailureKind.CRASHED)
        if ledger.state is RunState.FINISHED:
            assert len(ledger.jobs) == len(ledger.plan)
            assert not any(record.state is JobState.PENDING for record in ledger.jobs.values())
        assert ledger.spent <= self.budget


def judge(simulation: Simulation) -> Simulation:
    """Fail an assertion if any rule is broken; else give the simulation back."""
    Judge(simulation).judge()
    return simulation


def attempts_of(simulation: Simulation) -> dict[int, list[facts.AttemptEnded]]:
    """The recorded attempts by job, in order."""
    found = defaultdict(list)
    for job, record in simulation.ledger.jobs.items():
        found[job] = record.attempts
    return found
