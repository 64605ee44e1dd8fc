"""The course of a run: order, windows of rows, equal keys, input files, hooks, phases, the clock."""

from __future__ import annotations

import pytest

from batchmill.core.policy import Place, Policy, Traits
from batchmill.core.scheduler import Scheduler
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model import facts
from batchmill.model.jobs import FileIdentity, Row, Source
from batchmill.model.limits import Backoff, Limits, Rate, Retry
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import FailureKind, JobState, Mode, RunState
from batchmill.testing import SUCCESS, Began, FaultPlan, Script, Simulation, Step, failure, rows, workers
from tests.core.play import NONE, count, fails, play, seen, starts, states, works


def order(run: Simulation) -> list[int]:
    return [job for _, job in starts(run)]


# --- order


@pytest.mark.parametrize("window", [4, 1000])
def test_jobs_start_by_lane_then_priority_then_number(window: int) -> None:
    jobs = [row._replace(lane=row.job % 2, priority=row.job % 3) for row in rows(60)]
    run = play(jobs, places=1, policy={"window": window, "plan_whole": True}, chunk=13)
    expected = sorted(jobs, key=lambda row: (row.lane, -row.priority, row.job))
    assert order(run) == [row.job for row in expected]


def test_a_group_ends_with_its_retries_before_the_next_begins() -> None:
    jobs = [row._replace(lane=(row.job - 1) // 3) for row in rows(9)]
    scripts = {1: fails(1.0, failure(), SUCCESS), 5: fails(1.0, failure(), failure(), SUCCESS)}
    retry = Retry(attempts=3, backoff=Backoff(30.0, 1.0, 30.0, "none"))
    run = play(jobs, scripts=scripts, retry=retry, places=4, policy={"plan_whole": True, "waiting": {}})
    assert order(run) == [1, 2, 3, 1, 4, 5, 6, 5, 5, 7, 8, 9]


@pytest.mark.parametrize("end", ["cancel", "kill"])
def test_a_group_whose_retry_is_cancelled_or_outlives_its_driver_holds_nobody_up_for_ever(end: str) -> None:
    jobs = [row._replace(lane=row.job - 1) for row in rows(2)]
    retry = Retry(attempts=3, backoff=Backoff(30.0, 1.0, 30.0, "none"))
    how = {"asks": [(5.0, "cancel", 1)]} if end == "cancel" else {"kills": [5.0]}
    scripts = {1: fails(1.0, failure(), SUCCESS)}
    run = play(jobs, scripts=scripts, retry=retry, policy={"plan_whole": True, "waiting": {}}, **how)
    assert order(run) == ([1, 2] if end == "cancel" else [1, 1, 2])
    assert run.state is RunState.FINISHED


def test_equal_jobs_of_two_groups_do_not_wait_for_each_other() -> None:
    first, second = (row._replace(lane=row.job - 1, key="same") for row in rows(2))
    retry = Retry(attempts=2, backoff=Backoff(30.0, 1.0, 30.0, "none"))
    scripts = {1: fails(1.0, failure(), SUCCESS)}
    run = play([first, second], scripts=scripts, retry=retry, policy={"plan_whole": True, "waiting": {}})
    assert order(run) == [1, 1]
    assert states(run)[2] is JobState.SUCCEEDED


def test_what_is_planned_late_and_comes_first_is_not_passed_over() -> None:
    jobs = [row._replace(priority=row.job) for row in rows(300)]
    run = play(jobs, places=2, seconds=0.05, chunk=10, policy={"window": 8})
    assert count(run, JobState.SUCCEEDED) == 300


def test_the_plan_may_be_wanted_whole_before_the_first_start() -> None:
    run = play(100, chunk=10, policy={"plan_whole": True})
    planned = max(at for at, _ in seen(run, ev.Planned))
    assert starts(run)[0][0] >= planned
    early = play(100, chunk=10)
    assert starts(early)[0][0] < max(at for at, _ in seen(early, ev.Planned))


@pytest.mark.parametrize("early", [True, False])
def test_an_early_prepare_waits_for_the_first_jobs_and_not_for_the_whole_plan(early: bool) -> None:
    traits = Traits(hooks=frozenset({"prepare"}), early=early)
    run = play(100, chunk=10, policy={"tasks": {"task": traits}})
    planned = [at for at, _ in seen(run, ev.Planned)]
    hook = next(at for at, start in seen(run, do.Start) if start.hook == "prepare")
    assert planned[0] <= hook
    assert (hook < planned[-1]) == early
    assert count(run, JobState.SUCCEEDED) == 100


def test_processes_and_coroutines_share_the_rate_in_order() -> None:
    jobs = [row._replace(mode=Mode.ASYNC if row.job % 2 else Mode.PROCESS) for row in rows(20)]
    places = (Place(0, Mode.PROCESS), Place(1, Mode.PROCESS), Place(2, Mode.ASYNC, 50))
    run = play(jobs, Limits(rate=Rate(1, 1.0)), places=places, seconds=0.1)
    assert order(run)[2:] == list(range(3, 21))  # the first ones: whose worker is up first


def test_short_jobs_are_sent_ahead_and_long_ones_are_not() -> None:
    def most_sent(seconds: float) -> int:
        run = play(100, places=1, seconds=seconds)
        return max(len([s for _, s in seen(run, do.Start) if _ == at]) for at, _ in seen(run, do.Start))

    assert most_sent(0.00001) > 16
    assert most_sent(0.1) == 1


def test_a_large_plan_is_run_with_few_rows_in_memory() -> None:
    run = Simulation(1, rows(2000), Policy(workers(2), window=50), FaultPlan(1, seconds=(0.001, 0.001)), chunk=100)
    most = 0
    step = Scheduler.step

    def watched(self: Scheduler, events: list[ev.Event]) -> do.Act:
        nonlocal most
        act = step(self, events)
        book = self.state.book
        most = max(most, len(book.held) + len(book._settling) + len(book._stale))
        return act

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scheduler, "step", watched)
        run.play()
    assert count(run, JobState.SUCCEEDED) == 2000
    assert most < 200


# --- equal keys and results that exist


def twins(count: int, keys: int) -> list[Row]:
    return [row._replace(key=f"k{row.job % keys}") for row in rows(count)]


@pytest.mark.parametrize("window", [4, 1000])
@pytest.mark.parametrize("seconds", [0.0001, 1.0])
def test_of_equal_keys_one_runs_and_the_others_take_its_result(window: int, seconds: float) -> None:
    run = play(twins(100, 7), places=3, seconds=seconds, policy={"window": window})
    assert len(seen(run, Began)) == 7
    assert sum(record.cached for record in run.ledger.jobs.values()) == 93


def test_when_the_first_of_equal_keys_fails_the_next_one_runs() -> None:
    run = play(twins(3, 1), scripts={1: fails(1.0, failure())}, retry=NONE)
    assert states(run) == {1: JobState.FAILED, 2: JobState.SUCCEEDED, 3: JobState.SUCCEEDED}
    assert run.ledger.jobs[3].source == Source("", 2)


def test_the_next_of_equal_keys_does_not_repeat_the_steps_of_a_failed_first() -> None:
    steps = (Step("a", 0.1), Step("b", 0.1))
    run = play(twins(2, 1), scripts={1: (Script(steps, failure()),), 2: (Script(steps),)}, retry=NONE)
    assert [(done.job, done.step.name) for _, done in seen(run, ev.StepDone)] == [(1, "a"), (1, "b")]


def test_tasks_that_do_not_reuse_run_equal_keys_each() -> None:
    tasks = {"task": Traits(reuses=False)}
    run = play(twins(20, 2), policy={"tasks": tasks})
    assert len(seen(run, Began)) == 20


def test_results_of_other_runs_are_taken_without_a_start() -> None:
    run = play(10, elsewhere={f"key-{n}": Source("other-1", n) for n in range(1, 9)})
    assert order(run) == [9, 10]
    assert run.ledger.jobs[3].source == Source("other-1", 3)


# --- input files


def with_inputs(count: int) -> list[Row]:
    return [row._replace(key=None, inputs=(FileIdentity("/data/a", 1, 1, row.job),)) for row in rows(count)]


def test_jobs_with_input_files_start_once_these_are_digested() -> None:
    run = play(with_inputs(200), keys={n: f"key-{n}" for n in range(1, 201)}, seconds=0.01)
    assert count(run, JobState.SUCCEEDED) == 200
    assert {record.row.key for record in run.ledger.jobs.values()} == {f"key-{n}" for n in range(1, 201)}


def test_a_file_that_changed_makes_its_job_invalid_without_a_start() -> None:
    run = play(with_inputs(3), keys={1: "a", 2: None, 3: "a"})
    assert states(run)[2] is JobState.FAILED
    assert (run.ledger.jobs[2].kind, run.ledger.jobs[2].attempts) == (FailureKind.INVALID, [])
    assert order(run) == [1]
    assert run.ledger.jobs[3].cached


# --- hooks and phases

HOOKS = {"task": Traits(hooks=frozenset({"prepare", "summarise", "report"})), "other": Traits()}


def test_prepare_runs_before_the_first_job_and_the_others_after_the_last() -> None:
    run = play(10, policy={"tasks": HOOKS}, chunk=3)
    hooks = {began.hook: at for at, began in seen(run, Began) if began.hook}
    jobs = [at for at, began in seen(run, Began) if not began.hook]
    ends = [at for at, _ in seen(run, facts.JobEnded)]
    assert hooks["prepare"] < min(jobs)
    assert max(ends) < hooks["summarise"] < hooks["report"]
    prepared = next(at for at, end in seen(run, facts.HookEnded) if end.hook == "prepare")
    assert min(jobs) > prepared
    assert {key for key, _ in run.ledger.hooks.items()} == {(hook, "task") for hook in hooks}


def test_hooks_that_are_done_do_not_run_again() -> None:
    run = play(3, policy={"tasks": HOOKS})
    before = len(seen(run, Began))
    run.play()
    assert len(seen(run, Began)) == before
    assert run.state is RunState.FINISHED


def test_a_failed_prepare_stops_the_run_before_its_first_job() -> None:
    run = play(3, policy={"tasks": HOOKS}, faults=FaultPlan(1, hooks_fail=1.0))
    assert run.state is RunState.STOPPED
    assert run.ledger.reason == "`prepare` of task `task` failed: KeyError was raised"
    assert starts(run) == []


def test_a_failed_summary_is_noted_and_the_run_is_finished() -> None:
    tasks = {"task": Traits(hooks=frozenset({"summarise"}))}
    run = play(3, policy={"tasks": tasks}, faults=FaultPlan(1, hooks_fail=1.0))
    assert run.state is RunState.FINISHED
    assert "`summarise` of task `task` failed: KeyError was raised" in run.ledger.notes


def test_a_timeout_of_jobs_does_not_hold_for_hooks() -> None:
    tasks = {"task": Traits(hooks=frozenset({"summarise"}))}
    run = play(1, Limits(timeout=2.0), {1: works(0.1)}, policy={"tasks": tasks}, seconds=10.0)
    assert run.ledger.hooks["summarise", "task"].state is JobState.SUCCEEDED


def test_a_selection_stops_at_its_end_and_is_not_summarised() -> None:
    run = play(5, policy={"tasks": HOOKS, "everything": False})
    assert (run.state, run.ledger.reason) == (RunState.STOPPED, "selection")
    assert set(run.ledger.hooks) == {("prepare", "task")}


def test_a_run_without_jobs_is_finished() -> None:
    assert play([]).state is RunState.FINISHED


def test_a_finished_run_ends_again_at_once() -> None:
    run = play(50)
    began = run.clock.now
    run.play()
    assert run.state is RunState.FINISHED
    assert run.clock.now - began < 0.1
    assert len(seen(run, Began)) == 50


def test_a_plan_that_breaks_off_stops_the_run() -> None:
    scheduler = Scheduler(Policy(workers(1)), lambda: 0.5)
    act = scheduler.step([ev.Planned(0.0, 5, True, "table.csv: row 6 is too short")])
    assert facts.RunSet(0.0, RunState.STOPPED, "invalid: table.csv: row 6 is too short") in act.facts


def test_workers_are_hungry_when_nothing_is_there_or_comes_that_could_fill_them() -> None:
    scheduler = Scheduler(Policy(workers(1)), lambda: 0.5)
    scheduler.step([ev.Planned(0.0, 2, False), ev.Ready(0.0, 0, 7)])
    assert not scheduler.hungry([Mode.PROCESS])  # the first rows are being read
    scheduler.step([ev.Loaded(0.5, "main", (), True), ev.Loaded(0.5, "due", (), True)])
    assert scheduler.hungry([Mode.PROCESS])
    assert not scheduler.hungry([Mode.ASYNC])
    scheduler.step([ev.Planned(0.6, 3, False)])
    scheduler.step([ev.Loaded(0.7, "main", tuple(rows(2)), True)])
    assert not scheduler.hungry([Mode.PROCESS])


# --- the clock


def test_the_scheduler_asks_to_be_woken_for_the_future_only() -> None:
    scheduler = Scheduler(Policy(workers(1), Limits(timeout=5.0, deadline=9.0, rate=Rate(1, 1.0))), lambda: 0.5)
    scheduler.step([ev.Planned(0.0, 2, True), ev.Ready(0.0, 0, 7)])
    scheduler.step([ev.Loaded(0.5, "main", tuple(rows(2)), True), ev.Loaded(0.5, "due", (), True)])
    assert scheduler.next_wakeup == 1.5  # the pace
    scheduler.step([ev.Tick(1.5)])
    assert scheduler.next_wakeup == 5.5  # the timeout: the worker is busy, the pace is no reason to wake
    act = scheduler.step([ev.Tick(5.5)])
    assert [(stop.how, stop.job) for stop in act.stops] == [("kill", 1)]
    assert scheduler.next_wakeup == 9.0


def test_events_that_come_late_do_not_turn_time_back() -> None:
    scheduler = Scheduler(Policy(workers(1)), lambda: 0.5)
    scheduler.step([ev.Tick(10.0)])
    scheduler.step([ev.Planned(4.0, 0, True)])
    assert scheduler.state.now == 10.0


def test_no_event_at_all_is_no_beginning() -> None:
    scheduler = Scheduler(Policy(workers(1)), lambda: 0.5)
    assert scheduler.step([]) == do.Act()
    assert not scheduler.finished


def test_an_end_that_was_given_up_on_is_ignored() -> None:
    scheduler = Scheduler(Policy(workers(1)), lambda: 0.5)
    scheduler.step([ev.Planned(0.0, 1, False), ev.Ready(0.0, 0, 7)])
    late = ev.Ended(1.0, 0, 99, Outcome(JobState.SUCCEEDED, Usage(0.0, 1.0)))
    assert not [fact for fact in scheduler.step([late]).facts if isinstance(fact, facts.JobEnded)]
