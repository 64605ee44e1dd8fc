"""Asks the book of quotas for the scheduler, in a thread of its own: the loop never waits for another process."""

from __future__ import annotations

import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from batchmill.driver.quotabook import QuotaBook, state_folder
from batchmill.errors import BatchmillError
from batchmill.model.commands import Borrow
from batchmill.model.events import Event, Lent

FILE = "quota.db"
_ALL = 1 << 62
_NUMBERS = itertools.count(1)  # of the invocations in this process


class Lender:
    """Answers Borrow with Lent. `run` is the run's folder; `unknown` micro-cents of its earlier calls may be spent."""

    def __init__(self, run: Path, unknown: int, post: Callable[[Event], None]) -> None:
        self._run, self._unknown, self._post = str(run), unknown, post
        self.problem = ""  # why nothing is shared
        self._book: QuotaBook | None = None
        self._questions: queue.SimpleQueue[Borrow | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._answer_all, name="batchmill-quotas", daemon=True)

    def ask(self, question: Borrow) -> None:
        """Queue a question. The file is opened by the first one."""
        if self._thread.ident is None:
            self._thread.start()
        self._questions.put(question)

    def close(self, farewell: Callable[[], Borrow]) -> None:
        """Give everything back, if anything was borrowed, and end the thread."""
        if self._thread.ident is not None:
            self._questions.put(farewell())
            self._questions.put(None)
            self._thread.join()

    def _answer_all(self) -> None:
        try:
            while (question := self._questions.get()) is not None:
                if not self.problem:
                    self._answer(question)
        finally:
            if self._book is not None:
                self._book.close()

    def _answer(self, question: Borrow) -> None:
        try:
            if self._book is None:
                self._book = QuotaBook(state_folder() / FILE, self._run, next(_NUMBERS))
                self._book.settle_dead(self._unknown)
            answer = self._book.borrow(question, time.monotonic(), time.time())
        except (sqlite3.Error, OSError, BatchmillError, LookupError, TypeError, ValueError) as error:
            self.problem = (
                f"quotas and the day's budget are not shared with other runs: `{state_folder() / FILE}` cannot be"
                f" used: {error}; limits hold for this run alone"
            )
            answer = Lent(time.monotonic(), broken=self.problem)
        self._post(answer)


def settle_day(run: Path, *, billed: bool) -> None:
    """After the calls without an answer of a dead run were settled by hand: so are they in the day's money.

    A file that cannot be used counts for nobody.
    """
    file = state_folder() / FILE
    if file.is_file():
        with suppress(sqlite3.Error, OSError, BatchmillError), closing(QuotaBook(file, str(run))) as book:
            book.settle_dead(_ALL if billed else 0, billed=billed)
