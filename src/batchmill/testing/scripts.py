"""What a simulated attempt does: a script of actions and an end. Nothing here runs anything."""

from __future__ import annotations

from typing import NamedTuple

from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import FailureKind, JobState


class Work(NamedTuple):
    """Compute for so many seconds."""

    seconds: float


class Step(NamedTuple):
    """A checkpointed step: skipped when an earlier attempt finished it; else it works and waits for the commit."""

    name: str
    seconds: float = 0.0


class Call(NamedTuple):
    """A metered call: waits for its grant, takes its time, is settled. Costs in micro-cents, `most` reserved."""

    quota: str
    most: int = 0
    cost: int = 0
    tokens: int = 0
    seconds: float = 0.0
    unpriced: bool = False


class Sleep(NamedTuple):
    """A wait of the job's own will, which does not count against its time limit."""

    seconds: float


class Offload(NamedTuple):
    """A function that an async job has run in a process worker for so many seconds. `crashes` kills that worker."""

    seconds: float
    crashes: bool = False


class Crash(NamedTuple):
    """The end of an attempt that takes its worker along. `known` False: nobody can tell which async job it was."""

    signal: int | None = 11
    exit_code: int | None = None
    known: bool = True


class Hang(NamedTuple):
    """No end: the attempt waits for ever. A `stubborn` one does not even end when it is cancelled."""

    stubborn: bool = False


Action = Work | Step | Call | Sleep | Offload
NO_USAGE = Usage(0.0, 0.0)
SUCCESS = Outcome(JobState.SUCCEEDED, NO_USAGE, result=b"{}")


class Script(NamedTuple):
    """One attempt: its actions in order, how it ends, and the memory that it takes meanwhile.

    The times in the outcome's usage are filled in by the simulation. `left` is what its worker keeps, in bytes.
    """

    actions: tuple[Action, ...] = ()
    end: Outcome | Crash | Hang = SUCCESS
    memory: int = 0
    left: int = 0


def failure(
    exception: str = "ValueError",
    *,
    kind: FailureKind = FailureKind.ERROR,
    retry_after: float | None = None,
    permanent: bool = False,
) -> Outcome:
    """The outcome of an attempt that raised an exception of that name."""
    return Outcome(
        JobState.FAILED,
        NO_USAGE,
        kind=kind,
        message=f"{exception} was raised",
        exceptions=(exception, "Exception"),
        retry_after=retry_after,
        permanent=permanent,
    )


def skipped(reason: str = "nothing to do") -> Outcome:
    """The outcome of an attempt that raised `Skip`."""
    return Outcome(JobState.SKIPPED, NO_USAGE, message=reason)
