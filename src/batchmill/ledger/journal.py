"""The one writer of a run: a thread that owns the writing connection and commits whatever has been submitted.

Everything that waits when the thread is free goes into one transaction (group commit, as in DeWitt et al., SIGMOD
1984). The driver never waits: answers come as events. How facts become rows is in `facts`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from batchmill.errors import LedgerError
from batchmill.ledger.counting import counted
from batchmill.ledger.database import Durability, connect_writer, ledger_errors
from batchmill.ledger.facts import Batch
from batchmill.ledger.files import RunFiles
from batchmill.ledger.lease import Lease
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.planning import PlanChunk, Planner
from batchmill.ledger.queries import SQL
from batchmill.ledger.reuse import Reuse
from batchmill.ledger.runlog import RunLog
from batchmill.model.events import CommitFailed, Committed, Event, Planned
from batchmill.model.facts import Fact
from batchmill.model.jobs import PlannedJob

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0  # seconds between tries while the ledger cannot be written


class _Facts(NamedTuple):
    number: int
    facts: Sequence[Fact]


class _Close(NamedTuple):
    """The last thing in the queue."""


_Item = _Facts | PlanChunk | _Close


class Journal:
    """Writes facts and plan chunks in the order in which they are submitted.

    `answer` is called in the writer's thread with Committed, CommitFailed and Planned, from `start` on. `lease` is
    kept as long as the journal is open. `wall_offset` is wall minus monotonic time. Raises LedgerError when the
    ledger cannot be opened for writing.
    """

    def __init__(
        self,
        paths: RunPaths,
        lease: Lease,
        *,
        durability: Durability = "power",
        wall_offset: float,
        answer: Callable[[Event], None],
    ) -> None:
        self._paths = paths
        self._epoch = lease.epoch
        self._offset = wall_offset
        self._answer = answer
        with ledger_errors(paths.ledger):
            self._connection = connect_writer(paths.ledger, durability)
            query = "SELECT tick, active_s, planned FROM run"
            self._tick, self._active, self._planned = self._connection.execute(query).fetchone()
        self._opened = time.monotonic()
        self._files = RunFiles(paths, durable=durability == "power")
        self._planner = Planner(self._connection)
        self._reuse = Reuse(paths, self._connection, self._files)
        self._log = RunLog(paths.log)
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._submitted = self._answered = 0  # batches; each is written by one thread only
        self._chunks_submitted = self._chunks_answered = 0
        self._closing = threading.Event()
        self._plan_error = ""  # what broke the plan off
        self._lost = ""  # why facts could not be written before the end
        self._thread = threading.Thread(target=self._write_all, name="batchmill-journal", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, batch: int, facts: Sequence[Fact]) -> None:
        """Have facts written; answered by Committed with this batch's number or a higher one."""
        self._submitted += 1
        self._queue.put(_Facts(batch, facts))

    def submit_plan(self, rows: Sequence[PlannedJob], position: int, done: bool) -> None:
        """Have a chunk of the plan written with the position after it; answered by Planned."""
        self._chunks_submitted += 1
        self._queue.put(PlanChunk(rows, position, done))

    @property
    def uncommitted(self) -> int:
        """Batches of facts that were submitted and are not durable yet."""
        return self._submitted - self._answered

    @property
    def backlog(self) -> int:
        """Batches and plan chunks that were submitted and are not durable yet."""
        return self.uncommitted + self._chunks_submitted - self._chunks_answered

    def close(self) -> None:
        """Write what is left; may be called twice. The ledger becomes one plain file when the lease is released.

        Raises LedgerError when facts are left that could not be written.
        """
        if not self._closing.is_set():
            self._queue.put(_Close())
            self._closing.set()
            if self._thread.ident is None:
                self._thread.start()
        self._thread.join()
        if self._lost:
            raise LedgerError(
                f"the last results of run `{self._paths.id}` could not be written: {self._lost}",
                hint="free some space or mend the disk, then run again: what was not written is done again",
                code="ledger/unwritten",
            )

    # --- the writer's thread

    def _write_all(self) -> None:
        try:
            while not self._write_next():
                pass
        except BaseException as error:
            self._lost = repr(error)
            self._answer(CommitFailed(time.monotonic(), self._submitted, self._lost))
            raise
        finally:
            self._reuse.close()
            self._log.close()
            self._connection.close()

    def _write_next(self) -> bool:
        """One transaction, tried until it is written; True after the last one."""
        batch = Batch(self._tick + 1, self._offset)
        last = self._take(self._queue.get(), batch)
        last = self._take_waiting(batch) or last
        wait = _FIRST_WAIT
        while True:
            final = self._closing.is_set()
            problem = self._try(batch)
            if not problem:
                return last
            if final:
                self._lost = problem
                return True
            self._closing.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _try(self, batch: Batch) -> str:
        """Write the batch; returns why it could not be written."""
        try:
            self._commit(batch)
        except (sqlite3.Error, OSError, LedgerError) as error:
            self._planner.forget()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._answer(CommitFailed(time.monotonic(), batch.highest, str(error)))
            return str(error) or type(error).__name__
        return ""

    def _take_waiting(self, batch: Batch) -> bool:
        """Take all that is in the queue. Not done for a batch that failed once: its COMMIT may have worked."""
        last = False
        while True:
            try:
                last = self._take(self._queue.get_nowait(), batch) or last
            except Empty:
                return last

    def _take(self, item: _Item, batch: Batch) -> bool:
        """Put an item into the batch; True for the end of the queue."""
        if isinstance(item, _Facts):
            batch.add(*item)
        elif isinstance(item, PlanChunk):
            batch.plan(item)
        return isinstance(item, _Close)

    def _commit(self, batch: Batch) -> None:
        if batch.empty:
            return
        self._files.secure(batch)
        self._connection.execute("BEGIN IMMEDIATE")
        if self._claim(batch):
            self._plan(batch)
            with counted(self._connection, batch.jobs):
                batch.apply(self._connection)
                self._reuse.apply(batch, self._offset)
        self._connection.execute("COMMIT")
        self._tick = batch.tick
        self._conclude(batch)

    def _claim(self, batch: Batch) -> bool:
        """Move the run on to this tick; False when it is there already: a COMMIT that reported an error had worked."""
        active = self._active + time.monotonic() - self._opened
        moved = self._connection.execute(SQL["claim"], (batch.tick, active, batch.spent, self._epoch, batch.tick - 1))
        if moved.rowcount == 1:
            return True
        epoch, tick = self._connection.execute("SELECT epoch, tick FROM run").fetchone()
        if epoch != self._epoch:
            raise LedgerError(f"run `{self._paths.id}` was taken over by another driver", code="run/held")
        return bool(tick != batch.tick)

    def _plan(self, batch: Batch) -> None:
        now = time.monotonic() + self._offset
        batch.chunk_errors.clear()
        for chunk, objects in batch.chunks:
            try:
                if not self._plan_error:
                    self._planner.insert(chunk, objects, batch.tick, now)
            except (LedgerError, UnicodeEncodeError, OverflowError) as error:
                self._plan_error = str(error)
            batch.chunk_errors.append(self._plan_error)

    def _conclude(self, batch: Batch) -> None:
        """What follows a commit: links, log lines, answers."""
        if batch.blobs or batch.links or batch.contents or batch.discarded:
            for problem in self._files.settle(batch):
                batch.notes.append((time.monotonic() + self._offset, problem))
        if batch.notes:
            self._log.append(batch.notes)
        for (chunk, _), error in zip(batch.chunks, batch.chunk_errors, strict=True):
            self._planned += 0 if error else len(chunk.rows)
            self._answer(Planned(time.monotonic(), self._planned, chunk.done and not error, error))
        self._chunks_answered += len(batch.chunks)
        self._answered += batch.count
        if batch.count:
            self._answer(Committed(time.monotonic(), batch.highest))
