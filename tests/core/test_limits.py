"""Each limit of a run, in a simulation: held at every instant, and no more than that."""

from __future__ import annotations

import itertools

import pytest

from batchmill.core.policy import Place, Traits
from batchmill.model import commands as do
from batchmill.model import facts
from batchmill.model.limits import Failures, Limits, QuotaLimit, Rate, Retry
from batchmill.model.states import FailureKind, JobState, Mode, RunState
from batchmill.testing import (
    Began,
    Call,
    FaultPlan,
    Hang,
    Left,
    Script,
    Sent,
    Sleep,
    Step,
    Work,
    failure,
    rows,
    skipped,
)
from tests.core.play import NONE, TWO_AND_ASYNC, count, fails, play, seen, starts, states, works

MB = 1_000_000


def test_all_workers_work_and_none_holds_two() -> None:
    run = play(40, places=4, seconds=1.0)
    assert count(run, JobState.SUCCEEDED) == 40
    assert run.clock.now - run.started < 11.5
    assert {began.slot for _, began in seen(run, Began)} == {0, 1, 2, 3}


def test_the_rate_of_starts_is_exact_and_used_to_the_full() -> None:
    run = play(60, Limits(rate=Rate(30, 60.0)), places=8, seconds=1.0)
    times = [at for at, _ in starts(run)]
    assert times[-1] - times[0] == pytest.approx(59 * 2.0)
    assert min(b - a for a, b in zip(times, times[30:], strict=False)) >= 60.0 - 1e-6


def test_a_rate_that_workers_cannot_keep_up_with_is_not_made_good_later() -> None:
    run = play(20, Limits(rate=Rate(10, 1.0)), places=1, seconds=3.0)
    times = [at for at, _ in starts(run)]
    assert all(b - a >= 3.0 for a, b in itertools.pairwise(times))


def test_a_capped_group_leaves_the_workers_to_the_others() -> None:
    mixed = [row._replace(group="x" if row.job <= 30 else None) for row in rows(60)]
    run = play(mixed, Limits(group_concurrency=(("x", 1),)), places=4, seconds=1.0)
    assert count(run, JobState.SUCCEEDED) == 60
    assert [job for _, job in starts(run)][:4] == [1, 31, 32, 33]


def test_a_group_with_more_jobs_than_the_window_hides_no_other_job() -> None:
    mixed = [row._replace(group=None if row.job > 300 else "x") for row in rows(310)]
    run = play(mixed, Limits(group_concurrency=(("x", 1),)), places=2, seconds=0.1, policy={"window": 20})
    assert count(run, JobState.SUCCEEDED) == 310
    assert max(at for at, job in starts(run) if job > 300) < 3.0


def test_attempts_together_never_take_more_than_the_total_memory() -> None:
    jobs = [row._replace(memory=(row.job % 4 + 1) * 100 * MB) for row in rows(40)]
    run = play(jobs, Limits(total_memory=500 * MB), places=8)
    assert count(run, JobState.SUCCEEDED) == 40
    assert max_at_once(run) > 1


def max_at_once(run: object) -> int:
    now = most = 0
    for _, item in run.history:  # type: ignore[attr-defined]
        now += isinstance(item, Began) - isinstance(item, Left)
        most = max(most, now)
    return most


def test_a_job_larger_than_the_total_memory_runs_alone() -> None:
    jobs = [row._replace(memory=900 * MB if row.job == 5 else 100 * MB) for row in rows(10)]
    run = play(jobs, Limits(total_memory=500 * MB), places=4)
    assert count(run, JobState.SUCCEEDED) == 10


def test_an_attempt_over_its_memory_is_stopped_alone() -> None:
    jobs = rows(10)
    run = play(jobs, Limits(memory=500 * MB), {3: works(5.0, memory=4000 * MB)}, sample_interval=0.1)
    assert states(run)[3] is JobState.FAILED
    assert run.ledger.jobs[3].kind is FailureKind.MEMORY
    assert count(run, JobState.SUCCEEDED) == 9
    (attempt,) = run.ledger.jobs[3].attempts
    assert attempt.outcome.message == "used 4008 MB, over its limit of 500 MB"


def test_a_job_without_end_times_out_while_its_neighbours_run_on() -> None:
    run = play(50, Limits(timeout=2.0), {1: fails(0.0, Hang())}, retry=NONE, seconds=0.001)
    assert run.ledger.jobs[1].kind is FailureKind.TIMEOUT
    assert count(run, JobState.SUCCEEDED) == 49
    assert run.clock.now - run.started < 2.2
    assert all(not attempt.charged or job == 1 or attempt.number == 1 for job, attempt in attempts(run))


def attempts(run: object) -> list[tuple[int, facts.AttemptEnded]]:
    return [(a.job, a) for _, a in seen(run, facts.AttemptEnded)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "row", "traits", "seconds"), [(3.0, None, 9.0, 3.0), (3.0, 1.0, 9.0, 1.0), (None, None, 2.0, 2.0)]
)
def test_a_job_s_own_timeout_comes_first_and_its_task_s_last(
    limits: float | None, row: float | None, traits: float, seconds: float
) -> None:
    job = rows(1)[0]._replace(timeout=row)
    tasks = {"task": Traits(timeout=traits)}
    run = play([job], Limits(timeout=limits), {1: fails(0.0, Hang())}, retry=NONE, policy={"tasks": tasks})
    usage = run.ledger.jobs[1].attempts[0].outcome.usage
    assert usage.ended - usage.started == pytest.approx(seconds, abs=0.03)


def test_time_spent_waiting_for_a_grant_does_not_count_against_the_timeout() -> None:
    quota = (("service", QuotaLimit(rate=Rate(1, 10.0))),)
    call = (Script((Work(0.5), Call("service", seconds=0.5), Work(0.5))),)
    run = play(4, Limits(timeout=2.0, quotas=quota), dict.fromkeys(range(1, 5), call), places=4, retry=NONE)
    assert count(run, JobState.SUCCEEDED) == 4
    assert run.clock.now - run.started > 30.0


def test_a_wait_of_the_job_s_own_will_does_not_count_against_the_timeout() -> None:
    waits = (Script((Work(0.5), Sleep(30.0), Work(0.5))),)
    run = play(1, Limits(timeout=2.0), {1: waits}, retry=NONE)
    assert count(run, JobState.SUCCEEDED) == 1
    hangs = (Script((Work(0.5), Sleep(30.0)), Hang()),)
    run = play(1, Limits(timeout=2.0), {1: hangs}, retry=NONE)
    assert run.ledger.jobs[1].kind is FailureKind.TIMEOUT
    assert run.clock.now - run.started == pytest.approx(32.0, abs=0.1)


def test_a_call_of_unknown_price_is_refused_where_a_budget_is_set_and_nowhere_else() -> None:
    calls = {1: (Script((Call("service", unpriced=True),)),)}
    free, limited = play(1, Limits(), calls), play(1, Limits(budget=1000), calls, retry=NONE)
    assert (count(free, JobState.SUCCEEDED), count(limited, JobState.FAILED)) == (1, 1)
    (ack,) = (ack for _, ack in seen(limited, do.Ack))
    assert "price of this call is unknown" in ack.refused
    assert not seen(limited, Sent)


def test_overlapping_waits_of_one_job_count_once() -> None:
    from batchmill.core.slots import Running

    running = Running(rows(1)[0], 1, 0.0, 5.0, None, started=0.0)
    running.wait_begins(1, 1.0)
    running.wait_begins(2, 2.0)
    assert running.deadline == float("inf")
    running.wait_ends(1, 3.0)
    running.wait_ends(2, 4.0)
    running.wait_ends(2, 9.0)
    assert running.deadline == 0.0 + 5.0 + 3.0


def test_the_deadline_stops_the_run_and_leaves_the_rest_pending() -> None:
    run = play(100, Limits(deadline=10.0), places=2, seconds=1.0)
    assert (run.state, run.ledger.reason) == (RunState.STOPPED, "deadline of 10 s")
    assert count(run, JobState.PENDING) > 70
    assert run.clock.now - run.started < 10.3
    assert all(not a.charged for _, a in attempts(run) if a.outcome.state is not JobState.SUCCEEDED)


def test_a_deadline_holds_in_a_drain_too() -> None:
    run = play(10, Limits(deadline=5.0), {1: fails(0.1, failure()), 2: works(1000.0)}, retry=NONE,
               policy={}, asks=[(1.0, "drain", 0)])  # fmt: skip
    assert run.clock.now - run.started < 5.5


@pytest.mark.parametrize(("number", "left"), [(1, 9), (3, 7)])
def test_so_many_failures_stop_the_run(number: int, left: int) -> None:
    broken = {n: fails(1.0, failure()) for n in range(1, 11)}
    run = play(10, Limits(max_failures=Failures(number=number)), broken, places=1)
    assert run.state is RunState.STOPPED
    assert (count(run, JobState.FAILED), count(run, JobState.PENDING)) == (number, left)


def test_a_share_of_failures_counts_from_twenty_finished_jobs_on() -> None:
    broken = {n: fails(0.1, failure()) for n in range(1, 16)}
    run = play(40, Limits(max_failures=Failures(fraction=0.5)), broken, places=1, seconds=0.1)
    assert run.state is RunState.STOPPED
    assert run.ledger.reason == "15 of 20 jobs failed, the limit is 50%"
    assert count(run, JobState.PENDING) == 20
    fine = play(40, Limits(max_failures=Failures(fraction=0.75)), broken, places=1, seconds=0.1)
    assert fine.state is RunState.FINISHED


def test_skipped_jobs_are_no_failures() -> None:
    run = play(5, Limits(max_failures=Failures(number=1)), {n: fails(0.1, skipped()) for n in range(1, 6)})
    assert (run.state, count(run, JobState.SKIPPED)) == (RunState.FINISHED, 5)


CALL = Call("service", most=100, cost=60, seconds=0.3)


def spending(jobs: int) -> dict[int, tuple[Script, ...]]:
    return {n: (Script((Work(0.1), CALL, Work(0.1), CALL)),) for n in range(1, jobs + 1)}


def test_the_budget_is_used_up_never_passed_and_a_larger_one_continues() -> None:
    jobs = [row._replace(mode=Mode.ASYNC) for row in rows(20)]
    run = play(jobs, Limits(budget=1000), spending(20), places=TWO_AND_ASYNC)
    assert (run.state, run.ledger.reason) == (RunState.STOPPED, "budget spent")
    assert 1000 - 100 < run.ledger.spent <= 1000
    assert all(not a.charged for _, a in attempts(run) if a.outcome.state is not JobState.SUCCEEDED)
    run.policy = run.policy.__class__(**{**vars(run.policy), "limits": Limits(budget=100_000)})
    run.play()
    assert (run.state, count(run, JobState.SUCCEEDED)) == (RunState.FINISHED, 20)


@pytest.mark.parametrize("seed", range(40))
def test_the_budget_is_never_passed_whatever_is_killed(seed: int) -> None:
    jobs = [row._replace(mode=Mode.ASYNC if row.job % 2 else Mode.PROCESS) for row in rows(20)]
    faults = FaultPlan(seed, seconds=(0.05, 0.5), calls=0.9, call=CALL, crashes=0.1, raises=0.2)
    kills = [0.3, 0.7, 1.5, 2.1, 2.3]
    run = play(jobs, Limits(budget=1500), places=TWO_AND_ASYNC, seed=seed, kills=kills, faults=faults)
    assert sum(sent.cost for _, sent in seen(run, Sent)) <= run.ledger.spent <= 1500


def test_an_inline_job_whose_call_no_money_is_left_for_is_told_so_and_stays_pending() -> None:
    jobs = [row._replace(mode=Mode.INLINE) for row in rows(5)]
    run = play(jobs, Limits(budget=150), spending(5), places=(Place(0, Mode.INLINE),))
    assert run.state is RunState.STOPPED
    assert states(run)[1] is JobState.PENDING
    refused = [ack.refused for _, ack in seen(run, do.Ack) if ack.refused]
    assert refused == ["the run is being stopped"]


def test_a_worker_is_replaced_after_its_share_of_jobs_also_under_full_windows() -> None:
    run = play(100, Limits(jobs_per_worker=7), places=2, seconds=0.0001)
    retired = [stop for _, stop in seen(run, do.Stop)]
    assert {stop.how for stop in retired} == {"retire"}
    assert len(retired) == 100 // 7
    assert count(run, JobState.SUCCEEDED) == 100
    assert len(run.ledger.jobs[100].attempts) == 1


def test_a_worker_that_grew_is_replaced() -> None:
    leaky = {n: works(0.0001, left=10 * MB) for n in range(1, 101)}
    run = play(100, Limits(worker_growth=200 * MB), leaky, places=1)
    retired = seen(run, do.Stop)
    assert 2 <= len(retired) <= 5
    assert count(run, JobState.SUCCEEDED) == 100


def test_the_grace_of_a_timeout_ends_when_the_run_must_stop_now() -> None:
    run = play(2, Limits(timeout=1.0, kill_grace=60.0), {1: fails(0.0, Hang()), 2: fails(0.0, Hang())},
               asks=[(2.0, "stop", 0)])  # fmt: skip
    assert run.clock.now - run.started < 2.2
    assert count(run, JobState.PENDING) == 2


def test_steps_wait_for_their_commit_and_that_wait_is_not_charged() -> None:
    steps = (Script(tuple(Step(f"s{n}", 0.01) for n in range(5))),)
    run = play(4, Limits(timeout=0.06), dict.fromkeys(range(1, 5), steps), retry=Retry(attempts=1))
    assert count(run, JobState.SUCCEEDED) == 4
