"""The journal against a model: any legal course of facts, in any batches, with reopenings in between."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from batchmill.ledger.home import Home, NewRun
from batchmill.ledger.invocation import prepare_invocation
from batchmill.ledger.lease import acquire
from batchmill.ledger.verify import verify
from batchmill.model.facts import AttemptEnded, Fact, JobCached, JobCancelled, JobDue, JobEnded, JobReset
from batchmill.model.jobs import Source
from batchmill.model.states import JobState
from tests.ledger.conftest import Written, ask, failure, key_of, planned, success


@dataclass
class Expected:
    """A job as the model has it."""

    group: str | None
    state: str = "pending"
    attempts: int = 0
    total: int = 0
    cached: bool = False
    waits: bool = False

    @property
    def open(self) -> bool:
        return self.state == "pending"


class JournalMachine(RuleBasedStateMachine):
    """Facts gather in `facts` until `commit` or `submit`; only then the ledger is compared."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.paths = Home(self.folder / "home").create_run(NewRun("sweep", "noop", "d", "/"))
        self.written = Written(self.paths)
        self.jobs: dict[int, Expected] = {}
        self.facts: list[Fact] = []
        self.now = 10.0

    def teardown(self) -> None:
        self.written.close()
        shutil.rmtree(self.folder)

    def pick(self, index: int, *, open_: bool = True) -> int | None:
        numbers = [n for n, job in self.jobs.items() if job.open == open_]
        return numbers[index % len(numbers)] if numbers else None

    def attempt(self, number: int, succeeded: bool) -> None:
        job = self.jobs[number]
        job.attempts += 1
        job.total += 1
        outcome = success() if succeeded else failure()
        self.facts.append(AttemptEnded(self.now, number, job.total, 0, outcome))

    @rule(size=st.integers(1, 5), group=st.sampled_from([None, "a", "b"]))
    def plan(self, size: int, group: str | None) -> None:
        first = len(self.jobs) + 1
        self.written.plan(*[planned(n, "same", generated=True, group=group) for n in range(first, first + size)])
        self.jobs |= {n: Expected(group) for n in range(first, first + size)}

    @rule(index=st.integers(0, 50), succeeded=st.booleans())
    def end(self, index: int, succeeded: bool) -> None:
        number = self.pick(index)
        if number is not None:
            self.attempt(number, succeeded)
            state = JobState.SUCCEEDED if succeeded else JobState.FAILED
            self.facts.append(JobEnded(self.now, number, state, success() if succeeded else failure()))
            self.jobs[number].state = state.value
            self.jobs[number].waits = False

    @rule(index=st.integers(0, 50))
    def wait_for_another(self, index: int) -> None:
        number = self.pick(index)
        if number is not None:
            self.attempt(number, False)
            job = self.jobs[number]
            self.facts.append(JobDue(self.now, number, self.now + 1, job.attempts, job.total, 0, self.now))
            job.waits = True

    @rule(index=st.integers(0, 50))
    def go_back_uncharged(self, index: int) -> None:
        number = self.pick(index)
        if number is not None:
            self.jobs[number].total += 1
            self.facts.append(AttemptEnded(self.now, number, self.jobs[number].total, 0, failure(), charged=False))

    @rule(index=st.integers(0, 50))
    def cancel(self, index: int) -> None:
        number = self.pick(index)
        if number is not None:
            self.facts.append(JobCancelled(self.now, number))
            self.jobs[number].state, self.jobs[number].waits = "cancelled", False

    @rule(index=st.integers(0, 50))
    def reset(self, index: int) -> None:
        number = self.pick(index, open_=False)
        if number is not None:
            self.facts.append(JobReset(self.now, number))
            job = self.jobs[number]
            if job.state != "succeeded":
                job.state, job.attempts, job.waits = "pending", 0, True

    @rule(index=st.integers(0, 50))
    def take_from_another(self, index: int) -> None:
        number = self.pick(index)
        source = next((n for n, job in self.jobs.items() if job.state == "succeeded"), None)
        if number is not None and source is not None:
            self.facts.append(JobCached(self.now, number, key_of(number), Source("", source)))
            job = self.jobs[number]
            job.state, job.cached, job.waits = "succeeded", True, False

    @rule(pieces=st.integers(1, 3))
    def commit(self, pieces: int) -> None:
        size = max(1, -(-len(self.facts) // pieces))
        for start in range(0, len(self.facts), size):
            self.written.submit(*self.facts[start : start + size])
        self.written.write()
        self.facts = []
        self.compare()

    @precondition(lambda self: not self.facts)
    @rule()
    def continue_later(self) -> None:
        self.written.close()
        with acquire(self.paths):
            prepare_invocation(self.paths)
        for job in self.jobs.values():
            if job.state == "failed":
                job.state, job.attempts, job.waits = "pending", 0, False
        self.written = Written(self.paths)
        self.compare()

    def compare(self) -> None:
        rows = ask(self.paths, "SELECT number, grp, state, attempts, total_attempts, cached, due IS NOT NULL FROM jobs")
        found = {n: Expected(g, s, a, t, bool(c), bool(w)) for n, g, s, a, t, c, w in rows}
        assert found == self.jobs
        assert len(set(ask(self.paths, "SELECT name FROM jobs"))) == len(self.jobs)
        assert verify(self.paths) == []


JournalMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
test_the_journal_does_as_the_model = JournalMachine.TestCase
