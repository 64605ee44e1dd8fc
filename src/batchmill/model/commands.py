"""What the scheduler wants done: the commands of an `Act`, in the order in which the loop carries them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from batchmill.model.events import LimitSeen
from batchmill.model.facts import Fact
from batchmill.model.jobs import Row
from batchmill.model.limits import QuotaLimit
from batchmill.model.outcomes import Outcome
from batchmill.model.states import JobState


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


class Told(NamedTuple):
    """What a service told, with the time at which the call left whose answer it was (None: nobody knows)."""

    seen: LimitSeen
    left: float | None = None
    tokens: int = 0


class QuotaAsk(NamedTuple):
    """What this run wants of a quota that the user's other runs use too, and what it found since it asked last."""

    quota: str
    limit: QuotaLimit  # as this run knows it
    wanted: tuple[int, ...] = ()  # tokens of the next calls: each wants a time at which it may leave
    left: tuple[int, int] = (0, 0)  # calls, and their tokens, that left without a time, since none was needed
    unused: int = 0  # times that were lent and come back
    unused_tokens: int = 0
    open: int = 0  # calls in flight
    slots: int = 0  # calls that it wants in flight
    told: tuple[Told, ...] = ()
    quickest: float = 0.0  # seconds that any answer took at least; 0: there was none


class MoneyAsk(NamedTuple):
    """The money of this invocation, in micro-cents: settled so far, reserved by open calls, and wanted beyond that."""

    spent: int
    reserved: int
    wanted: int
    budget: int | None  # of the day, for all runs of the user


class Borrow(NamedTuple):
    """Ask for a share of what the user's runs have in common; answered by Lent."""

    quotas: tuple[QuotaAsk, ...]
    money: MoneyAsk | None = None


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
    borrow: Borrow | None = None
