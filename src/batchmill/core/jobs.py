"""The jobs in memory: a window of pending rows in order, those that wait for an equal one, and where to read on.

Not here: jobs that run (`slots`), and whether a failed one is tried again (`retry`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from batchmill.model.events import Load, Loaded
from batchmill.model.jobs import Row
from batchmill.model.states import Mode

INFINITY = float("inf")
MAIN, DUE = "main", "due"
GROUP = "group:"
CHUNK = 500  # rows read at once
GROUP_CHUNK = 64
PREPARING = 64  # jobs whose input files are digested at once


class Entry(NamedTuple):
    """A row in a ready queue; entries compare in the order in which jobs start."""

    lane: int
    priority: int  # negated: higher first
    job: int
    row: Row


def entry(row: Row) -> Entry:
    """The place of a row in the order: lane, priority, plan number."""
    return Entry(row.lane, -row.priority, row.job, row)


@dataclass
class Stream:
    """A reading position in the ledger."""

    name: str
    after: tuple[float, ...] | None = None
    exhausted: bool = False
    loading: bool = False
    held: int = 0  # rows of this stream in memory and not started


class JobBook:
    """The window. Every row that it holds is pending in the ledger, or its end is not committed yet."""

    def __init__(self, window: int, capped: Iterable[str] = ()) -> None:
        self.window = window
        self.streams = {MAIN: Stream(MAIN)} | {GROUP + g: Stream(GROUP + g) for g in capped}
        self.due = Stream(DUE, exhausted=True)
        self.next_due = INFINITY
        self.held: dict[int, Row] = {}  # in the window and not started
        self.ready: dict[Mode, list[Entry]] = {mode: [] for mode in Mode}
        self.busy: set[int] = set()  # started
        self.settling: deque[tuple[int, int]] = deque()  # (batch, job): its end or wait is being committed
        self._settling: dict[int, int] = {}  # job -> batch
        self._dues: deque[tuple[int, float]] = deque()  # (batch, due) not committed yet
        self._unprepared: list[Entry] = []
        self._preparing: set[int] = set()
        self._running_keys: dict[str, int] = {}
        self._key_waiters: dict[str, list[Row]] = {}

    # --- reading on

    def loads(self, now: float) -> list[Load]:
        """What to read from the ledger now."""
        wanted = [load for stream in self.streams.values() if (load := self._load(stream)) is not None]
        if self.due_wakeup <= now:
            self.next_due = INFINITY  # what is still to come is told by the answer, and by commits until then
            self.due.loading = True
            wanted.append(Load(DUE, self.due.after, CHUNK))
        return wanted

    @property
    def due_wakeup(self) -> float:
        """When waiting jobs should be read again; infinity while there is no room for them."""
        full = len(self.held) >= 2 * self.window
        return INFINITY if self.due.loading or full else self.next_due

    def _load(self, stream: Stream) -> Load | None:
        chunk = CHUNK if stream.name == MAIN else GROUP_CHUNK
        if stream.exhausted or stream.loading or stream.held >= chunk or len(self.held) >= self.window:
            return None
        stream.loading = True
        return Load(stream.name, stream.after, chunk)

    def loaded(self, event: Loaded) -> list[Row]:
        """Take in what was read; returns the rows that are new."""
        stream = self.due if event.stream == DUE else self.streams[event.stream]
        stream.loading = False
        stream.after = event.after if event.after is not None else stream.after
        if event.stream != DUE:
            stream.exhausted = event.exhausted
        elif event.next_due is not None:
            self.next_due = min(self.next_due, event.next_due)
        return [row for row in event.rows if not self.knows(row.job)]

    def knows(self, job: int) -> bool:
        """Whether a job is in memory in any way."""
        return job in self.held or job in self.busy or job in self._settling

    def plan_grew(self) -> None:
        """New rows are in the ledger."""
        for stream in self.streams.values():
            stream.exhausted = False

    # --- the window

    def hold(self, row: Row) -> bool:
        """Put a row into the window; True if its input files must be digested first."""
        self.held[row.job] = row
        self._stream_of(row).held += 1
        if row.key is None:
            heappush(self._unprepared, entry(row))
            return True
        self.push(row)
        return False

    def push(self, row: Row) -> None:
        """Make a held row ready to start."""
        self.held[row.job] = row
        heappush(self.ready[row.mode], entry(row))

    def to_prepare(self) -> list[Row]:
        """The next rows whose input files should be digested."""
        rows = []
        while self._unprepared and len(self._preparing) < PREPARING:
            row = heappop(self._unprepared).row
            if row.job in self.held:
                self._preparing.add(row.job)
                rows.append(row)
        return rows

    def prepared(self, job: int) -> Row | None:
        """The digest of a job's inputs is known; its row, if it is still wanted."""
        self._preparing.discard(job)
        return self.held.get(job)

    def peek(self, mode: Mode) -> Row | None:
        """The next row of a mode, dropping those that are gone."""
        queue = self.ready[mode]
        while queue and queue[0].job not in self.held:
            heappop(queue)
        return queue[0].row if queue else None

    def take(self, mode: Mode) -> Row:
        """Start the row that `peek` showed."""
        row = heappop(self.ready[mode]).row
        self.drop(row)
        self.busy.add(row.job)
        if row.key is not None:
            self._running_keys.setdefault(row.key, row.job)
        return row

    def drop(self, row: Row) -> None:
        """Take a row out of the window."""
        if self.held.pop(row.job, None) is not None:
            self._stream_of(row).held -= 1

    def put_back(self, row: Row) -> None:
        """A started row returns to the window as if it had not been started."""
        self.busy.discard(row.job)
        self._release_key(row)
        self.held[row.job] = row
        self._stream_of(row).held += 1
        self.push(row)

    def _stream_of(self, row: Row) -> Stream:
        return self.streams.get(f"{GROUP}{row.group}", self.streams[MAIN])

    def skip(self, mode: Mode) -> None:
        """Pass over the row that `peek` showed; `set_aside` puts it back."""
        heappop(self.ready[mode])

    def set_aside(self, mode: Mode, keep: list[Entry]) -> None:
        """Put entries back that could not start now."""
        self.ready[mode].extend(keep)
        heapify(self.ready[mode])

    # --- equal keys

    def must_wait(self, row: Row) -> bool:
        """Whether a job of the same key runs now."""
        return row.key is not None and row.key in self._running_keys

    def wait_for_key(self, mode: Mode) -> None:
        """The row that `peek` showed waits until the running job of its key ends."""
        row = heappop(self.ready[mode]).row
        self._key_waiters.setdefault(str(row.key), []).append(row)

    def _release_key(self, row: Row) -> list[Row]:
        if row.key is None or self._running_keys.get(row.key) != row.job:
            return []
        del self._running_keys[row.key]
        waiters = [w for w in self._key_waiters.pop(row.key, []) if w.job in self.held]
        for waiter in waiters:
            self.push(waiter)
        return waiters

    # --- ends

    def ended(self, row: Row, batch: int, due: float | None = None) -> list[Row]:
        """A started job ended or waits until `due`; returns held rows of the same key, ready again."""
        self.busy.discard(row.job)
        self.settle(row.job, batch)
        if due is not None:
            self._dues.append((batch, due))
        return self._release_key(row)

    def settle(self, job: int, batch: int) -> None:
        """The ledger's row of a job is stale until `batch` is committed."""
        self.settling.append((batch, job))
        self._settling[job] = batch

    def committed(self, batch: int) -> None:
        """Facts up to `batch` are in the ledger."""
        while self.settling and self.settling[0][0] <= batch:
            number, job = self.settling.popleft()
            if self._settling.get(job) == number:
                del self._settling[job]
        while self._dues and self._dues[0][0] <= batch:
            self.next_due = min(self.next_due, self._dues.popleft()[1])

    def expect_due(self, batch: int, due: float) -> None:
        """A job that is not in memory will be due."""
        self._dues.append((batch, due))

    @property
    def empty(self) -> bool:
        """Nothing held, nothing to read, nothing to come."""
        reading = any(s.loading or not s.exhausted for s in self.streams.values())
        waiting = self.next_due < INFINITY or self._dues or self.due.loading
        return not (self.held or self.busy or reading or waiting)
