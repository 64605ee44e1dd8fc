"""What the scheduler knows, and the few verbs that every part of it uses."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from batchmill.core.calls import CallDesk
from batchmill.core.jobs import JobBook
from batchmill.core.lost import LostCalls
from batchmill.core.pace import Pacer
from batchmill.core.policy import Policy, Traits
from batchmill.core.room import Room
from batchmill.core.slots import Durations, Running, Slot
from batchmill.model.commands import Ack, Act, Published
from batchmill.model.facts import Fact, HookEnded, Noted
from batchmill.model.jobs import Row
from batchmill.model.outcomes import Outcome
from batchmill.model.states import JobState, Mode, RunState

INFINITY = float("inf")
NO_TRAITS = Traits()


@dataclass
class Ending:
    """The run is coming to its end before all jobs are done: how it will be called, and why."""

    state: RunState
    reason: str
    now: bool = False  # kill what is in flight instead of waiting for it
    until: float = INFINITY  # then what is in flight is killed
    asked: bool = False  # by a signal or a request: the next one means now


@dataclass
class Offload:
    """A function that an async job wants run in a process: where the answer goes."""

    slot: int
    job: int
    ticket: int
    payload: bytes
    row: Row


@dataclass
class State:
    """Everything a step reads and changes."""

    policy: Policy
    chance: Callable[[], float]
    book: JobBook
    slots: dict[int, Slot]
    desk: CallDesk
    room: Room
    pacer: Pacer | None
    durations: Durations = field(default_factory=Durations)
    now: float = -INFINITY
    started: float | None = None
    act: Act = field(default_factory=Act)
    batch: int = 1  # the number that this step's facts will have
    committed: int = 0
    unacked: deque[tuple[int, Ack]] = field(default_factory=deque)
    unpublished: deque[tuple[int, Published]] = field(default_factory=deque)
    hooks_ended: deque[tuple[int, HookEnded]] = field(default_factory=deque)  # not committed yet
    group_running: Counter[str] = field(default_factory=Counter)
    group_cap: dict[str, int] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)  # slots whose head changed in this step
    failed: int = 0
    finished: int = 0
    plan_begun: bool = False  # there are jobs in the ledger
    plan_done: bool = False
    ending: Ending | None = None
    ledger_failed: str = ""
    deadlines_at: float = INFINITY  # no attempt runs out of time earlier
    cancelled: set[int] = field(default_factory=set)
    suspects: set[int] = field(default_factory=set)  # async jobs that were in flight when their worker died
    lone: set[int] = field(default_factory=set)  # jobs that were in flight when all workers died at one time
    offloads: deque[Offload] = field(default_factory=deque)
    offloaded: dict[int, Offload] = field(default_factory=dict)  # pseudo job -> its request
    lulls: list[Ack] = field(default_factory=list)  # for who asked when all attempts wait
    in_hook: bool = False  # a hook runs, or its end is not committed yet
    next_pseudo: int = -1
    lost: LostCalls = field(init=False)
    by_mode: dict[Mode, list[Slot]] = field(init=False)
    exact: bool = field(init=False)  # limits on starts hold exactly only if nothing is sent ahead
    wearing: bool = field(init=False)  # workers are replaced now and then

    def __post_init__(self) -> None:
        limits = self.policy.limits
        self.lost = LostCalls(self.policy.lost)
        self.exact = limits.rate is not None or limits.total_memory is not None
        self.wearing = limits.jobs_per_worker is not None or limits.worker_growth is not None
        self.by_mode = {m: [slot for slot in self.slots.values() if slot.place.mode is m] for m in Mode}

    def record(self, fact: Fact) -> None:
        """Write this down; what rests on it waits for the commit of `batch`."""
        self.act.facts.append(fact)

    def note(self, text: str) -> None:
        """A line for the run's log."""
        self.act.facts.append(Noted(self.now, text))

    def publish(
        self, row: Row, state: JobState, outcome: Outcome | None, cached: bool = False, retry_in: float | None = None
    ) -> None:
        """Tell people once it is durable."""
        self.unpublished.append((self.batch, Published(self.now, row, state, outcome, cached, retry_in)))

    def ack(self, ack: Ack) -> None:
        """Answer a worker once the facts of this step so far are durable."""
        self.unacked.append((self.batch if self.act.facts else self.batch - 1, ack))

    def traits(self, row: Row) -> Traits:
        """What is known of a row's task."""
        return self.policy.tasks.get(row.task, NO_TRAITS)

    def end(self, state: RunState, reason: str, *, now: bool = False, until: float = INFINITY) -> None:
        """Begin to end the run. A harsher end replaces a milder one, never the other way round."""
        if self.ending is None:
            self.note(f"{'stopping now' if now else 'starting nothing more'}: {reason}")
            self.ending = Ending(state, reason, now, until)
            return
        self.ending.until = min(self.ending.until, until)
        if now and not self.ending.now:
            self.note(f"stopping now: {reason}")
            self.ending.now = True

    def find(self, slot: int, job: int) -> Running | None:
        """The attempt of a job in a slot."""
        return self.slots[slot].find(job)

    def wait_ends(self, slot: int, job: int, ticket: int) -> None:
        """An attempt goes on: its time runs again."""
        running = self.find(slot, job)
        if running is not None:
            running.wait_ends(ticket, self.now)
            self.deadlines_at = min(self.deadlines_at, running.deadline)

    def places(self, mode: Mode) -> list[Slot]:
        """The slots of a mode."""
        return self.by_mode[mode]

    @property
    def in_flight(self) -> int:
        """Attempts in slots, the queued ones too."""
        return sum(len(slot.held) for slot in self.slots.values())
