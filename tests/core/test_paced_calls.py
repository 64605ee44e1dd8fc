"""Calls to services with rate limits: used to the full, learned where they are wrong, shared among runs."""

from __future__ import annotations

from functools import partial

import pytest

from batchmill.core.calls import Granted
from batchmill.model.events import LimitSeen
from batchmill.model.limits import Limits, QuotaLimit, Rate
from tests.core.traffic import QUOTA, Bucket, Run, World

SECOND = 10.0  # requests: 600 a minute, as most services have it


def limits(rate: float | None, **more: object) -> Limits:
    paced = QuotaLimit(rate=None if rate is None else Rate(60 * rate, 60.0), **more)  # type: ignore[arg-type]
    return Limits(quotas=((QUOTA, paced),))


def answer(world: World, run: Run, calls: int) -> float:
    """The calls answered a second."""
    return calls / world.until(lambda: run.answered >= calls)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("latency", [0.05, 0.5])
def test_a_limit_that_is_right_is_used_to_the_full_without_a_refusal(shared: bool, latency: float) -> None:
    world, bucket = World(shared=shared, latency=latency), Bucket(SECOND, SECOND)
    world.limited_by(bucket)
    rate = answer(world, world.run(limits(SECOND)), 900)
    assert rate >= 0.99 * SECOND
    assert bucket.refused == 0


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("says", [lambda wait: wait, lambda wait: 0.0, lambda wait: 1.0])
def test_a_limit_set_twice_too_high_costs_at_most_ten_refusals_and_then_holds(shared: bool, says: object) -> None:
    world, bucket = World(shared=shared), Bucket(SECOND, SECOND, says)  # type: ignore[arg-type]
    world.limited_by(bucket)
    rate = answer(world, world.run(limits(2 * SECOND)), 3000)
    assert bucket.refused <= 10
    assert rate >= 0.95 * SECOND


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("factor", [1.25, 1.5, 2.0])
@pytest.mark.parametrize(
    ("rate", "latency", "burst"),
    [(10.0, 0.05, 1.0), (10.0, 0.5, 1.0), (10.0, 1.0, 0.5), (50.0, 0.1, 1.0), (50.0, 0.3, 0.2), (160.0, 0.3, 0.5)],
)
def test_however_many_are_in_flight_a_limit_set_too_high_costs_ten_refusals(
    rate: float, latency: float, burst: float, factor: float, shared: bool
) -> None:
    refused, delivered = learnt_of(rate, latency, burst, factor, shared)
    assert refused <= 10
    assert delivered >= 0.95


@pytest.mark.parametrize("shared", [False, True])
def test_a_hundred_in_flight_at_twice_the_limit_cost_ten_refusals(shared: bool) -> None:
    refused, delivered = learnt_of(160.0, 0.3, 1.0, 2.0, shared)
    assert refused <= 10
    assert delivered >= 0.95


def learnt_of(rate: float, latency: float, burst: float, factor: float, shared: bool) -> tuple[int, float]:
    """A minute of a service that tells nothing, and half a minute more: refusals in all, and the share of the true rate
    that the half minute had."""
    world = World(shared=shared, latency=latency)
    bucket = Bucket(rate, rate * burst, lambda wait: 0.0)
    world.limited_by(bucket)
    world.run(limits(rate * factor), callers=int(3 * rate * factor * latency) + 20)
    world.after(60.0)
    before = bucket.admitted
    world.after(30.0)
    return bucket.refused, (bucket.admitted - before) / (rate * 30)


def test_a_rate_is_tried_out_once_and_then_known() -> None:
    world, bucket = World(shared=True, latency=0.3), Bucket(100.0, 100.0)
    world.limited_by(bucket)
    first = world.run(limits(100.0), calls=3000)
    world.until(lambda: first.answered >= 3000)
    later = world.run(limits(100.0))
    before, start = bucket.admitted, world.clock.now
    world.until(lambda: later.answered >= 1000)
    assert (bucket.admitted - before) / (world.clock.now - start) >= 0.99 * 100.0
    assert bucket.refused == 0


def test_a_rate_that_the_service_told_is_not_tried_out() -> None:
    world, bucket = World(latency=0.3), Bucket(100.0, 100.0)
    world.limited_by(bucket)
    run = world.run(limits(200.0), callers=100)
    run.desk.limit_seen(LimitSeen(world.clock.now, QUOTA, QuotaLimit(rate=Rate(100.0, 1.0))), world.clock.now)
    assert answer(world, run, 2000) >= 0.97 * 100.0
    assert bucket.refused == 0


def test_no_limit_is_known_and_refusals_teach_it() -> None:
    world, bucket = World(shared=True), Bucket(SECOND, SECOND)
    world.limited_by(bucket)
    rate = answer(world, world.run(limits(None)), 1500)
    assert rate >= 0.75 * SECOND
    assert bucket.refused <= 40


def test_a_refusal_pauses_for_exactly_what_was_asked() -> None:
    world, bucket = World(), Bucket(1.0, 3.0, says=lambda wait: 7.0)
    world.limited_by(bucket)
    run = world.run(limits(10.0), callers=1)
    world.until(lambda: bucket.refused == 1)
    world.until(lambda: len(run.left_at) > 4)
    refused_at = run.left_at[3] + world.latency
    assert run.left_at[4] - refused_at == pytest.approx(7.0, abs=0.01)


def test_a_service_that_holds_a_minute_s_worth_is_given_it_when_it_says_so() -> None:
    world, bucket = World(), Bucket(SECOND, 600.0)
    world.limited_by(bucket)
    run = world.run(limits(SECOND), callers=50)
    for _ in range(200):
        world.after(0.1)
        now = world.clock.now
        run.desk.limit_seen(LimitSeen(now, QUOTA, None, remaining=bucket.level), now)
    assert len(run.left_at) > 1.3 * SECOND * 20
    assert bucket.refused == 0


def test_what_the_service_told_holds_where_it_is_lower_than_what_was_set() -> None:
    world, bucket = World(shared=True), Bucket(SECOND, SECOND)
    world.limited_by(bucket)
    run = world.run(limits(4 * SECOND), callers=1)
    told = LimitSeen(world.clock.now, QUOTA, QuotaLimit(rate=Rate(60 * SECOND, 60.0)))
    run.desk.limit_seen(told, world.clock.now)
    assert answer(world, run, 300) >= 0.9 * SECOND
    assert bucket.refused == 0


@pytest.mark.parametrize("runs", [2, 4])
def test_runs_that_share_a_quota_together_use_it_to_the_full_and_no_more(runs: int) -> None:
    world, bucket = World(shared=True), Bucket(SECOND, SECOND)
    world.limited_by(bucket)
    several = [world.run(limits(SECOND), callers=20) for _ in range(runs)]
    seconds = world.until(lambda: sum(run.answered for run in several) >= 900)
    assert bucket.refused == 0
    assert 900 / seconds >= 0.95 * SECOND
    assert min(run.answered for run in several) >= 900 / runs / 3


def test_a_run_alone_gets_what_others_leave() -> None:
    world, bucket = World(shared=True), Bucket(SECOND, SECOND)
    world.limited_by(bucket)
    short, long = world.run(limits(SECOND), callers=3, calls=30), world.run(limits(SECOND))
    world.until(lambda: short.answered >= 30)
    before, start = long.answered, world.clock.now
    world.until(lambda: long.answered >= before + 300)
    assert 300 / (world.clock.now - start) >= 0.97 * SECOND


def test_two_runs_learn_of_a_limit_that_one_of_them_found() -> None:
    world, bucket = World(shared=True), Bucket(SECOND, SECOND)
    world.limited_by(bucket)
    runs = [world.run(limits(2 * SECOND), callers=20) for _ in range(2)]
    world.until(lambda: sum(run.answered for run in runs) >= 900)
    assert bucket.refused <= 14
    late = world.run(limits(2 * SECOND), callers=20)
    world.until(lambda: late.answered >= 50)
    assert bucket.refused <= 16


def test_a_burst_that_is_set_is_what_leaves_at_once() -> None:
    world, bucket = World(), Bucket(SECOND, 30.0)
    world.limited_by(bucket)
    run = world.run(limits(SECOND, burst=20.0))
    world.after(0.01)
    assert run.left == 20


def test_tokens_of_a_minute_are_kept_too() -> None:
    world, bucket = World(shared=True, tokens=100), Bucket(1000.0, 1000.0)
    world.limited_by(bucket)
    run = world.run(limits(None, tokens=Rate(60_000, 60.0)), callers=30)
    world.until(lambda: run.answered >= 300)
    tokens = [100] * len(run.left_at)
    seconds = run.left_at[-1] - run.left_at[0]
    assert 0.97 * 1000 * seconds <= sum(tokens) <= 1000 * seconds + 1100


def test_the_requests_of_a_day_end_with_it() -> None:
    world, bucket = World(), Bucket(1000.0, 1000.0)
    world.limited_by(bucket)
    run = world.run(limits(None, day_requests=20), callers=8)
    run.desk._line(QUOTA).quota.day_ends = world.clock.now + 3600.0
    world.after(3599.0)
    assert run.left == 20
    world.after(2.0)
    assert run.left > 20
    world.after(3600.0)
    assert run.left == 40


def test_the_calls_in_flight_of_all_runs_together_are_limited() -> None:
    world, bucket = World(shared=True, latency=0.4), Bucket(10_000.0, 10_000.0)
    world.limited_by(bucket)
    runs = [world.run(limits(None, concurrency=10), callers=20) for _ in range(3)]
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, sum(run.open for run in runs))
        return sum(run.answered for run in runs) >= 600

    seconds = world.until(done)
    assert most == 10
    assert 600 / seconds >= 0.9 * 10 / 0.4
    assert min(run.answered for run in runs) >= 100


def test_the_calls_in_flight_of_a_dead_run_are_free_again() -> None:
    world, bucket = World(shared=True, latency=0.2), Bucket(10_000.0, 10_000.0)
    world.limited_by(bucket)
    dying, living = (world.run(limits(None, concurrency=4), callers=10) for _ in range(2))
    world.after(1.0)
    dying.alive = False
    assert world.lender is not None
    world.lender.dead.add(dying.number)
    before = living.answered
    world.after(2.0)
    assert living.answered - before >= 0.8 * 4 / 0.2 * 2


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("share", "says", "least"), [(0.01, 0.0, 70.0), (0.01, 1.0, 25.0), (0.03, 1.0, 3.0)])
@pytest.mark.parametrize("told", [None, 100.0])
def test_refusals_that_have_nothing_to_do_with_the_rate_do_not_bring_it_down(
    told: float | None, share: float, says: float, least: float, shared: bool
) -> None:
    world = World(shared=shared)

    def serve(run: Run, granted: Granted) -> None:
        wait = says if world.chance.random() < share else None
        world.clock.after(world.latency, partial(run.ends, granted, wait))

    world.serve = serve
    run = world.run(limits(told), callers=10)
    world.after(60.0)
    before = run.answered
    world.after(240.0)
    assert (run.answered - before) / 240 >= least
