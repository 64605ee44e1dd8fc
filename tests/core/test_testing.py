"""What `batchmill.testing` promises its users."""

from __future__ import annotations

import doctest

import pytest

import batchmill.testing
from batchmill.core.policy import Policy
from batchmill.errors import InternalError
from batchmill.model import facts
from batchmill.model.limits import Limits, Rate, Retry
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import JobState
from batchmill.testing import FakeClock, FaultPlan, Killed, SimulatedLedger, Simulation, rows, simulation, workers
from tests.core.test_simulated_runs import simulation as drawn


@pytest.mark.parametrize("seed", range(60))
def test_the_same_seed_gives_the_same_log_byte_for_byte(seed: int) -> None:
    first, second = drawn(seed).run(), drawn(seed).run()
    assert "\n".join(first).encode() == "\n".join(second).encode()


def test_another_seed_gives_another_log() -> None:
    assert Simulation(1, rows(9), Policy(workers(2))).run() != Simulation(2, rows(9), Policy(workers(2))).run()


def test_the_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(simulation).failed == 0
    policy = Policy(workers(4), Limits(rate=Rate(30, 60.0), timeout=10.0), Retry(attempts=3))
    run = Simulation(1, rows(100), policy, FaultPlan(1, raises=0.2, hangs=0.05), kills=[60.0])
    lines = run.run()
    assert lines[0] == "0.000000 Opened"
    assert sum(run.ledger.counts().values()) == 100
    assert any(isinstance(item, Killed) for _, item in run.history)


def test_every_public_name_is_documented() -> None:
    for name in batchmill.testing.__all__:
        assert getattr(batchmill.testing, name).__doc__, name


def test_the_clock_runs_actions_at_their_times_in_order() -> None:
    clock, seen = FakeClock(0.0), []
    clock.after(2.0, lambda: seen.append(("b", clock())))
    clock.after(1.0, lambda: (seen.append(("a", clock())), clock.after(0.5, lambda: seen.append(("c", clock())))))
    clock.at(-5.0, lambda: seen.append(("now", clock())))
    assert clock.next_time == 0.0
    clock.advance(3.0)
    assert seen == [("now", 0.0), ("a", 1.0), ("c", 1.5), ("b", 2.0)]
    assert (clock(), clock.next_time) == (3.0, float("inf"))


def test_a_fault_plan_does_not_depend_on_what_happens_around_a_job() -> None:
    plan = FaultPlan(5, raises=0.3, crashes=0.1, steps=0.5)
    job = rows(7)[-1]
    assert plan.script(job, 2) == plan.script(job._replace(priority=5), 2)
    assert len({plan.script(row, 1) for row in rows(20)}) == 20


def test_the_ledger_refuses_facts_that_no_sound_run_could_state() -> None:
    ledger = SimulatedLedger(rows(2))
    ledger.grow(2)
    done = Outcome(JobState.SUCCEEDED, Usage(0.0, 1.0))
    ended = facts.JobEnded(1.0, 1, JobState.SUCCEEDED, done)
    ledger.apply([facts.AttemptEnded(1.0, 1, 1, 0, done), ended])
    for fact in (ended, facts.JobDue(1.0, 1, 2.0, 1, 1, 0, 0.0), facts.AttemptEnded(1.0, 2, 2, 0, done)):
        with pytest.raises(InternalError):
            ledger.apply([fact])


def test_a_run_that_hangs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchmill.testing.SimulatedExecutor, "start", lambda self, starts: None)
    with pytest.raises(InternalError, match="hangs"):
        Simulation(1, rows(1), Policy(workers(1))).run()
