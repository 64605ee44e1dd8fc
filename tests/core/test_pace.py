from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchmill.core.pace import Pacer
from batchmill.model.limits import Rate

RATES = st.builds(Rate, st.sampled_from([0.5, 1.0, 3.0, 7.0, 30.0]), st.sampled_from([1.0, 60.0]))


def test_units_pass_at_an_even_pace() -> None:
    pacer = Pacer(Rate(30, 60.0))
    times = []
    for _ in range(4):
        now = pacer.when(10.0)
        pacer.take(now)
        times.append(now)
    assert times == [10.0, 12.0, 14.0, 16.0]


def test_idle_time_earns_no_more_than_the_burst() -> None:
    pacer = Pacer(Rate(1, 1.0), burst=3.0)
    pacer.take(0.0)
    assert [take(pacer, 100.0) for _ in range(4)] == [100.0, 100.0, 100.0, 101.0]


def take(pacer: Pacer, now: float, units: float = 1.0) -> float:
    when = pacer.when(now, units)
    pacer.take(when, units)
    return when


@given(RATES, st.lists(st.floats(0.0, 50.0), max_size=60))
def test_no_window_holds_more_than_the_rate(rate: Rate, gaps: list[float]) -> None:
    pacer, now, passed = Pacer(rate), 0.0, []
    for gap in gaps:
        now = take(pacer, now + gap)
        passed.append(now)
    most = max(1, int(rate.amount))
    for first, last in zip(passed, passed[most:], strict=False):
        assert last - first >= rate.seconds * min(1.0, most / rate.amount) * (1 - 1e-9)


def test_more_units_than_the_burst_wait_for_a_full_bucket_and_pass() -> None:
    pacer = Pacer(Rate(10, 1.0), burst=10.0)
    assert take(pacer, 0.0, 5.0) == 0.0
    assert take(pacer, 0.0, 50.0) == 0.5  # the bucket is full again
    assert pacer.when(0.0) == 0.5 + 5.0 - 0.9  # and then has nothing until the debt is paid


def test_what_is_given_back_can_be_taken_again() -> None:
    pacer = Pacer(Rate(1, 1.0))
    pacer.take(0.0, 10.0)
    pacer.give_back(7.0)
    assert pacer.when(0.0) == 3.0


def test_a_new_rate_holds_from_the_next_unit_on() -> None:
    pacer = Pacer(Rate(1, 1.0))
    take(pacer, 0.0)
    pacer.retune(Rate(1, 10.0))
    assert take(pacer, 0.0) == 1.0
    assert pacer.when(0.0) == 11.0
