"""Money for calls: of a run, of a day for all runs, of one model. Reserved before a call leaves, settled after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.core.calls import CallDesk
from batchmill.core.lending import Day, lend_money
from batchmill.core.policy import Policy
from batchmill.model.commands import MoneyAsk
from batchmill.model.events import CallAsked, Lent
from batchmill.model.limits import Limits
from batchmill.model.states import JobState, Mode, RunState
from batchmill.testing import Call, Place, Script, Sent, rows
from tests.core.play import count, play, seen
from tests.core.traffic import Bucket, Run, World

ASYNC = (Place(0, Mode.PROCESS), Place(1, Mode.ASYNC, 100))
ONE = 1000  # the most that a call costs


def asked(ticket: int, quota: str, cost: int = ONE, job: int = 1) -> CallAsked:
    return CallAsked(0.0, 0, job, ticket, quota, "", 1, cost)


def test_with_money_for_fifty_calls_fifty_of_five_hundred_leave() -> None:
    call = (Script((Call("service", most=ONE, cost=ONE, seconds=0.3),)),)
    jobs = [row._replace(mode=Mode.ASYNC) for row in rows(500)]
    run = play(jobs, Limits(budget=50 * ONE), dict.fromkeys(range(1, 501), call), places=ASYNC, kills=[0.4, 0.9])
    assert len(seen(run, Sent)) <= 50
    assert run.ledger.spent <= 50 * ONE
    assert (run.state, run.ledger.reason) == (RunState.STOPPED, "budget spent")
    assert count(run, JobState.SUCCEEDED) <= 50


def test_the_budget_of_one_model_holds_for_all_keys_of_it_and_for_nothing_else() -> None:
    desk = CallDesk(Policy((), Limits(budgets=(("a/large", 2 * ONE),))))
    for ticket, quota in enumerate(["a/large/x", "a/large/y", "a/small/x", "a/largest/x"]):
        desk.ask(asked(ticket, quota))
    granted, refused = desk.admit(0.0)
    assert (len(granted), refused) == (4, [])
    desk.settle(1, 0, 1, ONE, True)
    desk.ask(asked(9, "a/large/x"))
    assert desk.admit(0.0) == ([], [])  # the other call may yet cost less
    desk.settle(1, 1, 1, ONE, True)
    granted, refused = desk.admit(0.0)
    assert [one.ticket for one in refused] == [9]
    assert desk.exhausted == "budget of `a/large` spent"


def test_what_was_spent_on_a_model_before_counts() -> None:
    spent = (("a/large/x", ONE), ("a/large/y", ONE), ("b/large/x", ONE))
    desk = CallDesk(Policy((), Limits(budgets=(("a", 3 * ONE),)), spent_of=spent))
    for ticket in (1, 2):
        desk.ask(asked(ticket, "a/small/x"))
    assert [call.asked.ticket for call in desk.admit(0.0)[0]] == [1]


@pytest.mark.parametrize(
    ("limits", "quota", "needed"),
    [
        (Limits(), "a/x", False),
        (Limits(budget=1), "a/x", True),
        (Limits(budget_per_day=1), "a/x", True),
        (Limits(budgets=(("a", 1),)), "a/x", True),
        (Limits(budgets=(("a", 1),)), "b/x", False),
    ],
)
def test_a_price_must_be_known_where_a_budget_applies(limits: Limits, quota: str, needed: bool) -> None:
    assert CallDesk(Policy((), limits)).must_know_price(quota) is needed


def buying(world: World, budget: int | None, **options: int) -> Run:
    bucket = Bucket(1e6, 1e6)
    world.limited_by(bucket)
    return world.run(Limits(budget_per_day=budget), cost=ONE, **options)


def test_runs_share_the_money_of_a_day_and_use_it_up() -> None:
    world = World(shared=True, latency=0.1)
    runs = [buying(world, 300 * ONE, callers=20) for _ in range(3)]
    world.after(60.0)
    assert sum(run.left for run in runs) == 300
    assert all(run.desk.exhausted == "day's budget spent" for run in runs)


def test_a_run_without_a_day_s_budget_spends_from_it_all_the_same() -> None:
    world = World(shared=True, latency=0.1)
    free = buying(world, None, callers=10, calls=100)
    world.until(lambda: free.answered >= 100)
    limited = buying(world, 150 * ONE, callers=10)
    world.after(60.0)
    assert limited.left == 50


def test_what_a_dead_run_may_have_spent_is_spent() -> None:
    world = World(shared=True, latency=0.5)
    assert world.lender is not None
    dying = buying(world, 200 * ONE, callers=40)
    world.after(1.7)
    dying.alive = False
    world.lender.dead.add(dying.number)
    living = buying(world, 200 * ONE, callers=40)
    world.after(100.0)
    assert living.desk.exhausted
    assert 150 <= dying.left + living.left <= 200


def test_money_that_calls_did_not_cost_pays_for_others() -> None:
    world = World(shared=True)
    world.serve = lambda run, granted: world.clock.after(0.1, lambda: run.ends(granted, None, cost=ONE // 2))
    runs = [world.run(Limits(budget_per_day=100 * ONE), cost=ONE, callers=10) for _ in range(2)]
    world.after(60.0)
    assert 195 <= sum(run.left for run in runs) <= 200


def test_a_run_that_shares_no_more_keeps_the_day_s_budget_alone() -> None:
    desk = CallDesk(Policy((), Limits(budget_per_day=3 * ONE), shared=True, spent_today=ONE))
    for ticket in range(3):
        desk.ask(asked(ticket, "a"))
    assert desk.admit(0.0) == ([], [])
    assert desk.borrow(0.0) is not None
    desk.lent(Lent(0.0, broken="no file"), 0.0)
    assert len(desk.admit(0.0)[0]) == 2
    assert desk.borrow(10.0) is None


@given(
    budget=st.integers(0, 100),
    rows=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60)), min_size=1, max_size=6),
)
def test_no_more_is_ever_lent_than_the_day_has(budget: int, rows: list[tuple[int, int, int]]) -> None:
    lent: dict[int, int] = {}
    for number, (_, _, wanted) in enumerate(rows):
        others = Day(0, sum(lent.values()))
        limit, most = lend_money(MoneyAsk(0, 0, wanted, budget), others, 0)
        lent[number] = limit
        assert sum(lent.values()) <= budget
        assert most == budget
