"""Which failures are tried again and when, and which endpoint is asked: decisions, on a clock of the test."""

from __future__ import annotations

import pytest

from batchmill.llm.failures import Failure
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.retries import OUTAGE, REFUSALS, Patience
from batchmill.llm.routes import Balancer

SERVER = Failure("server", "", retry=True, status=500)
DOWN = Failure("server", "", retry=True, status=503)
REFUSED = Failure("rate_limited", "", retry=True, status=429)
WRONG = Failure("invalid_request", "", retry=False, status=400)


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def endpoints(count: int, *, quota: str = "") -> list[Endpoint]:
    """Endpoints with quotas of their own, or all with the same."""
    return [Endpoint(f"http://{n}", quota=quota or str(n)) for n in range(count)]


def test_waits_grow_and_are_spread_over_their_whole_length() -> None:
    longest, none = Patience(9, lambda: 1.0), Patience(9, lambda: 0.0)
    assert [longest.wait(SERVER) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, None]
    assert [none.wait(SERVER) for _ in range(3)] == [0, 0, 0]


def test_what_is_told_is_waited_for_exactly() -> None:
    patience = Patience(3, lambda: 1.0)
    assert patience.wait(Failure("rate_limited", "", retry=True, after=0.125)) == 0.125
    assert patience.wait(Failure("server", "", retry=True, after=7.0)) == 7.0


def test_what_lasts_is_not_waited_for() -> None:
    assert Patience(9).wait(WRONG) is None


def test_refusals_are_counted_apart() -> None:
    patience = Patience(2, lambda: 0.0)
    assert [patience.wait(REFUSED) for _ in range(REFUSALS)] == [0.0] * REFUSALS
    assert patience.wait(SERVER) == 0.0
    assert patience.wait(REFUSED) is None


def test_in_an_outage_one_looks_often_and_gives_up_late() -> None:
    patience = Patience(2, lambda: 1.0)
    waits = [patience.wait(DOWN, outage=True) for _ in range(100)]
    assert None not in waits
    assert max(wait or 0 for wait in waits) == 10


def test_equal_endpoints_take_turns() -> None:
    balancer = Balancer(endpoints(3))
    assert {balancer.pick().endpoint.url for _ in range(3)} == {"http://0", "http://1", "http://2"}


def test_the_less_busy_for_its_weight_is_asked() -> None:
    balancer = Balancer([Endpoint("light"), Endpoint("heavy", weight=3.0)])
    for _ in range(8):
        balancer.pick().in_use += 1
    assert {way.endpoint.url: way.in_use for way in balancer.ways} == {"light": 2, "heavy": 6}


def test_an_endpoint_that_failed_rests_longer_each_time_and_is_forgiven_at_once() -> None:
    clock = Clock()
    balancer = Balancer(endpoints(2), clock)
    bad, good = balancer.ways
    for rest in (1.0, 2.0, 4.0):
        assert balancer.failed(bad, SERVER)
        assert {balancer.pick() for _ in range(4)} == {good}
        clock.now += rest
        assert {balancer.pick() for _ in range(4)} == {bad, good}
    balancer.went_well(bad)
    balancer.failed(bad, SERVER)
    clock.now += 1.0
    assert bad in {balancer.pick() for _ in range(4)}


def test_a_thousand_failures_are_one_too_many_for_no_clock() -> None:
    balancer = Balancer(endpoints(1))
    assert not any(balancer.failed(balancer.ways[0], SERVER) for _ in range(2000))
    assert balancer.pick() is balancer.ways[0]


@pytest.mark.parametrize(("quota", "elsewhere"), [("", True), ("shared", False)])
def test_a_limit_rests_all_endpoints_that_share_it(quota: str, elsewhere: bool) -> None:
    balancer = Balancer(endpoints(2, quota=quota), Clock())
    assert balancer.failed(balancer.ways[0], REFUSED) is elsewhere
    assert balancer.failed(balancer.ways[1], Failure("auth", "", retry=False)) is False


def test_a_wrong_request_says_nothing_of_its_endpoint() -> None:
    balancer = Balancer(endpoints(2), Clock())
    assert not balancer.failed(balancer.ways[0], WRONG)
    assert len({balancer.pick() for _ in range(4)}) == 2


def test_where_all_rest_the_one_that_is_due_first_is_asked_at_once() -> None:
    clock = Clock()
    balancer = Balancer(endpoints(2), clock)
    first, second = balancer.ways
    balancer.failed(first, SERVER)
    clock.now += 0.5
    balancer.failed(second, SERVER)
    assert balancer.pick() is first


def test_a_service_is_down_when_nobody_was_answered_since() -> None:
    clock = Clock()
    balancer = Balancer(endpoints(1), clock)
    (way,) = balancer.ways
    balancer.failed(way, DOWN)
    assert not balancer.is_down(way, DOWN, way.answers)  # it never answered: perhaps it is not there
    balancer.went_well(way)
    seen = way.answers
    balancer.failed(way, DOWN)
    assert balancer.is_down(way, DOWN, seen)
    assert not balancer.is_down(way, SERVER, seen)  # which may be about the request
    clock.now += OUTAGE
    balancer.failed(way, DOWN)
    assert not balancer.is_down(way, DOWN, seen)
    balancer.went_well(way)
    balancer.failed(way, DOWN)
    assert not balancer.is_down(way, DOWN, seen)  # somebody was answered: it is about this request
