"""Continuing, retrying and cancelling a run that nobody works on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from batchmill.ledger.invocation import cancel_job, copy_steps, prepare_invocation, retry_jobs, settle_calls
from batchmill.ledger.lease import acquire
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.verify import verify
from batchmill.model.facts import CallCached, CallClosed, CallReserved, HookEnded, JobEnded, SlotSet, StepSaved
from batchmill.model.jobs import SavedStep
from batchmill.model.states import FailureKind, JobState
from tests.ledger.conftest import artifact, ask, ending, failure, key_of, planned, success, waiting, writing


@pytest.fixture
def left(paths: RunPaths) -> RunPaths:
    """A run as a driver left it: 1 succeeded, 2 failed, 3 quarantined, 4 unfit, 5 in flight."""
    with writing(paths) as written:
        written.plan(*[planned(n, invalid="no file" if n == 4 else None) for n in range(1, 6)])
        crashed = failure("died", kind=FailureKind.CRASHED)
        written.write(*ending(1, success(artifacts=(artifact(paths, "a.txt", b"a"),))), *ending(2, failure()))
        written.write(*ending(3, crashed)[:1], JobEnded(10.0, 3, JobState.FAILED, crashed, True))
        written.write(SlotSet(11.0, 0, 5, 99, 1), CallReserved(11.0, 5, 1, "q", "k", 1, 5))
        written.write(HookEnded(12.0, "prepare", "noop", success(artifacts=(artifact(paths, "table", b"t"),))))
        written.write(HookEnded(12.0, "summarise", "noop", success(artifacts=(artifact(paths, "sum", b"s"),))))
    waiting(paths, b"left over", "blob-9")
    return paths


def states(paths: RunPaths) -> list[str]:
    return [state for (state,) in ask(paths, "SELECT state FROM jobs ORDER BY number")]


def test_continuing_tries_failed_jobs_again_and_keeps_their_history(left: RunPaths) -> None:
    with acquire(left):
        prepare_invocation(left)
    assert states(left) == ["succeeded", "pending", "failed", "failed", "pending"]
    assert ask(left, "SELECT attempts, total_attempts, kind, message FROM jobs WHERE number = 2") == [
        (0, 1, None, None)
    ]
    assert ask(left, "SELECT state FROM attempts WHERE job = 2") == [("failed",)]
    assert ask(left, "SELECT * FROM slots") == []
    assert ask(left, "SELECT state FROM calls") == [("unknown",)]
    assert list(left.tmp.iterdir()) == []
    assert verify(left) == []


def test_failed_jobs_may_be_kept(left: RunPaths) -> None:
    with acquire(left):
        prepare_invocation(left, keep_failed=True)
    assert states(left) == ["succeeded", "failed", "failed", "failed", "pending"]


def test_what_hooks_made_of_unfinished_results_is_forgotten(left: RunPaths) -> None:
    with acquire(left):
        prepare_invocation(left)
    assert ask(left, "SELECT hook FROM hooks") == [("prepare",)]
    assert ask(left, "SELECT name FROM artifacts ORDER BY name") == [("a.txt",), ("table",)]


def test_retrying_takes_quarantined_jobs_and_never_unfit_ones(left: RunPaths) -> None:
    with acquire(left):
        assert retry_jobs(left) == 2
        assert states(left) == ["succeeded", "pending", "pending", "failed", "pending"]
        assert retry_jobs(left, [1, 4]) == 0
    assert ask(left, "SELECT quarantined, deaths FROM jobs WHERE number = 3") == [(0, 0)]
    assert verify(left) == []


def test_cancelling_a_pending_job(left: RunPaths) -> None:
    with acquire(left):
        assert cancel_job(left, 5)
        assert not cancel_job(left, 1)
        assert states(left)[4] == "cancelled"
        assert retry_jobs(left, [5]) == 1
    assert states(left)[4] == "pending"
    assert verify(left) == []


def test_a_link_that_the_last_driver_could_not_make_is_made(paths: RunPaths) -> None:
    with writing(paths) as written:
        written.plan(planned(1))
        written.write(*ending(1, success(artifacts=(artifact(paths, "a.txt", b"a"),))))
    (paths.out / "1" / "a.txt").unlink()
    with acquire(paths):
        prepare_invocation(paths)
    assert (paths.out / "1" / "a.txt").read_bytes() == b"a"


def test_steps_of_unfinished_jobs_go_over_to_the_next_run(new_run: Callable[..., RunPaths]) -> None:
    first, second = new_run(), new_run()
    with writing(first) as written:
        written.plan(planned(1), planned(2))
        for n in (1, 2):
            written.write(StepSaved(1.0, n, key_of(n), 1, SavedStep("s", "a", b"1"), 0.1))
        written.write(*ending(1))
    with acquire(second):
        assert copy_steps(second, first) == 1
    assert ask(second, "SELECT key FROM steps") == [(key_of(2),)]


def test_calls_without_an_answer_are_released_or_counted_as_billed(left: RunPaths) -> None:
    with acquire(left):
        prepare_invocation(left)
        assert settle_calls(left) == (1, 5)
    assert ask(left, "SELECT state, cost FROM calls") == [("released", 0)]
    assert ask(left, "SELECT spent FROM run") == [(0,)]
    with acquire(left):
        assert settle_calls(left) == (0, 0)
    assert verify(left) == []


def test_calls_counted_as_billed_cost_their_maximum(left: RunPaths) -> None:
    with acquire(left):
        assert settle_calls(left, billed=True) == (1, 5)
    assert ask(left, "SELECT state, cost FROM calls") == [("settled", 5)]
    assert ask(left, "SELECT spent FROM run") == [(5,)]


def test_a_call_that_is_reserved_and_released_in_one_transaction_stays_released(paths: RunPaths) -> None:
    with writing(paths) as written:
        written.plan(planned(1))
        written.write(
            CallReserved(1.0, 1, 1, "q", "", 1, 5),
        )
        written.write(
            CallClosed(2.0, 1, "settled", 1, 4, b'{"model":"m","input":3,"output":2}'),
            CallReserved(2.0, 1, 2, "q", "", 1, 5),
            CallClosed(2.0, 2, "released", 0, 0, b"{}"),
            CallCached(2.0, 1, 3, "q", "k", b'{"model":"m"}'),
        )
    assert ask(paths, "SELECT state, cost, model, tokens_in + tokens_out FROM calls ORDER BY id") == [
        ("settled", 4, "m", 5),
        ("released", 0, "q", 0),
        ("cached", 0, "m", 0),
    ]
