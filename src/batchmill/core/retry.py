"""Whether a failed attempt is followed by another, and after how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from batchmill.model.jobs import Row
from batchmill.model.limits import Backoff, Retry
from batchmill.model.outcomes import Outcome
from batchmill.model.states import FailureKind

DEFAULT_ATTEMPTS: Mapping[FailureKind, int] = {FailureKind.TIMEOUT: 3, FailureKind.CRASHED: 3}
ATTEMPTS_WHERE_ASKED = 3  # `retry.on` without `attempts`
ATTEMPTS_FOR_RETRY_LATER = 10  # the task itself asked to be called again
DEATHS_TO_QUARANTINE = 2


class Verdict(NamedTuple):
    """What follows a failed attempt: a wait in seconds, or None for the end; and whether the job is poison."""

    wait: float | None
    quarantined: bool = False


def verdict(
    row: Row,
    outcome: Outcome,
    retry: Retry,
    task_attempts: Mapping[FailureKind, int],
    now: float,
    chance: Callable[[], float],
) -> Verdict:
    """Decide on `row` after this failure; its counters already include the attempt.

    `now` is on the clock of `row.first_started`; `chance` gives uniform numbers in [0, 1).
    """
    if outcome.kind is FailureKind.CRASHED and row.deaths >= DEATHS_TO_QUARANTINE:
        return Verdict(None, quarantined=True)
    if outcome.permanent or row.attempts >= _allowed(outcome, row.retry or retry, task_attempts):
        return Verdict(None)
    policy = row.retry or retry
    wait = max(_wait(policy.backoff, row.attempts, chance), outcome.retry_after or 0.0)
    elapsed = now + wait - (now if row.first_started is None else row.first_started)
    if policy.max_elapsed is not None and elapsed > policy.max_elapsed:
        return Verdict(None)
    return Verdict(wait)


def _allowed(outcome: Outcome, retry: Retry, task_attempts: Mapping[FailureKind, int]) -> int:
    kind = FailureKind(outcome.kind or FailureKind.ERROR)
    if outcome.retry_after is not None:
        return retry.attempts or ATTEMPTS_FOR_RETRY_LATER
    if retry.on is not None:
        named = kind.value in retry.on or any(name in retry.on for name in outcome.exceptions)
        return (retry.attempts or ATTEMPTS_WHERE_ASKED) if named else 1
    if retry.attempts is not None:
        # the same input is invalid again: only `on` can ask for more
        return 1 if kind in (FailureKind.INVALID, FailureKind.LIMIT) else retry.attempts
    return task_attempts.get(kind, DEFAULT_ATTEMPTS.get(kind, 1))


def _wait(backoff: Backoff, failures: int, chance: Callable[[], float]) -> float:
    """Exponential back-off with full jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015)."""
    try:
        wait = min(backoff.max, backoff.base * float(backoff.factor) ** max(failures - 1, 0))
    except OverflowError:
        wait = backoff.max
    return wait * chance() if backoff.jitter == "full" else wait
