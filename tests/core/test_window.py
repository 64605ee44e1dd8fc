"""Calls in flight at services whose limit nobody knows: near the best fixed number, whatever the service is like."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from batchmill.core.window import LADDER, Window
from batchmill.model.limits import Limits, QuotaLimit
from tests.core.traffic import QUOTA, Degrading, Slots, World

ANSWERS = 6000
FIXED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100)

Service = Callable[[World], object]


def goodput(service: Service, limit: QuotaLimit, answers: int, *, shared: bool = False, seed: int = 1) -> float:
    world = World(seed=seed, shared=shared)
    service(world)
    run = world.run(Limits(quotas=((QUOTA, limit),)), callers=100)
    return answers / world.until(lambda: run.answered >= answers)


def best_fixed(service: Service) -> float:
    return max(goodput(service, QuotaLimit(concurrency=size), 600) for size in FIXED)


@pytest.mark.parametrize("spread", [0.0, 0.4])
@pytest.mark.parametrize("slots", [1, 4, 30])
def test_slots_with_a_queue_are_kept_busy(slots: int, spread: float) -> None:
    def service(world: World) -> object:
        return Slots(world, slots, spread=spread)

    assert goodput(service, QuotaLimit(), ANSWERS) >= 0.9 * best_fixed(service)


@pytest.mark.parametrize("spread", [0.0, 0.4])
@pytest.mark.parametrize("peak", [3, 10, 40])
def test_a_service_that_many_requests_slow_down_is_given_as_many_as_suit_it(peak: int, spread: float) -> None:
    def service(world: World) -> object:
        return Degrading(world, peak, spread)

    assert goodput(service, QuotaLimit(), ANSWERS) >= 0.9 * best_fixed(service)


def test_what_runs_share_changes_nothing_for_one_alone() -> None:
    def service(world: World) -> object:
        return Degrading(world, 10)

    assert goodput(service, QuotaLimit(), ANSWERS, shared=True) >= 0.9 * best_fixed(service)


def test_a_service_that_changes_is_followed() -> None:
    world = World()
    service = Degrading(world, 40)
    run = world.run(Limits(), callers=100)
    world.until(lambda: run.answered >= 3000)
    service.peak = 4
    world.until(lambda: run.answered >= 5000)
    before, start = run.answered, world.clock.now
    world.until(lambda: run.answered >= before + 2000)
    assert 2000 / (world.clock.now - start) >= 0.85 * best_fixed(lambda w: Degrading(w, 4))


def test_no_more_than_needed_wait_at_the_service() -> None:
    world = World()
    Slots(world, 4)
    run = world.run(Limits(), callers=100)
    world.until(lambda: run.answered >= 2000)
    assert run.desk._line(QUOTA)._window.size <= 8


def test_a_window_that_nobody_fills_stays() -> None:
    window = Window()
    for answer in range(1000):
        window.answered(float(answer), True, 0, waiting=False)
    assert window.size == Window().size


def test_windows_lie_nine_per_cent_apart() -> None:
    assert LADDER[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert all(1.05 < b / a < 1.13 for a, b in itertools.pairwise(LADDER[20:]))
