"""What must be written: the facts that the journal turns into rows of the ledger.

Times are monotonic; the journal makes wall times of them with one offset that is fixed when the driver starts, so
that durations never jump.
"""

from __future__ import annotations

from typing import NamedTuple

from batchmill.model.jobs import SavedStep, Source
from batchmill.model.outcomes import Outcome
from batchmill.model.states import JobState, RunState


class AttemptEnded(NamedTuple):
    """One attempt ended. `charged` False: it does not count against the job (a drain, an innocent neighbour)."""

    at: float
    job: int
    number: int
    slot: int
    outcome: Outcome
    charged: bool = True


class JobEnded(NamedTuple):
    """A job reached its end. The outcome's result is stored with it."""

    at: float
    job: int
    state: JobState
    outcome: Outcome | None
    quarantined: bool = False
    key: str | None = None


class JobCached(NamedTuple):
    """A job takes the result of another one with the same key."""

    at: float
    job: int
    key: str
    source: Source


class JobDue(NamedTuple):
    """A job waits for its next attempt until `due` (monotonic); counters as they are now."""

    at: float
    job: int
    due: float
    attempts: int
    total_attempts: int
    deaths: int
    first_started: float


class JobKeyed(NamedTuple):
    """The key of a job with input files is known."""

    at: float
    job: int
    key: str


class JobReset(NamedTuple):
    """A job that ended is to run again: pending and due now, counters at zero, history kept."""

    at: float
    job: int


class JobCancelled(NamedTuple):
    """A job that has not started is cancelled, if it is still pending."""

    at: float
    job: int


class SlotSet(NamedTuple):
    """What a slot holds now: the job at its head (0: idle) and since when."""

    at: float
    slot: int
    job: int
    pid: int
    attempt: int


class StepSaved(NamedTuple):
    """A step's value, under its job's key."""

    at: float
    job: int
    key: str
    attempt: int
    step: SavedStep
    seconds: float


class CallReserved(NamedTuple):
    """A metered call may leave: its most possible cost is set aside."""

    at: float
    job: int
    call: int  # unique in the run
    quota: str
    key: str
    tokens: int
    cost: int


class CallClosed(NamedTuple):
    """A metered call ended: its true cost; state `settled`, `released` (never sent) or `unknown`."""

    at: float
    call: int
    state: str
    tokens: int
    cost: int
    usage: bytes


class CallCached(NamedTuple):
    """A request did not leave, since its reply was at hand."""

    at: float
    job: int
    call: int
    quota: str
    key: str
    usage: bytes


class HookEnded(NamedTuple):
    """A hook (`prepare`, `summarise`, `report`) ended."""

    at: float
    hook: str
    task: str
    outcome: Outcome


class RunSet(NamedTuple):
    """The run's state changed, and why."""

    at: float
    state: RunState
    reason: str = ""


class Noted(NamedTuple):
    """A line for the run's own log."""

    at: float
    text: str


Fact = (
    AttemptEnded
    | JobEnded
    | JobCached
    | JobDue
    | JobKeyed
    | JobReset
    | JobCancelled
    | SlotSet
    | StepSaved
    | CallReserved
    | CallClosed
    | CallCached
    | HookEnded
    | RunSet
    | Noted
)
