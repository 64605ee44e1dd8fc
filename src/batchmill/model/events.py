"""What happens (events), what the scheduler wants done (commands), and what must be written (facts).

Every event carries `at`: seconds of the monotonic clock. Wall times are made by the journal from `at` and one
offset that the driver fixes when it starts, so that durations never jump.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from batchmill.model.jobs import Row, SavedStep, Source
from batchmill.model.limits import QuotaLimit
from batchmill.model.outcomes import LogSlice, Outcome
from batchmill.model.states import JobState, RunState

# --- events ----------------------------------------------------------------------------------------------------


class Tick(NamedTuple):
    """Time has passed."""

    at: float


class Planned(NamedTuple):
    """A chunk of the plan is committed: `total` jobs so far; `done` when the plan is whole."""

    at: float
    total: int
    done: bool
    error: str = ""  # the plan broke off: nothing more will come


class Loaded(NamedTuple):
    """The answer to a Load: rows in order; `exhausted` when the stream has no more for now."""

    at: float
    stream: str
    rows: tuple[Row, ...]
    exhausted: bool
    after: tuple[float, ...] | None = None  # where the next Load of this stream goes on; opaque to the scheduler
    next_due: float | None = None  # of the stream `due`: when its next row comes, monotonic


class Prepared(NamedTuple):
    """The input files of a job are digested: its key, a result that exists, or why it is invalid."""

    at: float
    job: int
    key: str | None
    source: Source | None = None
    invalid: str = ""
    steps: tuple[SavedStep, ...] = ()  # finished ones, kept under this key


class Ready(NamedTuple):
    """A worker of this slot is up and idle. `pid` is 0 for inline."""

    at: float
    slot: int
    pid: int = 0


class Broken(NamedTuple):
    """The executor cannot work at all: the task does not import, its setup raised, the zygote died twice."""

    at: float
    message: str
    detail: str = ""


class Ended(NamedTuple):
    """An attempt ended and said how."""

    at: float
    slot: int
    job: int
    outcome: Outcome


class Died(NamedTuple):
    """The worker of a slot is gone: reaped, its socket drained. `Recalled` jobs were reported before this."""

    at: float
    slot: int
    signal: int | None = None
    exit_code: int | None = None
    cpu: float = 0.0
    peak_rss: int = 0
    log: LogSlice | None = None
    job: int = 0  # of an async worker: the job that is known to have ended it


class Recalled(NamedTuple):
    """These jobs were taken back unread from the slot's queue."""

    at: float
    slot: int
    jobs: tuple[int, ...]


class Sample(NamedTuple):
    """Resident memory of the process tree of each busy slot, and what the machine has left, in bytes."""

    at: float
    rss: tuple[tuple[int, int], ...]
    available: int


class StepDone(NamedTuple):
    """A job finished a step and waits for the acknowledgement `ticket`."""

    at: float
    slot: int
    job: int
    ticket: int
    step: SavedStep
    seconds: float


class Progress(NamedTuple):
    """A job tells how far it is."""

    at: float
    slot: int
    job: int
    done: float
    total: float | None
    stage: str


class CallAsked(NamedTuple):
    """A job wants to send a metered request; it waits for the grant `ticket`. Cost in micro-cents at most."""

    at: float
    slot: int
    job: int
    ticket: int
    quota: str
    key: str
    tokens: int
    cost: int
    limit: QuotaLimit | None = None  # what the caller knows of the quota


class CallSettled(NamedTuple):
    """A granted call is over: what it cost, and its reply's usage as JSON. `sent` False releases it unspent."""

    at: float
    slot: int
    job: int
    ticket: int
    tokens: int
    cost: int
    sent: bool
    usage: bytes = b"{}"


class LimitSeen(NamedTuple):
    """A service told its limit, or asked to wait: no call of this quota before `pause_until`."""

    at: float
    quota: str
    limit: QuotaLimit | None = None
    pause_until: float = 0.0


class OffloadAsked(NamedTuple):
    """An async job wants a function run in a process worker. `payload` is opaque to the scheduler."""

    at: float
    slot: int
    job: int
    ticket: int
    payload: bytes


class Committed(NamedTuple):
    """Batch `number` of facts, and all before it, are durable."""

    at: float
    number: int


class CommitFailed(NamedTuple):
    """Batch `number` could not be written (yet)."""

    at: float
    number: int
    message: str


class Asked(NamedTuple):
    """A request to the live run: `drain`, `stop`, `cancel` (a job, or the run with job 0), `retry` (a job)."""

    at: float
    what: str
    job: int = 0
    signal: int = 0


class Remark(NamedTuple):
    """An executor did something that a user may wonder about: a line for the run's own log."""

    at: float
    text: str


Event = (
    Tick
    | Planned
    | Loaded
    | Prepared
    | Ready
    | Broken
    | Ended
    | Died
    | Recalled
    | Sample
    | StepDone
    | Progress
    | CallAsked
    | CallSettled
    | LimitSeen
    | OffloadAsked
    | Committed
    | CommitFailed
    | Asked
    | Remark
)

# --- commands ----------------------------------------------------------------------------------------------------


class Start(NamedTuple):
    """Send this job to this slot. `attempt` counts all attempts of the job in this run, from 1."""

    slot: int
    row: Row
    attempt: int
    timeout: float | None
    memory: int | None
    payload: bytes | None = None  # set for an offloaded function and for hooks
    hook: str = ""  # `prepare`, `summarise`, `report`, or `offload`


class Stop(NamedTuple):
    """End what runs in a slot. `how`: `kill` the worker's tree, `cancel` one async job, `retire` an idle worker."""

    slot: int
    how: str
    job: int = 0
    grace: float = 0.0
    respawn: bool = True


class Recall(NamedTuple):
    """Take back the jobs that this slot has not read yet; answered by Recalled."""

    slot: int


class Ack(NamedTuple):
    """The facts that a worker waits for are committed: a step is saved, a call may leave, or is refused."""

    slot: int
    job: int
    ticket: int
    refused: str = ""  # why a call may not leave
    value: bytes | None = None  # the outcome of an offloaded function


class Load(NamedTuple):
    """Read pending rows of a stream: `main`, `due`, or `group:NAME`, after a position.

    `main` leaves out the groups that have a stream of their own.
    """

    stream: str
    after: tuple[float, ...] | None  # as the last Loaded of this stream said
    limit: int


class Prepare(NamedTuple):
    """Digest the input files of this job and look its key up."""

    row: Row


class Published(NamedTuple):
    """A job's end that is durable: what progress displays and callers may show."""

    at: float
    row: Row
    state: JobState
    outcome: Outcome | None  # None for a cached job
    cached: bool
    retry_in: float | None = None  # set when this attempt will be followed by another


# --- facts -------------------------------------------------------------------------------------------------------


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
    | HookEnded
    | RunSet
    | Noted
)


@dataclass(slots=True)
class Act:
    """What one step of the scheduler wants done. `batch` numbers the facts; 0 when there are none."""

    batch: int = 0
    facts: list[Fact] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    recalls: list[Recall] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    prepares: list[Prepare] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)  # tasks whose `prepare` is committed
