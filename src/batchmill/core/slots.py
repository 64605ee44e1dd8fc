"""The slots: which attempts each one holds, since when, and what was asked of it."""

from __future__ import annotations

from collections import deque
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
    """Why the attempt at the head was ended."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    RELEASE = "release"  # back to pending, uncharged
    CANCEL = "cancel"


@dataclass(slots=True)
class Running:
    """One attempt in a slot."""

    row: Row
    attempt: int
    sent: float
    timeout: float | None
    memory: int | None
    hook: str = ""
    started: float | None = None  # None while it waits behind the head
    waiting_calls: dict[int, float] = field(default_factory=dict)  # ticket -> since
    waited: float = 0.0
    stopping: Stopping | None = None
    observed: int = 0  # bytes, when it was stopped for memory
    progress: tuple[float, float | None, str] | None = None

    @property
    def deadline(self) -> float:
        """When it runs out of time; waiting for grants does not count."""
        if self.timeout is None or self.started is None or self.waiting_calls or self.stopping is not None:
            return INFINITY
        return self.started + self.timeout + self.waited

    def wait_begins(self, ticket: int, now: float) -> None:
        """It waits for a grant or a step's commit."""
        self.waiting_calls[ticket] = now

    def wait_ends(self, ticket: int, now: float) -> None:
        """It goes on. Overlapping waits of one attempt count once."""
        since = self.waiting_calls.pop(ticket, None)
        if since is not None and not self.waiting_calls:
            self.waited += now - since


@dataclass
class Slot:
    """One slot and what it holds, in the order sent."""

    place: Place
    up: bool = False  # Ready came, and nothing ended it since
    pid: int = 0
    queue: deque[Running] = field(default_factory=deque)
    recalling: bool = False
    killing: bool = False
    finished: int = 0  # attempts of the present worker
    resting_rss: int = 0  # of the present worker after its first attempt

    @property
    def serial(self) -> bool:
        """Whether attempts run one after the other."""
        return self.place.mode is not Mode.ASYNC

    @property
    def head(self) -> Running | None:
        """The attempt that runs (in a serial slot)."""
        return self.queue[0] if self.queue else None

    def find(self, job: int) -> Running | None:
        """The attempt of a job in this slot."""
        return next((r for r in self.queue if r.row.job == job), None)

    def running(self) -> list[Running]:
        """The attempts that run now."""
        return list(self.queue)[:1] if self.serial else list(self.queue)

    def room(self, ahead: int) -> int:
        """How many more attempts may be sent."""
        if not self.up or self.killing or self.recalling:
            return 0
        return (ahead if self.serial else self.place.capacity) - len(self.queue)

    def send(self, running: Running, now: float) -> None:
        """An attempt was sent."""
        if not self.queue or not self.serial:
            running.started = now
        self.queue.append(running)

    def remove(self, job: int, ended: float) -> Running | None:
        """An attempt left the slot; in a serial slot the next one runs since `ended`."""
        running = self.find(job)
        if running is None:
            return None
        self.queue.remove(running)
        head = self.head
        if self.serial and head is not None and head.started is None:
            head.started = max(ended, head.sent)
        return running


class Durations:
    """Moving averages of how long attempts of each task take, and the window that follows from them."""

    def __init__(self) -> None:
        self._average: dict[str, float] = {}

    def add(self, task: str, seconds: float) -> None:
        """Take in one attempt."""
        old = self._average.get(task, seconds)
        self._average[task] = old + 0.2 * (seconds - old)

    def ahead(self, task: str) -> int:
        """How many jobs of a task a worker may hold: 1 for an unknown one."""
        average = self._average.get(task)
        if average is None:
            return 1
        return max(1, min(MOST_AHEAD, int(WINDOW_SECONDS / max(average, 1e-6))))
