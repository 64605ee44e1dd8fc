"""Expands the plan in a thread of its own, a chunk at a time, while the first jobs already run.

Planning takes the interpreter from the thread that keeps the workers busy, so it rests while they have plenty to do.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from batchmill.model.events import Event, Planned
from batchmill.model.jobs import PlannedJob

FIRST_CHUNK = 100  # small: the first job starts sooner
CHUNK = 1000
MOST_WAITING = 4  # chunks that are not committed
PLENTY = 8000  # jobs that are ready to start: planning rests until half of them are left


class PlanWriter(Protocol):
    """The journal, as the planner sees it."""

    def submit_plan(self, rows: Sequence[PlannedJob], position: int, done: bool) -> None: ...


class Planner:
    """Feeds `jobs` to the journal. `wrote` must be told every answer of the journal.

    When `jobs` are not the `whole` rest of the plan, the ledger keeps that more is to be planned. Up to the position
    `urgent` it does not rest: jobs with a higher priority may be among them.
    """

    def __init__(
        self,
        jobs: Iterator[PlannedJob],
        position: int,
        journal: PlanWriter,
        post: Callable[[Event], None],
        *,
        whole: bool = True,
        urgent: int = 0,
    ) -> None:
        self._whole = whole
        self._end = -1  # the position after the last chunk, once that is known
        self._jobs = jobs
        self._position = position
        self._journal = journal
        self._post = post
        self._urgent = urgent
        self._turn = threading.Condition()
        self._allowed = math.inf  # jobs that it may plan before it rests
        self._room = threading.Semaphore(MOST_WAITING)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batchmill-planner", daemon=True)

    def start(self) -> None:
        """Begin to plan."""
        self._thread.start()

    def wrote(self, answer: Planned) -> Planned:
        """A chunk is committed: there is room for another. Returns what this means for the run."""
        self._room.release()
        return answer._replace(done=answer.done or answer.total == self._end)

    def pace(self, ready: Callable[[int], int]) -> None:
        """Jobs were read. `ready(most)` counts those in the ledger that could start, up to so many."""
        if self._end >= 0 or self._position < self._urgent:
            return
        number = ready(PLENTY)
        if number == PLENTY or number <= PLENTY // 2:
            self._allow(PLENTY - number)

    def hurry(self) -> None:
        """Do not rest: workers are idle, whatever is ready."""
        if self._allowed < math.inf:
            self._allow(math.inf)

    def _allow(self, jobs: float) -> None:
        with self._turn:
            self._allowed = jobs
            self._turn.notify()

    def close(self) -> None:
        """Stop planning; what is planned stays planned."""
        self._closing.set()
        self._room.release()
        self.hurry()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        size = FIRST_CHUNK
        try:
            while True:
                with self._turn:
                    self._turn.wait_for(lambda: self._allowed > 0)
                    self._allowed -= size
                rows = list(islice(self._jobs, size))
                self._room.acquire()
                if self._closing.is_set():
                    return
                self._position += len(rows)
                last = len(rows) < size
                if last:
                    self._end = self._position
                self._journal.submit_plan(rows, self._position, last and self._whole)
                if last:
                    return
                size = CHUNK
        except Exception as error:  # noqa: BLE001 - a plug-in's code may raise anything; the loop must hear of it
            self._post(Planned(time.monotonic(), self._position, True, str(error)))
