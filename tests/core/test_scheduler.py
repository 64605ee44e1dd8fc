"""Single decisions of the scheduler, event by event: what a simulation meets too rarely to rely on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from batchmill.core.lost import LostCall
from batchmill.core.policy import Place, Policy, Traits
from batchmill.core.scheduler import Scheduler
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model import facts
from batchmill.model.jobs import Row, SavedStep
from batchmill.model.limits import Limits, Rate
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import FailureKind, JobState, Mode
from batchmill.testing import rows, workers


class Hand:
    """A scheduler whose other side is played by hand; batches are committed at the next step unless held."""

    def __init__(self, jobs: Sequence[Row], policy: Policy, *, hold: bool = False) -> None:
        self.scheduler = Scheduler(policy, lambda: 0.5)
        self.now, self.batch, self.hold = 0.0, 0, hold
        ready = [ev.Ready(0.0, place.slot, 100 + place.slot) for place in policy.places]
        self.step(ev.Planned(0.0, len(jobs), True), *ready)
        groups = [ev.Loaded(0.0, f"group:{g}", (), True) for g, _ in policy.limits.group_concurrency]
        self.act = self.step(ev.Loaded(0.0, "due", (), True), *groups, ev.Loaded(0.0, "main", tuple(jobs), True))

    def step(self, *events: ev.Event, seconds: float = 0.0) -> do.Act:
        self.now += seconds
        commits = [ev.Committed(self.now, self.batch)] if self.batch and not self.hold else []
        self.act = self.scheduler.step(
            [*commits, *(event._replace(at=self.now) for event in events), ev.Tick(self.now)]
        )
        self.batch = self.act.batch or self.batch
        return self.act

    def end(self, job: int, slot: int = 0, seconds: float = 0.0001) -> ev.Ended:
        usage = Usage(self.now, self.now + seconds)
        return ev.Ended(self.now, slot, job, Outcome(JobState.SUCCEEDED, usage, result=b"{}"))

    def facts(self, kind: type) -> list:  # type: ignore[type-arg]
        return [fact for fact in self.act.facts if isinstance(fact, kind)]


def started(act: do.Act) -> list[int]:
    return [start.row.job for start in act.starts]


def full_window(policy: Policy, count: int = 60) -> Hand:
    """A worker that holds jobs 2 and more."""
    hand = Hand(rows(count), policy)
    hand.step(hand.end(1))
    assert len(started(hand.act)) == 32
    return hand


def test_a_worker_that_is_killed_too_late_for_its_culprit_charges_nobody() -> None:
    hand = full_window(Policy(workers(1), Limits(timeout=1.0)))
    assert [stop.job for stop in hand.step(seconds=1.5).stops] == [2]
    hand.step(hand.end(2, seconds=1.6), seconds=0.1)  # it ended while its kill was on the way
    hand.step(ev.Recalled(0.0, 0, tuple(range(4, 34))), ev.Died(0.0, 0, 9), seconds=0.1)
    assert hand.facts(facts.AttemptEnded) == []
    hand.step(ev.Ready(0.0, 0, 200))
    assert started(hand.act)[0] == 3


def test_a_kill_is_not_meant_for_the_worker_after_next() -> None:
    policy = Policy((Place(0, Mode.PROCESS), Place(1, Mode.ASYNC, 5)))
    hand = Hand([rows(1)[0]._replace(mode=Mode.ASYNC)], policy)
    hand.step(ev.OffloadAsked(0.0, 1, 1, 7, b"work"))
    assert [start.hook for start in hand.act.starts] == ["offload"]
    hand.step(ev.Died(0.0, 1, 11), ev.Died(0.0, 0, 11))  # the job that asked, then its function
    assert hand.act.stops == []


def test_a_function_of_an_async_job_goes_before_jobs_that_would_be_sent_ahead() -> None:
    policy = Policy((Place(0, Mode.PROCESS), Place(1, Mode.ASYNC, 5)))
    jobs = [row._replace(mode=Mode.ASYNC if row.job == 60 else Mode.PROCESS) for row in rows(60)]
    hand = Hand(jobs, policy)
    hand.step(hand.end(1))
    hand.step(ev.OffloadAsked(0.0, 1, 60, 7, b"work"))
    for job in range(2, 33):
        assert hand.step(hand.end(job)).starts == []
    hand.step(hand.end(33))
    assert next(start.hook for start in hand.act.starts) == "offload"


def test_a_hook_s_step_is_acknowledged_although_it_leaves_no_fact() -> None:
    hand = Hand([], Policy(workers(1), tasks={"t": Traits(hooks=frozenset({"prepare"}))}))
    (start,) = hand.scheduler.state.slots[0].running()
    step = ev.StepDone(0.0, 0, start.row.job, 5, SavedStep("a", "", b"1"), 0.1)
    assert [ack.ticket for ack in (*hand.step(step).acks, *hand.step().acks)] == [5]


def call(ticket: int, job: int = 1) -> ev.CallAsked:
    return ev.CallAsked(0.0, 0, job, ticket, "q", f"key-{ticket}", 1, 100)


def test_a_call_whose_grant_never_left_costs_nothing_when_its_job_dies() -> None:
    hand = Hand(rows(1), Policy(workers(1), Limits(budget=1000)))
    hand.hold = True
    hand.step(call(1))
    hand.hold = False
    assert [ack.ticket for ack in hand.step(call(2)).acks] == [1]
    hand.hold = True
    hand.step(ev.Died(0.0, 0, 11))
    assert [(closed.state, closed.cost) for closed in hand.facts(facts.CallClosed)] == [
        ("unknown", 100),
        ("released", 0),
    ]
    assert hand.scheduler.state.desk.spent == 100
    hand.hold = False
    assert hand.step().acks == []


def all_die(hand: Hand) -> list[facts.AttemptEnded]:
    """The process above all workers is gone, and they with it; then there are new ones. Returns what was charged."""
    hand.step(ev.Died(0.0, 0, 9, shared=True), ev.Died(0.0, 1, 9, shared=True))
    charged = hand.facts(facts.AttemptEnded)
    hand.step(ev.Ready(0.0, 0, 200), ev.Ready(0.0, 1, 201))
    return charged


def test_of_jobs_that_ran_when_all_workers_died_each_runs_alone_until_it_is_innocent() -> None:
    hand = Hand(rows(4), Policy(workers(2)))
    assert all_die(hand) == []
    assert started(hand.act) == [1]
    assert started(hand.step(hand.end(1))) == [2]
    assert started(hand.step(hand.end(2))) == [3, 4]


def test_a_job_with_which_all_workers_die_when_it_runs_alone_is_charged_and_then_quarantined() -> None:
    hand = Hand(rows(3), Policy(workers(2)))
    assert all_die(hand) == []
    (attempt,) = all_die(hand)
    assert attempt.outcome.message == "all workers were killed while this job alone ran"
    assert (attempt.job, started(hand.act)) == (1, [2])
    assert started(hand.step(hand.end(2))) == [3]
    assert [load.stream for load in hand.step(seconds=100.0).loads] == ["due"]
    again = rows(1)[0]._replace(attempts=1, total_attempts=1, deaths=1)
    assert started(hand.step(ev.Loaded(0.0, "due", (again,), True))) == []  # it runs alone from now on
    assert started(hand.step(hand.end(3))) == [1]
    assert len(all_die(hand)) == 1
    assert hand.scheduler.state.failed == 1


def test_a_function_of_an_async_job_with_which_all_workers_die_counts_as_that_job() -> None:
    hand = Hand([rows(1)[0]._replace(mode=Mode.ASYNC)], Policy((Place(0, Mode.PROCESS), Place(1, Mode.ASYNC, 5))))
    assert started(hand.step(ev.OffloadAsked(0.0, 1, 1, 7, b""))) == [-1]
    (attempt,) = all_die(hand)
    assert attempt.job == 1
    assert started(hand.act) == []


def test_a_limit_below_what_a_worker_takes_anyway_is_told_to_be() -> None:
    hand = Hand(rows(1), Policy(workers(1), Limits(memory=10_000_000)))
    hand.scheduler.state.slots[0].first_rss = 28_000_000
    hand.step(ev.Sample(0.0, ((0, 28_100_000),), 10**9), seconds=1.0)
    hand.step(ev.Died(0.0, 0, 9))
    (attempt,) = hand.facts(facts.AttemptEnded)
    assert attempt.outcome.message == (
        "used 28 MB, over its limit of 10 MB; a worker takes 28 MB before it starts any job"
    )


def test_a_job_is_told_for_what_its_worker_was_killed() -> None:
    hand = Hand(rows(1), Policy(workers(1)))
    hand.step(ev.Died(0.0, 0, 9, job=1, reason="blocked the event loop"))
    (attempt,) = hand.facts(facts.AttemptEnded)
    assert attempt.outcome.message == "the worker was killed: the job blocked the event loop"


def test_an_answer_to_an_earlier_attempt_never_reaches_the_next_one() -> None:
    hand = Hand(rows(1), Policy(workers(1)), hold=True)
    hand.step(ev.StepDone(0.0, 0, 1, 1, SavedStep("a", "", b"1"), 0.1))
    hand.step(ev.Recalled(0.0, 0, (1,)), ev.Died(0.0, 0, 9))
    hand.hold = False
    hand.step(ev.Ready(0.0, 0, 200))
    assert started(hand.act) == [1]
    assert hand.step().acks == []
    assert [step.name for step in hand.scheduler.state.slots[0].running()[0].row.steps] == ["a"]


def test_jobs_behind_a_late_one_are_taken_back_once_a_worker_is_idle_and_none_follow() -> None:
    hand = Hand(rows(20), Policy(workers(2)))
    hand.step(hand.end(1), hand.end(2, 1))
    first = [start.row.job for start in hand.act.starts if start.slot == 0]
    second = [start.row.job for start in hand.act.starts if start.slot == 1]
    assert len(first) + len(second) == 18
    hand.step(*[hand.end(job, 1) for job in second])
    assert hand.act.recalls == []
    assert hand.scheduler.next_wakeup == 0.05
    assert hand.step(seconds=0.05).recalls == [do.Recall(0)]
    assert hand.step(seconds=1.0).recalls == []  # asked already
    hand.step(ev.Recalled(0.0, 0, tuple(first[1:])))
    assert {start.slot for start in hand.act.starts} == {1}


def test_a_sample_that_was_taken_before_an_attempt_began_does_not_count_against_it() -> None:
    hand = Hand(rows(3), Policy(workers(1), Limits(memory=100)))
    hand.step(hand.end(1), seconds=5.0)
    stale = ev.Sample(4.9, ((0, 500),), 10**9)
    assert hand.scheduler.step([stale]).stops == []
    hand.step(ev.Sample(0.0, ((0, 500),), 10**9), seconds=1.0)
    assert [stop.job for stop in hand.act.stops] == [2]
    hand.step(ev.Died(0.0, 0, 9))
    (attempt,) = hand.facts(facts.AttemptEnded)
    assert attempt.outcome.kind is FailureKind.MEMORY


def test_the_memory_of_the_async_worker_is_no_job_s_own() -> None:
    policy = Policy((Place(0, Mode.ASYNC, 5),), Limits(memory=100))
    hand = Hand([row._replace(mode=Mode.ASYNC) for row in rows(3)], policy)
    assert hand.step(ev.Sample(0.0, ((0, 500),), 10**9), seconds=1.0).stops == []


def test_a_call_that_is_given_up_leaves_its_place_and_the_timeout_runs_on() -> None:
    hand = Hand(rows(1), Policy(workers(1), Limits(timeout=5.0, quotas=())))
    hand.hold = True
    hand.step(call(1), seconds=1.0)
    assert hand.step(seconds=6.0).stops == []
    assert hand.scheduler.next_wakeup == float("inf")
    hand.step(ev.CallSettled(0.0, 0, 1, 1, 0, 0, False))
    assert [closed.state for closed in hand.facts(facts.CallClosed)] == ["released"]
    assert hand.scheduler.next_wakeup == 5.0 + 6.0


def test_only_pids_of_workers_and_heads_of_windows_are_written_for_slots() -> None:
    hand = full_window(Policy(workers(1)))
    assert [(fact.job, fact.pid) for fact in hand.facts(facts.SlotSet)] == [(2, 100)]


def test_a_hook_and_a_function_that_their_worker_never_read_are_sent_again() -> None:
    hand = Hand([], Policy(workers(1), tasks={"t": Traits(hooks=frozenset({"prepare"}))}))
    hook = hand.scheduler.state.slots[0].running()[0].row.job
    hand.step(ev.Recalled(0.0, 0, (hook,)), ev.Died(0.0, 0, 9))
    assert hand.facts(facts.HookEnded) == []
    assert [start.hook for start in hand.step(ev.Ready(0.0, 0, 200)).starts] == ["prepare"]

    policy = Policy((Place(0, Mode.PROCESS), Place(1, Mode.ASYNC, 5)))
    hand = Hand([rows(1)[0]._replace(mode=Mode.ASYNC)], policy)
    (start,) = hand.step(ev.OffloadAsked(0.0, 1, 1, 7, b"work")).starts
    hand.step(ev.Recalled(0.0, 0, (start.row.job,)), ev.Died(0.0, 0, 9))
    assert hand.act.acks == []
    (again,) = hand.step(ev.Ready(0.0, 0, 200)).starts
    assert (again.hook, again.payload) == ("offload", b"work")


@pytest.mark.parametrize(("sent", "state", "cost"), [(True, "settled", 30), (False, "released", 0)])
def test_what_came_of_a_call_that_a_kill_cut_short_is_settled_by_a_later_attempt(
    sent: bool, state: str, cost: int
) -> None:
    lost = (LostCall(4, 1, "q", "k", 100), LostCall(5, 1, "q", "k", 100), LostCall(6, 2, "q", "k", 100))
    hand = Hand(rows(1), Policy(workers(1), Limits(budget=1000), spent=400, next_call=7, lost=lost))
    found = ev.CallFound(0.0, 0, 1, "q", "k", 3, 30, sent, b"{}")
    hand.step(found)
    assert hand.facts(facts.CallClosed)[-1][1:5] == (5, state, 3 if sent else 0, cost)
    assert hand.scheduler.state.desk.spent == 400 - 100 + cost


def test_a_call_whose_answer_nobody_saw_is_settled_in_the_same_invocation() -> None:
    hand = Hand(rows(1), Policy(workers(1), Limits(budget=1000)))
    hand.step(call(1))
    hand.step()
    hand.step(ev.CallSettled(0.0, 0, 1, 1, 1, 100, True, answered=False))
    assert [closed.state for closed in hand.facts(facts.CallClosed)] == ["unknown"]
    assert hand.scheduler.state.desk.spent == 100
    hand.step(ev.CallFound(0.0, 0, 1, "q", "key-1", 3, 30, True))
    assert [closed.state for closed in hand.facts(facts.CallClosed)] == ["settled"]
    assert hand.scheduler.state.desk.spent == 30


@pytest.mark.parametrize(("sent", "failed", "hits"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_a_reply_without_a_call_that_was_lost_was_at_hand(sent: bool, failed: bool, hits: int) -> None:
    hand = Hand(rows(1), Policy(workers(1), Limits(budget=1000)))
    hand.step(ev.CallFound(0.0, 0, 1, "q", "k", 3, 30, sent, b"{}", failed))
    assert len(hand.facts(facts.CallCached)) == hits
    assert hand.facts(facts.CallClosed) == []
    assert hand.scheduler.state.desk.spent == 0


def lulls(act: do.Act) -> list[int]:
    """The tickets of those who are told that all jobs wait."""
    return [ack.ticket for ack in act.acks]


@pytest.mark.parametrize("capacity", [2, 10])
def test_a_lull_is_told_once_every_job_waits_and_none_can_start(capacity: int) -> None:
    jobs = [row._replace(mode=Mode.ASYNC) for row in rows(3)]
    hand = Hand(jobs, Policy((Place(0, Mode.ASYNC, capacity),)))
    running = started(hand.act)
    assert len(running) == min(capacity, 3)
    hand.step(ev.LullAsked(0.0, 0, 1, 7))
    for job in running:
        assert lulls(hand.act) == []
        hand.step(ev.WaitBegan(0.0, 0, job, 100 + job))
    assert lulls(hand.act) == [7]

    hand.step(ev.WaitEnded(0.0, 0, 1, 101), ev.LullAsked(0.0, 0, 1, 8))
    assert lulls(hand.act) == []
    hand.step(hand.end(1))
    assert lulls(hand.act) == ([] if capacity == 2 else [8])  # the third starts
    if capacity == 2:
        assert started(hand.act) == [3]
        hand.step(ev.WaitBegan(0.0, 0, 3, 103))
        assert lulls(hand.act) == [8]


def test_it_is_no_lull_while_a_start_is_only_a_matter_of_time() -> None:
    jobs = [row._replace(mode=Mode.ASYNC) for row in rows(2)]
    limits = Limits(rate=Rate(1, 60.0))
    hand = Hand(jobs, Policy((Place(0, Mode.ASYNC, 10),), limits))
    assert started(hand.act) == [1]
    hand.step(ev.WaitBegan(0.0, 0, 1, 101), ev.LullAsked(0.0, 0, 1, 7))
    assert lulls(hand.act) == []
    hand.step(seconds=61.0)
    assert started(hand.act) == [2]
    hand.step(ev.WaitBegan(0.0, 0, 2, 102))
    assert lulls(hand.act) == [7]
