"""The jobs in memory: a window of pending rows in order, those that wait for an equal one, and where to read on.

Not here: jobs that run (`slots`), and whether a failed one is tried again (`retry`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from batchmill.core.lanes import Lanes
from batchmill.model.commands import Load
from batchmill.model.events import Loaded
from batchmill.model.jobs import Row
from batchmill.model.states import Mode

INFINITY = float("inf")
MAIN, DUE = "main", "due"
GROUP = "group:"
CHUNK = 500  # rows read at once
DUE_INTERVAL = 0.1  # seconds between two readings of waiting jobs while there is other work
GROUP_SHARE = 64  # rows of one capped group in memory
PAUSE = 0.5  # seconds before waiting jobs are read again, after a reading that brought nothing new
PREPARING = 64  # jobs whose input files are digested at once

Order = tuple[int, int, int]


def order(row: Row) -> Order:
    """The place of a row: lane, priority (higher first), plan number."""
    return (row.lane, -row.priority, row.job)


@dataclass(slots=True)
class Stream:
    """A reading position in the ledger."""

    name: str
    share: int  # rows of it that may be in memory
    after: tuple[float, ...] | None = None
    exhausted: bool = False
    loading: int = 0  # the number of the Load that is not answered yet
    stale: bool = False  # since that Load rows appeared that it may have passed over
    held: int = 0  # rows of this stream in memory and not started

    def rewind(self) -> None:
        """Read again from the start: rows appeared that may stand before the position. Known ones are no news."""
        self.after, self.exhausted = None, False
        self.stale = self.loading > 0


class JobBook:
    """The window. Every row that it holds is pending in the ledger, or its end is not committed yet.

    Of equal keys one job at a time is ready or runs, their owner; the others wait for its end. Tasks in `unshared`
    have no equal keys.
    """

    def __init__(self, window: int, capped: Iterable[str] = (), unshared: Iterable[str] = ()) -> None:
        groups = [GROUP + name for name in capped]
        share = max(2, window // 2 if groups else window)
        self.window = window
        self.streams = {MAIN: Stream(MAIN, share)}
        for name in groups:
            self.streams[name] = Stream(name, max(2, min(GROUP_SHARE, share // len(groups))))
        self.due = Stream(DUE, 2 * window)
        self.lanes: Lanes | None = None  # under `order: group`
        self.silent = {DUE, *self.streams}  # not answered yet: the first job may be theirs
        self._due_again = -INFINITY
        self.next_due = -INFINITY  # an earlier invocation may have left waiting jobs
        self.held: dict[int, Row] = {}  # in the window and not started
        self.ready: dict[Mode, list[Order]] = {mode: [] for mode in Mode}
        self.busy: set[int] = set()  # started
        self.settling: deque[tuple[int, int, str | None]] = deque()  # (batch, job, key if it succeeded)
        self._settling: dict[int, int] = {}  # job -> batch
        self._lingering: deque[tuple[int, int, str | None]] = deque()  # (last question, job, key): committed since
        self._stale: dict[int, int] = {}  # job -> the last question whose answer may show it as it was
        self._dues: deque[tuple[int, float]] = deque()  # (batch, due) not committed yet
        self._questions = 0  # Loads and Prepares
        self._unprepared: list[Order] = []
        self._preparing: dict[int, int] = {}  # job -> question
        self._unshared = frozenset(unshared)
        self._owners: dict[str, int] = {}
        self._waiters: dict[str, list[int]] = {}
        self._results: dict[str, int] = {}  # key -> job whose success rows may have been read without

    # --- reading on

    def loads(self, now: float) -> list[Load]:
        """What to read from the ledger now."""
        wanted = [
            self._load(stream)
            for stream in self.streams.values()
            if not (stream.exhausted or stream.loading) and 2 * stream.held <= stream.share
        ]
        if self.due_wakeup <= now:
            self.next_due = INFINITY  # what is still to come is told by the answer, and by commits until then
            self._due_again = now + DUE_INTERVAL if self.held else now
            wanted.append(self._load_due())
        return wanted

    def _load_due(self) -> Load:
        """The overdue rows that are known already come again, so there must be room for others behind them."""
        known = len(self.held) + len(self.busy) + len(self._settling)
        return self._load(self.due)._replace(limit=CHUNK + known)

    @property
    def due_wakeup(self) -> float:
        """When waiting jobs should be read again; infinity while there is no room for them.

        Under `order: group` all that is held may have to wait for one of them: then there must be room.
        """
        full = len(self.held) >= self.due.share and (self.lanes is None or bool(self.busy))
        return INFINITY if self.due.loading or full else max(self.next_due, self._due_again)

    def _load(self, stream: Stream) -> Load:
        self._questions += 1
        stream.loading = self._questions
        return Load(stream.name, stream.after, min(CHUNK, stream.share - stream.held))

    def loaded(self, event: Loaded) -> list[Row]:
        """Take in what was read; returns the rows that are new. What else they need is still known until the next."""
        self._forget()
        stream = self.due if event.stream == DUE else self.streams[event.stream]
        question, stream.loading = stream.loading, 0
        self.silent.discard(stream.name)
        if stream.stale:
            stream.stale = False
        else:
            stream.after = event.after if event.after is not None else stream.after
            stream.exhausted = event.exhausted
        new = [row for row in event.rows if not self._knows_better(row.job, question)]
        if self.lanes is not None:
            for row in new:
                self.lanes.wait_ends(row.job)
        if event.stream == DUE:
            more = event.next_due if event.exhausted else event.at + (0.0 if new else PAUSE)
            self.next_due = min(self.next_due, INFINITY if more is None else more)
        return new

    def _knows_better(self, job: int, question: int) -> bool:
        """Whether a row that was read for a question is no news, or out of date."""
        unsettled = job in self._settling or self._stale.get(job, 0) >= question
        return unsettled or job in self.held or job in self.busy

    def plan_grew(self) -> None:
        """New rows are in the ledger; some may come before those that were read already."""
        for stream in self.streams.values():
            stream.rewind()

    def any_before(self, lane: int) -> bool:
        """Whether a job of an earlier lane is left that is not running: in memory, waiting, or perhaps not read yet."""
        unread = (not stream.exhausted and (stream.after or (-1,))[0] < lane for stream in self.streams.values())
        return self.lanes is not None and (self.lanes.any_before(lane) or any(unread))

    # --- the window

    def hold(self, row: Row) -> None:
        """Put a row into the window; ready, unless its input files must be digested first."""
        self._enter(row)
        if row.key is None:
            heappush(self._unprepared, order(row))
        else:
            self.push(row)

    def push(self, row: Row) -> None:
        """Make a held row ready to start, or let it wait for the one of the same key."""
        self.held[row.job] = row
        if row.key is not None and row.task not in self._unshared:
            owner = self._owners.setdefault(row.key, row.job)
            if owner != row.job:
                self._queue_for_key(row.key, row, self.held.get(owner))
                return
        heappush(self.ready[row.mode], order(row))

    def _queue_for_key(self, key: str, row: Row, owner: Row | None) -> None:
        """Let a row wait for the owner of its key; or the other way round, where that has not started and may not
        before this one has ended, since its lane is later."""
        if owner is not None and row.lane < owner.lane:
            self._unready(owner)
            self._owners[key] = row.job
            heappush(self.ready[row.mode], order(row))
            row = owner
        self._waiters.setdefault(key, []).append(row.job)

    def result_of(self, row: Row) -> int | None:
        """The job that gave the result of this row's key lately, too late for whoever read the row."""
        if row.key is None or row.task in self._unshared:
            return None
        return self._results.get(row.key)

    def to_prepare(self) -> list[Row]:
        """The next rows whose input files should be digested."""
        rows = []
        while self._unprepared and len(self._preparing) < PREPARING:
            job = heappop(self._unprepared)[2]
            if job in self.held and job not in self._preparing:
                self._questions += 1
                self._preparing[job] = self._questions
                rows.append(self.held[job])
        return rows

    def prepared(self, job: int) -> Row | None:
        """The digest of a job's inputs is known; its row, if it is still wanted."""
        self._preparing.pop(job, None)
        row = self.held.get(job)
        return row if row is not None and row.key is None else None

    def peek(self, mode: Mode) -> Row | None:
        """The next row of a mode."""
        queue = self.ready[mode]
        return self.held[queue[0][2]] if queue else None

    def take(self, mode: Mode) -> Row:
        """Start the row that `peek` showed."""
        job = heappop(self.ready[mode])[2]
        row = self.held[job]
        self._exit(row)
        self.busy.add(job)
        return row

    def drop(self, row: Row) -> None:
        """Take a row out of the window for good."""
        self._exit(row)
        self._unready(row)
        for waiter in self._release(row):
            self.push(waiter)

    def _unready(self, row: Row) -> None:
        queue = self.ready[row.mode]
        if (place := order(row)) in queue:
            queue.remove(place)
            heapify(queue)

    def put_back(self, row: Row) -> None:
        """A started row returns to the window as if it had not been started."""
        self.busy.discard(row.job)
        self._enter(row)
        if self.lanes is None:
            heappush(self.ready[row.mode], order(row))  # it still owns its key
            return
        for each in (row, *self._release(row)):  # one of an earlier lane may have come since
            self.push(each)

    def _enter(self, row: Row) -> None:
        self.held[row.job] = row
        self._stream_of(row).held += 1
        if self.lanes is not None:
            self.lanes.enter(row.lane)

    def _exit(self, row: Row) -> None:
        del self.held[row.job]
        self._stream_of(row).held -= 1
        if self.lanes is not None:
            self.lanes.leave(row.lane)

    def _stream_of(self, row: Row) -> Stream:
        main = self.streams[MAIN]
        return main if row.group is None else self.streams.get(GROUP + row.group, main)

    def skip(self, mode: Mode) -> Order:
        """Pass over the row that `peek` showed; `set_aside` puts it back."""
        return heappop(self.ready[mode])

    def set_aside(self, mode: Mode, keep: list[Order]) -> None:
        """Put entries back that could not start now."""
        self.ready[mode].extend(keep)
        heapify(self.ready[mode])

    # --- ends

    def ended(self, row: Row, batch: int, *, due: float | None = None, succeeded: bool = False) -> list[Row]:
        """A started job ended, or waits until `due`. After a success, returns the rows that waited for its key
        (they are still held); else they are ready again, with the steps that it has done for them."""
        self.busy.discard(row.job)
        if due is not None:
            self._dues.append((batch, due))
            if self.lanes is not None:
                self.lanes.wait(row.job, row.lane)
        key = row.key if succeeded and row.task not in self._unshared else None
        if key is not None:
            self._results[key] = row.job
        self.settle(row.job, batch, key)
        waiters = self._release(row)
        if succeeded:
            return waiters
        for waiter in waiters:
            self.push(waiter._replace(steps=row.steps))
        return []

    def _release(self, row: Row) -> list[Row]:
        key = row.key
        if key is None or self._owners.get(key) != row.job:
            return []
        del self._owners[key]
        return [self.held[job] for job in self._waiters.pop(key, ()) if job in self.held]

    def settle(self, job: int, batch: int, key: str | None = None) -> None:
        """The ledger's row of a job is stale until `batch` is committed."""
        self.settling.append((batch, job, key))
        self._settling[job] = batch

    def committed(self, batch: int, now: float) -> None:
        """Facts up to `batch` are in the ledger."""
        settling, unsettled, question = self.settling, self._settling, self._questions
        while settling and settling[0][0] <= batch:
            number, job, key = settling.popleft()
            if unsettled.get(job) == number:
                del unsettled[job]
            self._stale[job] = question
            self._lingering.append((question, job, key))
        while self._dues and self._dues[0][0] <= batch:
            due = self._dues.popleft()[1]
            if due <= now or self.due.loading:  # the position may pass it while its row is taken for an old one
                self.due.rewind()
            self.next_due = min(self.next_due, due)
        self._forget()

    def _forget(self) -> None:
        """Forget what is committed once no question is open that was asked before: its answer may show old rows."""
        lingering, stale, results = self._lingering, self._stale, self._results
        oldest = self._oldest_question() if lingering else 0
        while lingering and lingering[0][0] < oldest:
            question, job, key = lingering.popleft()
            if stale.get(job) == question:
                del stale[job]
            if key is not None and results.get(key) == job:
                del results[key]

    def _oldest_question(self) -> float:
        loading = [s.loading for s in (self.due, *self.streams.values()) if s.loading]
        return min(*loading, *self._preparing.values(), INFINITY, INFINITY)

    def expect_due(self, batch: int, due: float) -> None:
        """A job that is not in memory will be due."""
        self._dues.append((batch, due))

    @property
    def reading(self) -> bool:
        """Whether rows are on their way."""
        return any(stream.loading for stream in self.streams.values())

    @property
    def _unread(self) -> bool:
        """Whether there is something to read, or to come."""
        reading = any(s.loading or not s.exhausted for s in self.streams.values())
        return bool(reading or self.next_due < INFINITY or self._dues or self.due.loading)

    @property
    def empty(self) -> bool:
        """Nothing held, nothing to read, nothing to come."""
        return not (self.held or self.busy or self._unread)

    @property
    def still(self) -> bool:
        """Whether only the end of a started job can make another one ready."""
        return not (self._unread or self._preparing or self._unprepared)
