from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.core.retry import verdict
from batchmill.model.jobs import Row
from batchmill.model.limits import Backoff, Retry
from batchmill.model.outcomes import Outcome
from batchmill.model.states import FailureKind, Mode
from batchmill.testing import failure

NO_WAIT = Backoff(0.0, 2.0, 0.0, "none")
KINDS = {kind.value: kind for kind in FailureKind}


def row(attempts: int = 1, **fields: object) -> Row:
    base = Row(1, "j", "t", Mode.PROCESS, "1", "{}", "k", attempts=attempts, first_started=0.0)
    return base._replace(**fields)  # type: ignore[arg-type]


def tried(outcome: Outcome, retry: Retry, task_attempts: dict[FailureKind, int] | None = None) -> int:
    """How many attempts a job gets that always fails in this way."""
    for attempts in range(1, 50):
        if verdict(row(attempts), outcome, retry, task_attempts or {}, 1.0, lambda: 0.5).wait is None:
            return attempts
    return 50


@pytest.mark.parametrize(
    ("kind", "retry", "attempts"),
    [
        ("error", Retry(), 1),
        ("invalid", Retry(), 1),
        ("limit", Retry(), 1),
        ("memory", Retry(), 1),
        ("timeout", Retry(), 3),
        ("crashed", Retry(), 3),
        ("error", Retry(attempts=5), 5),
        ("memory", Retry(attempts=5), 5),
        ("timeout", Retry(attempts=1), 1),
        ("invalid", Retry(attempts=5), 1),  # the same input is invalid again
        ("limit", Retry(attempts=5), 1),
        ("invalid", Retry(attempts=5, on=("invalid",)), 5),
        ("error", Retry(attempts=4, on=("error",)), 4),
        ("timeout", Retry(attempts=4, on=("error",)), 1),
        ("error", Retry(attempts=4, on=("ConnectionError",)), 4),
        ("error", Retry(attempts=4, on=("OSError",)), 1),
        ("error", Retry(attempts=4, on=("timeout", "Exception")), 4),  # a base class
        ("error", Retry(on=("error",)), 3),
    ],
)
def test_how_often_each_kind_of_failure_is_tried(kind: str, retry: Retry, attempts: int) -> None:
    assert tried(failure("ConnectionError", kind=KINDS[kind]), retry) == attempts


def test_a_task_sets_its_own_defaults_and_a_policy_overrides_them() -> None:
    own = {FailureKind.ERROR: 4, FailureKind.TIMEOUT: 1}
    assert tried(failure(), Retry(), own) == 4
    assert tried(failure(kind=FailureKind.TIMEOUT), Retry(), own) == 1
    assert tried(failure(), Retry(attempts=2), own) == 2


def test_the_policy_of_a_job_is_used_instead_of_the_run_s() -> None:
    job = row(1, retry=Retry(attempts=1))
    assert verdict(job, failure(), Retry(attempts=9), {}, 1.0, lambda: 0.5).wait is None


def test_retry_later_waits_at_least_as_long_as_it_says() -> None:
    outcome = failure("RetryLater", retry_after=30.0)
    assert verdict(row(), outcome, Retry(backoff=NO_WAIT), {}, 1.0, lambda: 0.5).wait == 30.0
    assert tried(outcome, Retry()) == 10
    assert tried(outcome, Retry(attempts=2)) == 2


def test_permanent_is_never_followed_by_another_attempt() -> None:
    assert tried(failure(permanent=True), Retry(attempts=9)) == 1
    assert tried(failure(permanent=True, retry_after=1.0), Retry(attempts=9)) == 1


def test_a_second_death_is_quarantine_whatever_the_policy() -> None:
    crash = failure("", kind=FailureKind.CRASHED)
    first = verdict(row(1, deaths=1), crash, Retry(attempts=9), {}, 1.0, lambda: 0.5)
    second = verdict(row(2, deaths=2), crash, Retry(attempts=9), {}, 1.0, lambda: 0.5)
    assert (first.wait is not None, first.quarantined) == (True, False)
    assert (second.wait, second.quarantined) == (None, True)


@pytest.mark.parametrize(("now", "again"), [(58.0, True), (59.5, False), (100.0, False)])
def test_no_attempt_begins_after_max_elapsed(now: float, again: bool) -> None:
    retry = Retry(attempts=9, backoff=Backoff(1.0, 1.0, 1.0, "none"), max_elapsed=60.0)
    assert (verdict(row(1), failure(), retry, {}, now, lambda: 0.5).wait is not None) == again


@given(
    attempts=st.integers(1, 5000),
    base=st.floats(0.0, 1e3),
    factor=st.floats(1.0, 1e9),
    most=st.floats(0.0, 1e4),
    chance=st.floats(0.0, 1.0, exclude_max=True),
)
def test_full_jitter_stays_between_nothing_and_the_exponential(
    attempts: int, base: float, factor: float, most: float, chance: float
) -> None:
    def wait(jitter: str, drawn: Callable[[], float]) -> float:
        retry = Retry(attempts=10_000, backoff=Backoff(base, factor, most, jitter))
        found = verdict(row(attempts), failure(), retry, {}, 1.0, drawn).wait
        assert found is not None
        return found

    full, none = wait("full", lambda: chance), wait("none", lambda: chance)
    assert 0.0 <= full <= none <= most
    assert math.isclose(full, none * chance)
    if attempts == 1:
        assert none == min(base, most)


def test_waits_double_up_to_the_cap() -> None:
    retry = Retry(attempts=10, backoff=Backoff(1.0, 2.0, 10.0, "none"))
    waits = [verdict(row(n), failure(), retry, {}, 1.0, lambda: 0.5).wait for n in range(1, 7)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
