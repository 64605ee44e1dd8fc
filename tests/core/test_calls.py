from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.core.calls import CallDesk
from batchmill.core.policy import Policy
from batchmill.model.events import CallAsked, LimitSeen
from batchmill.model.limits import Limits, QuotaLimit, Rate


def asked(ticket: int, job: int = 1, cost: int = 10, tokens: int = 1, quota: str = "q") -> CallAsked:
    return CallAsked(0.0, 0, job, ticket, quota, f"key-{ticket}", tokens, cost)


def desk(budget: int | None = None, limit: QuotaLimit | None = None, spent: int = 0) -> CallDesk:
    return CallDesk(Policy((), Limits(budget=budget, quotas=(("q", limit or QuotaLimit()),)), spent=spent))


def tickets(desk: CallDesk, now: float = 0.0) -> tuple[list[int], list[int]]:
    granted, refused = desk.admit(now)
    return [call.asked.ticket for call in granted], [call.ticket for call in refused]


def test_calls_leave_in_the_order_in_which_they_were_asked_for_and_are_numbered() -> None:
    one = desk()
    for ticket in (5, 3, 4):
        one.ask(asked(ticket))
    granted, _ = one.admit(0.0)
    assert [(call.call, call.asked.ticket) for call in granted] == [(1, 5), (2, 3), (3, 4)]


def test_no_more_calls_are_open_than_the_quota_allows() -> None:
    one = desk(limit=QuotaLimit(concurrency=2))
    for ticket in range(4):
        one.ask(asked(ticket))
    assert tickets(one) == ([0, 1], [])
    assert one.next_wakeup(0.0) == float("inf")
    one.settle(1, 0, 1, 10, True)
    assert tickets(one) == ([2], [])


def test_requests_and_tokens_keep_their_pace() -> None:
    one = desk(limit=QuotaLimit(rate=Rate(10, 1.0), tokens=Rate(100, 1.0)))
    for ticket in range(3):
        one.ask(asked(ticket, tokens=60))
    assert tickets(one) == ([0], [])
    assert one.next_wakeup(0.0) == pytest.approx(0.2)  # tokens: 60 of 100 are gone, 60 are wanted
    assert tickets(one, 0.2) == ([1], [])


def test_a_service_that_asks_to_wait_is_left_alone() -> None:
    one = desk()
    one.limit_seen(LimitSeen(0.0, "q", QuotaLimit(rate=Rate(1, 1.0)), 7.0), 0.0)
    one.ask(asked(1))
    one.ask(asked(2))
    assert tickets(one, 6.9) == ([], [])
    assert one.next_wakeup(6.9) == 7.0
    assert tickets(one, 7.0) == ([1], [])
    assert one.next_wakeup(7.0) == 8.0


def test_unused_money_and_tokens_come_back() -> None:
    one = desk(budget=100, limit=QuotaLimit(tokens=Rate(10, 1.0)))
    one.ask(asked(1, cost=100, tokens=10))
    one.ask(asked(2, cost=60, tokens=10))
    assert tickets(one) == ([1], [])
    one.settle(1, 1, 0, 40, True)
    assert (one.spent, one.reserved) == (40, 0)
    assert tickets(one) == ([2], [])


def test_a_call_that_may_become_affordable_waits_without_a_wakeup() -> None:
    one = desk(budget=100)
    one.ask(asked(1, cost=80))
    one.ask(asked(2, cost=30))
    assert tickets(one) == ([1], [])
    assert one.next_wakeup(0.0) == float("inf")
    one.settle(1, 1, 1, 80, True)
    assert tickets(one) == ([], [2])
    assert one.exhausted


def test_a_call_that_was_never_sent_costs_nothing() -> None:
    one = desk(budget=100)
    one.ask(asked(1, cost=100))
    one.admit(0.0)
    closed = one.settle(1, 1, 0, 0, False)
    assert closed is not None
    assert one.spent == one.reserved == 0


def test_an_attempt_that_ends_with_calls_open_pays_for_those_that_were_sent() -> None:
    one = desk(budget=100)
    for ticket in (1, 2):
        one.ask(asked(ticket, cost=20))
    one.admit(0.0)
    one.ask(asked(3, cost=20))
    one.ask(asked(4, job=2, cost=20))
    closed = one.forget(1, unsent={2})
    assert [call.asked.ticket for call in closed] == [1, 2]
    assert (one.spent, one.reserved) == (20, 0)
    assert tickets(one) == ([4], [])


def test_a_call_that_nobody_waits_for_any_more_is_not_granted() -> None:
    one = desk(limit=QuotaLimit(concurrency=1))
    for ticket in (1, 2, 3):
        one.ask(asked(ticket))
    one.admit(0.0)
    assert one.settle(1, 2, 0, 0, False) is None
    one.settle(1, 1, 1, 10, True)
    assert tickets(one) == ([3], [])


def test_a_limit_that_was_learned_holds_and_unknown_parts_stay() -> None:
    one = desk(limit=QuotaLimit(concurrency=1))
    one.limit_seen(LimitSeen(0.0, "q", QuotaLimit(rate=Rate(1, 1.0))), 0.0)
    for ticket in (1, 2):
        one.ask(asked(ticket))
    assert tickets(one) == ([1], [])
    one.settle(1, 1, 1, 1, True)
    assert tickets(one) == ([], [])
    assert tickets(one, 1.0) == ([2], [])


@given(
    budget=st.integers(0, 200),
    moves=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 100), st.booleans()), max_size=40),
)
def test_the_budget_is_never_passed(budget: int, moves: list[tuple[int, int, bool]]) -> None:
    one = desk(budget=budget)
    for ticket, (cost, share, settles) in enumerate(moves):
        one.ask(asked(ticket, cost=cost))
        one.admit(float(ticket))
        assert one.spent + one.reserved <= budget
        if settles:
            one.settle(1, ticket, 1, cost * share // 100, True)
        assert one.spent + one.reserved <= budget
