"""The slots: which attempts each one holds, since when, and what was asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from batchmill.core.policy import Place
from batchmill.model.jobs import Row
from batchmill.model.states import Mode

INFINITY = float("inf")
WINDOW_SECONDS = 0.005  # as much work is sent ahead as takes this long
MOST_AHEAD = 32
RECALL_AFTER = 0.05  # a head that runs longer gives the jobs behind it back to idle workers


class Stopping(StrEnum):
    """Why an attempt was ended."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    RELEASE = "release"  # back to pending, uncharged
    CANCEL = "cancel"


@dataclass(slots=True, eq=False)
class Running:
    """One attempt in a slot."""

    row: Row
    attempt: int
    sent: float
    timeout: float | None
    memory: int | None
    hook: str = ""
    started: float | None = None  # None while it waits behind the head
    waiting: frozenset[int] = frozenset()  # tickets of grants and commits that it waits for
    waiting_since: float = 0.0
    waited: float = 0.0
    stopping: Stopping | None = None
    patient: bool = False  # its kill leaves it a grace
    observed: int = 0  # bytes, when it was stopped for memory
    resting: int = 0  # bytes that its worker had before any job

    @property
    def deadline(self) -> float:
        """When it runs out of time; waiting for grants does not count."""
        if self.timeout is None or self.started is None or self.waiting or self.stopping is not None:
            return INFINITY
        return self.started + self.timeout + self.waited

    def wait_begins(self, ticket: int, now: float) -> None:
        """It waits for a grant or a step's commit."""
        if not self.waiting:
            self.waiting_since = now
        self.waiting |= {ticket}

    def wait_ends(self, ticket: int, now: float) -> None:
        """It goes on. Overlapping waits of one attempt count once."""
        if ticket in self.waiting:
            self.waiting -= {ticket}
            if not self.waiting:
                self.waited += now - self.waiting_since


@dataclass(slots=True)
class Slot:
    """One slot and what it holds, in the order sent."""

    place: Place
    life: int | None = None  # attempts after which its worker is replaced
    up: bool = False  # Ready came, and nothing ended it since
    pid: int = 0
    held: dict[int, Running] = field(default_factory=dict)  # by job
    recalling: bool = False
    killing: bool = False
    worn: bool = False  # its worker grew too much
    finished: int = 0  # attempts of the present worker
    resting_rss: int = 0  # of the present worker after its first attempt
    first_rss: int = 0  # of the present worker before any attempt
    serial: bool = True  # attempts run one after the other

    def __post_init__(self) -> None:
        self.serial = self.place.mode is not Mode.ASYNC

    @property
    def head(self) -> Running | None:
        """The attempt that runs (in a serial slot)."""
        return next(iter(self.held.values()), None)

    @property
    def idle(self) -> bool:
        """Its worker waits for work."""
        return self.up and not self.held and not self.killing

    def find(self, job: int) -> Running | None:
        """The attempt of a job in this slot."""
        return self.held.get(job)

    def running(self) -> list[Running]:
        """The attempts that run now."""
        return list(self.held.values())[:1] if self.serial else list(self.held.values())

    def late(self, now: float) -> bool:
        """Whether what runs in a serial slot takes too long for others to wait behind it."""
        if not self.serial or (head := self.head) is None:
            return False
        started = head.started
        return started is not None and now >= started + RECALL_AFTER

    def room(self, ahead: int) -> int:
        """How many more attempts may be sent."""
        if not self.up or self.killing or self.recalling or self.worn:
            return 0
        most = ahead if self.serial else self.place.capacity
        if self.life is not None:
            most = min(most, self.life - self.finished)
        return most - len(self.held)

    def send(self, running: Running, now: float) -> None:
        """An attempt was sent."""
        if not self.held or not self.serial:
            running.started = now
        self.held[running.row.job] = running

    def remove(self, job: int, ended: float) -> Running | None:
        """An attempt left the slot; in a serial slot the next one runs since `ended`."""
        running = self.held.pop(job, None)
        if running is not None and self.serial and (head := self.head) is not None and head.started is None:
            head.started = max(ended, head.sent)
        return running

    def empty(self) -> list[Running]:
        """Take out all attempts."""
        taken = list(self.held.values())
        self.held.clear()
        return taken

    def replaced(self) -> None:
        """Its worker is gone; the next one says Ready."""
        self.up = self.killing = self.recalling = self.worn = False
        self.pid = self.finished = self.resting_rss = 0


class Durations:
    """Moving averages of how long attempts of each task take, and the window that follows from them."""

    def __init__(self) -> None:
        self._average: dict[str, float] = {}
        self._ahead: dict[str, int] = {}

    def add(self, task: str, seconds: float) -> None:
        """Take in one attempt."""
        old = self._average.get(task, seconds)
        average = self._average[task] = old + 0.2 * (seconds - old)
        if average * MOST_AHEAD <= WINDOW_SECONDS:
            self._ahead[task] = MOST_AHEAD
        else:
            self._ahead[task] = max(1, int(WINDOW_SECONDS / average))

    def ahead(self, task: str) -> int:
        """How many jobs of a task a worker may hold: 1 for an unknown one."""
        return self._ahead.get(task, 1)
