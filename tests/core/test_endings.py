"""How attempts, jobs and runs end: neighbours, quarantine, retries, drains, stops, requests, a ledger that fails."""

from __future__ import annotations

import itertools

import pytest

from batchmill.core.policy import Place, Policy, Traits
from batchmill.core.scheduler import Scheduler
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model import facts
from batchmill.model.limits import Backoff, Failures, Limits, Retry
from batchmill.model.states import FailureKind, JobState, Mode, RunState
from batchmill.testing import (
    SUCCESS,
    Began,
    Crash,
    FaultPlan,
    Hang,
    Killed,
    Offload,
    Script,
    Simulation,
    Step,
    Work,
    failure,
    rows,
    skipped,
    workers,
)
from tests.core.play import NONE, TWO_AND_ASYNC, count, fails, play, seen, starts, states, works

ASYNC = (Place(0, Mode.ASYNC, 5),)


def attempts(run: Simulation, job: int) -> list[tuple[str, bool]]:
    """The attempts of a job: the failure's kind or the state, and whether it was charged."""
    found = run.ledger.jobs[job].attempts
    return [(str(a.outcome.kind or a.outcome.state), a.charged) for a in found]


def asynchronous(number: int) -> list:  # type: ignore[type-arg]
    return [row._replace(mode=Mode.ASYNC) for row in rows(number)]


# --- deaths


def test_a_crash_costs_only_the_job_at_the_head_of_its_worker() -> None:
    crash = fails(0.0001, Crash())
    run = play(60, scripts={30: crash}, places=1, seconds=0.0001, retry=NONE)
    assert attempts(run, 30) == [("crashed", True)]
    assert count(run, JobState.SUCCEEDED) == 59
    assert all(len(record.attempts) == 1 for record in run.ledger.jobs.values())
    assert any(len(recalled.jobs) > 1 for _, recalled in seen(run, ev.Recalled))


def test_two_deaths_of_its_own_worker_quarantine_a_job() -> None:
    run = play(10, scripts={3: fails(0.1, Crash())}, retry=Retry(attempts=10))
    assert attempts(run, 3) == [("crashed", True)] * 2
    assert run.ledger.jobs[3].quarantined
    run.play(retry_failed=True)
    assert len(run.ledger.jobs[3].attempts) == 2


def test_one_death_is_forgiven() -> None:
    run = play(3, scripts={2: fails(0.1, Crash(signal=None, exit_code=3), SUCCESS)})
    assert attempts(run, 2) == [("crashed", True), ("succeeded", True)]
    message = run.ledger.jobs[2].attempts[0].outcome.message
    assert message == "the worker died: exit code 3"


def test_the_death_of_the_async_worker_is_charged_to_the_job_that_is_known_to_have_caused_it() -> None:
    run = play(asynchronous(10), scripts={4: fails(0.5, Crash(known=True))}, places=ASYNC, retry=NONE)
    assert attempts(run, 4) == [("crashed", True)]
    assert all(attempts(run, job) == [("succeeded", True)] for job in range(1, 11) if job != 4)


def test_when_nobody_knows_who_ended_the_async_worker_each_suspect_runs_alone() -> None:
    run = play(asynchronous(20), scripts={4: fails(0.5, Crash(known=False))}, places=ASYNC)
    assert run.ledger.jobs[4].quarantined
    assert attempts(run, 4) == [("crashed", True)] * 2
    assert all(attempts(run, job) == [("succeeded", True)] for job in range(1, 21) if job != 4)
    died = next(at for at, _ in seen(run, ev.Died))
    again = [(at, job) for at, job in starts(run) if at > died]
    assert [job for _, job in again[:5]] == [1, 2, 3, 4, 5]
    assert all(b[0] - a[0] > 0.4 for a, b in itertools.pairwise(again[:5]))


def test_a_coroutine_that_ignores_cancellation_costs_its_worker_and_is_charged_alone() -> None:
    run = play(asynchronous(5), Limits(timeout=2.0), {2: fails(0.0, Hang(stubborn=True))}, places=ASYNC, seconds=1.9,
               retry=NONE)  # fmt: skip
    assert attempts(run, 2) == [("timeout", True)]
    assert count(run, JobState.SUCCEEDED) == 4


def test_jobs_behind_a_long_one_go_to_idle_workers() -> None:
    run = play(41, scripts={10: works(60.0)}, places=2, seconds=0.0001)
    assert count(run, JobState.SUCCEEDED) == 41
    assert max(at for at, job in starts(run) if job != 10) < 1.0


# --- retries


def test_a_retry_waits_for_its_time_and_holds_nobody_up() -> None:
    retry = Retry(attempts=3, backoff=Backoff(10.0, 2.0, 60.0, "none"))
    run = play(20, scripts={1: fails(1.0, failure())}, places=1, retry=retry)
    mine = [at for at, job in starts(run) if job == 1]
    assert attempts(run, 1) == [("error", True)] * 3
    assert mine[1] - mine[0] >= 11.0
    assert mine[2] - mine[1] >= 21.0
    assert [retried.retry_in for _, retried in seen(run, do.Published) if retried.retry_in] == [10.0, 20.0]


def test_due_jobs_survive_a_kill_and_are_found_again() -> None:
    retry = Retry(attempts=2, backoff=Backoff(30.0, 2.0, 60.0, "none"))
    run = play(1, scripts={1: fails(1.0, failure())}, retry=retry, kills=[5.0])
    assert attempts(run, 1) == [("error", True)] * 2
    assert [at for at, _ in starts(run)][1] >= 31.0


def test_more_retries_than_the_window_holds_are_all_done() -> None:
    retry = Retry(attempts=2, backoff=Backoff(5.0, 1.0, 5.0, "none"))
    once = {n: fails(0.01, failure(), SUCCESS) for n in range(1, 101)}
    run = play(100, scripts=once, retry=retry, policy={"window": 6})
    assert count(run, JobState.SUCCEEDED) == 100


def test_failed_jobs_get_fresh_attempts_in_the_next_invocation() -> None:
    run = play(3, scripts={2: fails(0.1, failure(), failure(), SUCCESS)}, retry=Retry(attempts=2))
    assert states(run)[2] is JobState.FAILED
    run.play(retry_failed=True)
    assert states(run)[2] is JobState.SUCCEEDED
    assert [a.number for a in run.ledger.jobs[2].attempts] == [1, 2, 3]


def test_a_skip_ends_a_job_at_its_first_attempt() -> None:
    run = play(2, scripts={1: fails(0.1, skipped())}, retry=Retry(attempts=5))
    assert (states(run)[1], len(run.ledger.jobs[1].attempts)) == (JobState.SKIPPED, 1)


# --- the end of a run


def test_a_drain_waits_for_what_runs_and_gives_back_what_has_not_begun() -> None:
    run = play(30, seconds=2.0, asks=[(3.0, "drain", 0)])
    assert (run.state, run.ledger.reason) == (RunState.INTERRUPTED, "asked to stop")
    assert count(run, JobState.SUCCEEDED) == 4
    assert all(len(record.attempts) <= 1 for record in run.ledger.jobs.values())
    run.play()
    assert (run.state, count(run, JobState.SUCCEEDED)) == (RunState.FINISHED, 30)


def test_a_drain_ends_after_its_grace_and_charges_nobody() -> None:
    run = play(3, seconds=1000.0, asks=[(3.0, "drain", 0)], policy={"drain_grace": 7.0})
    assert run.clock.now - run.started == pytest.approx(10.0, abs=0.1)
    assert [attempts(run, job) for job in (1, 2, 3)] == [[("cancelled", False)], [("cancelled", False)], []]
    assert count(run, JobState.PENDING) == 3


def test_an_interrupt_that_waits_for_the_last_jobs_leaves_a_finished_run() -> None:
    run = play(4, seconds=2.0, asks=[(3.0, "drain", 0)])
    assert (run.state, run.ledger.reason) == (RunState.FINISHED, "")
    assert count(run, JobState.SUCCEEDED) == 4


@pytest.mark.parametrize("hook", ["summarise", "report"])
def test_an_interrupted_run_is_not_finished_before_its_hooks_are(hook: str) -> None:
    tasks = {"task": Traits(hooks=frozenset({hook}))}
    run = play(2, seconds=2.0, asks=[(1.0, "drain", 0)], policy={"tasks": tasks})
    assert (run.state, count(run, JobState.SUCCEEDED)) == (RunState.INTERRUPTED, 2)
    run.play()
    assert run.state is RunState.FINISHED


def test_an_interrupted_job_that_waits_for_another_attempt_is_left_over() -> None:
    run = play(1, scripts={1: fails(2.0, failure(), SUCCESS)}, retry=Retry(attempts=2), asks=[(1.0, "drain", 0)])
    assert (run.state, count(run, JobState.PENDING)) == (RunState.INTERRUPTED, 1)


def test_a_second_interrupt_stops_now() -> None:
    run = play(3, seconds=1000.0, asks=[(3.0, "drain", 0), (4.0, "drain", 0)])
    assert run.clock.now - run.started == pytest.approx(4.0, abs=0.1)
    assert run.state is RunState.INTERRUPTED


def test_an_interrupt_shortens_a_drain_that_a_policy_began_and_a_second_one_ends_it() -> None:
    limits = Limits(max_failures=Failures(number=1))
    scripts = {1: fails(1.0, failure()), 2: works(1000.0)}
    run = play(5, limits, scripts, retry=NONE, asks=[(3.0, "drain", 0), (4.0, "drain", 0)])
    assert run.clock.now - run.started == pytest.approx(4.0, abs=0.1)
    assert run.state is RunState.STOPPED


def test_cancelling_the_run_stops_it_now() -> None:
    run = play(5, seconds=100.0, asks=[(1.0, "cancel", 0)])
    assert run.state is RunState.CANCELLED
    assert run.clock.now - run.started < 1.2


def test_an_async_job_in_a_drain_still_gets_its_functions_run() -> None:
    scripts = {1: (Script((Work(2.0), Offload(1.0), Work(1.0))),)}
    run = play(asynchronous(1), scripts=scripts, places=TWO_AND_ASYNC, asks=[(1.0, "drain", 0)])
    assert states(run)[1] is JobState.SUCCEEDED


def test_a_function_that_kills_its_process_fails_only_for_the_job_that_asked() -> None:
    scripts = {1: (Script((Offload(1.0, crashes=True),)),)}
    run = play(asynchronous(3), scripts=scripts, places=TWO_AND_ASYNC, retry=NONE)
    assert states(run) == {1: JobState.FAILED, 2: JobState.SUCCEEDED, 3: JobState.SUCCEEDED}


def test_functions_of_async_jobs_do_not_wait_for_all_process_jobs() -> None:
    mixed = [row._replace(mode=Mode.ASYNC if row.job == 1 else Mode.PROCESS) for row in rows(3000)]
    run = play(mixed, scripts={1: (Script((Offload(0.001),)),)}, places=TWO_AND_ASYNC, seconds=0.0001)
    ended = next(at for at, end in seen(run, facts.JobEnded) if end.job == 1)
    assert ended < 0.2


def test_a_stopped_async_job_takes_its_function_with_it() -> None:
    scripts = {1: (Script((Offload(500.0),)),)}
    run = play(asynchronous(1), Limits(timeout=2.0), scripts, places=TWO_AND_ASYNC, retry=NONE)
    assert run.clock.now - run.started < 4.0


def test_a_broken_executor_ends_the_run_and_charges_nobody() -> None:
    scheduler = Scheduler(Policy(workers(2)), lambda: 0.5)
    scheduler.step([ev.Tick(0.0), ev.Planned(0.0, 10, True), ev.Ready(0.0, 0, 5)])
    act = scheduler.step([ev.Loaded(0.1, "main", tuple(rows(10)), True), ev.Loaded(0.1, "due", (), True)])
    assert [start.row.job for start in act.starts] == [1]
    act = scheduler.step([ev.Broken(0.2, "task `x` does not import")])
    told = [fact for fact in act.facts if not isinstance(fact, facts.Noted | facts.SlotSet)]
    assert told == [facts.RunSet(0.2, RunState.STOPPED, "task `x` does not import")]
    scheduler.step([ev.Committed(0.3, act.batch)])
    assert scheduler.finished


# --- requests


def test_a_running_job_is_cancelled_alone() -> None:
    run = play(6, seconds=2.0, asks=[(1.0, "cancel", 1)])
    assert states(run)[1] is JobState.CANCELLED
    assert count(run, JobState.SUCCEEDED) == 5
    assert attempts(run, 1) == [("cancelled", True)]


def test_a_job_that_waits_in_a_worker_s_queue_is_cancelled_without_hurting_the_one_before_it() -> None:
    scripts = {20: works(1.0)}
    run = play(60, scripts=scripts, places=1, seconds=0.0001, asks=[(0.5, "cancel", 22)])
    assert states(run)[22] is JobState.CANCELLED
    assert attempts(run, 22) == []
    assert attempts(run, 20) == [("succeeded", True)]
    assert not seen(run, do.Stop)


@pytest.mark.parametrize("at", [0.0, 0.5, 30.0])
def test_a_pending_job_is_cancelled_wherever_it_is(at: float) -> None:
    run = play(100, places=1, asks=[(at, "cancel", 90)], policy={"window": 10}, chunk=20)
    assert states(run)[90] is JobState.CANCELLED
    assert run.ledger.jobs[90].attempts == []
    assert run.state is RunState.FINISHED


def test_a_job_that_waits_for_its_retry_is_cancelled() -> None:
    retry = Retry(attempts=5, backoff=Backoff(50.0, 1.0, 50.0, "none"))
    run = play(2, scripts={1: fails(1.0, failure())}, retry=retry, asks=[(10.0, "cancel", 1)])
    assert states(run)[1] is JobState.CANCELLED
    assert run.clock.now - run.started < 60.0


def test_an_ended_job_is_run_again_on_request_with_fresh_attempts() -> None:
    scripts = {1: fails(1.0, failure(), SUCCESS), 2: works(20.0)}
    run = play(2, scripts=scripts, retry=NONE, asks=[(5.0, "retry", 1)])
    assert attempts(run, 1) == [("error", True), ("succeeded", True)]
    assert run.ledger.jobs[1].row.attempts == 1


def test_a_cancelled_job_can_be_retried_and_a_pending_one_just_runs() -> None:
    run = play(30, places=1, asks=[(1.5, "cancel", 20), (2.5, "retry", 20), (3.0, "retry", 25)])
    assert count(run, JobState.SUCCEEDED) == 30


# --- a ledger that cannot be written


def full_disk(run: Simulation, after: float, times: int) -> None:
    """The first commit after so many seconds fails so many times."""
    failed = []

    class Full(FaultPlan):
        def commit_fails(self, number: int) -> int:
            if run.clock.now - run.started < after or failed:
                return 0
            failed.append(number)
            return times

    run.faults = Full(**vars(run.faults))


@pytest.mark.parametrize("times", [3, 100_000])
def test_nothing_starts_while_the_ledger_cannot_be_written_and_the_run_ends_after_the_drain(times: int) -> None:
    good = FaultPlan(1, seconds=(1.0, 1.0))
    run = Simulation(1, rows(40), Policy(workers(2)), good, late=0.0)
    full_disk(run, 5.0, times)
    run.play()
    failed = next(at for at, _ in seen(run, ev.CommitFailed))
    assert not [at for at, _ in starts(run) if at > failed]
    assert run.clock.now - run.started < failed + 1.3
    if times == 3:  # what was in flight is kept and written later
        assert run.state is RunState.INTERRUPTED
        assert run.ledger.reason == "the ledger cannot be written: no space left on device"
    run.faults = good
    run.play()
    assert (run.state, count(run, JobState.SUCCEEDED)) == (RunState.FINISHED, 40)


def test_a_step_is_not_acknowledged_while_the_ledger_cannot_be_written() -> None:
    steps = {1: (Script((Work(1.0), Step("a", 0.1), Work(1.0))),)}
    run = Simulation(1, rows(1), Policy(workers(2)), FaultPlan(1, scripts=steps), late=0.0)
    full_disk(run, 1.0, 100_000)
    run.play()
    assert seen(run, ev.StepDone)
    assert not seen(run, do.Ack)
    assert count(run, JobState.PENDING) == 1
    assert run.clock.now - run.started == pytest.approx(1.1 + 30.0, abs=0.2)


# --- kills of the driver


def test_a_killed_driver_loses_only_what_was_in_flight_and_charges_nobody() -> None:
    run = play(200, places=4, seconds=0.5, kills=[3.0, 7.0, 11.0, 11.9])
    assert (run.state, count(run, JobState.SUCCEEDED)) == (RunState.FINISHED, 200)
    assert len(seen(run, Killed)) == 4
    again = len(seen(run, Began)) - 200
    assert 0 <= again <= 4 * 4 + 4
    assert all(len(record.attempts) == 1 for record in run.ledger.jobs.values())


def test_no_finished_step_runs_again_after_a_kill_or_the_death_of_a_neighbour() -> None:
    steps = (Script(tuple(Step(f"s{n}", 1.0) for n in range(5))),)
    scripts = {**dict.fromkeys(range(1, 6), steps), 6: fails(3.5, Crash(known=True))}
    jobs = asynchronous(6)
    run = play(jobs, scripts=scripts, places=(Place(0, Mode.ASYNC, 10),), kills=[2.5], retry=NONE)
    assert count(run, JobState.SUCCEEDED) == 5
    done = [(step.job, step.step.name) for _, step in seen(run, ev.StepDone)]
    assert len(done) == len(set(done)) == 25


def test_a_failure_kind_is_recorded_with_the_job() -> None:
    run = play(1, scripts={1: fails(1.0, failure(kind=FailureKind.INVALID))})
    assert run.ledger.jobs[1].kind is FailureKind.INVALID
