"""What happens: everything that the scheduler is told.

Every event carries `at`: seconds of the monotonic clock. What is to be done is in `commands`, what must be written
in `facts`.
"""

from __future__ import annotations

from typing import NamedTuple

from batchmill.model.jobs import Row, SavedStep, Source
from batchmill.model.limits import QuotaLimit
from batchmill.model.outcomes import LogSlice, Outcome


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
    """The input files of a job are digested: its key, a result that exists, or why it is invalid. `skip` is the kind
    of a skip: then `invalid` says why the job is skipped."""

    at: float
    job: int
    key: str | None
    source: Source | None = None
    invalid: str = ""
    steps: tuple[SavedStep, ...] = ()  # finished ones, kept under this key
    skip: str = ""


class Ready(NamedTuple):
    """A worker of this slot is up and idle. `pid` is 0 for inline; `rss`: its resident bytes before any job."""

    at: float
    slot: int
    pid: int = 0
    rss: int = 0


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
    shared: bool = False  # all workers died at one time, with the process that starts them: more such events follow
    reason: str = ""  # what its worker did, for which it was killed: `blocked the event loop ...`


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
    unpriced: bool = False  # nobody knows what it will cost: no budget may be set


class CallSettled(NamedTuple):
    """A granted call is over: what it cost, and its reply's usage as JSON. `sent` False releases it unspent;
    `failed`: no useful answer came."""

    at: float
    slot: int
    job: int
    ticket: int
    tokens: int
    cost: int
    sent: bool
    usage: bytes = b"{}"
    failed: bool = False
    answered: bool = True  # no: it may be billed, at `cost`


class CallCached(NamedTuple):
    """A request that need not leave: its reply was at hand. It costs nothing and waits for nobody."""

    at: float
    slot: int
    job: int
    quota: str
    key: str
    usage: bytes = b"{}"


class CallFound(NamedTuple):
    """What came of a call of an earlier attempt of the job, whose end nobody saw. Where there is none, a reply was at
    hand, unless it `failed` or was not `sent`."""

    at: float
    slot: int
    job: int
    quota: str
    key: str
    tokens: int
    cost: int
    sent: bool
    usage: bytes = b"{}"
    failed: bool = False


class LimitSeen(NamedTuple):
    """A service told its limit, or asked to wait: no call of this quota before `pause_until`.

    `job` and `ticket` are those of the call whose answer told it. `refused`: that call was not admitted, for it was
    one too many. `remaining` requests and tokens were left at that moment.
    """

    at: float
    quota: str
    limit: QuotaLimit | None = None
    pause_until: float = 0.0
    job: int = 0
    ticket: int = 0
    refused: bool = False
    remaining: float | None = None
    remaining_tokens: float | None = None


class QuotaLent(NamedTuple):
    """A share of a quota: times at which calls may leave, in the order of the calls that they were wanted for."""

    quota: str
    limit: QuotaLimit  # that holds, as far as it is known
    paced: bool  # False: calls need no time
    times: tuple[float, ...] = ()
    again: float = 0.0  # there is nothing more before
    slots: int | None = None  # calls that may be in flight
    paused_until: float = 0.0


class Lent(NamedTuple):
    """The answer to a Borrow. `money`: settled and reserved micro-cents of this invocation may come to so much;
    `most`: what that may ever become today (None: there is no end). `broken`: why nothing can be shared any more.
    """

    at: float
    quotas: tuple[QuotaLent, ...] = ()
    money: int | None = None
    most: int | None = None
    broken: str = ""


class WaitBegan(NamedTuple):
    """A job waits, of its own will, and its time limit waits too, until WaitEnded with this `ticket`."""

    at: float
    slot: int
    job: int
    ticket: int


class WaitEnded(NamedTuple):
    """That wait is over."""

    at: float
    slot: int
    job: int
    ticket: int


class LullAsked(NamedTuple):
    """A job wants to know when every attempt of the run waits, and no job can start before one of them goes on."""

    at: float
    slot: int
    job: int
    ticket: int


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
    | CallCached
    | CallFound
    | LimitSeen
    | Lent
    | WaitBegan
    | WaitEnded
    | LullAsked
    | OffloadAsked
    | Committed
    | CommitFailed
    | Asked
    | Remark
)
