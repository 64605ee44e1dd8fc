"""Asks the book of quotas for the scheduler, in a thread of its own: the loop never waits for another process."""

from __future__ import annotations

import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial

from batchmill.driver.quotabook import QuotaBook, state_folder
from batchmill.errors import BatchmillError
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from batchmill.model.commands import Borrow
from batchmill.model.events import Event, Lent

FILE = "quota.db"
_NUMBERS = itertools.count(1)  # of the invocations in this process


class Lender:
    """Answers Borrow with Lent."""

    def __init__(self, run: RunPaths, post: Callable[[Event], None]) -> None:
        self._run, self._post = run, post
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
                self._book = QuotaBook(state_folder() / FILE, str(self._run.folder), next(_NUMBERS))
                self._book.settle_dead(partial(_spent_since, self._run), time.time())
            answer = self._book.borrow(question, time.monotonic(), time.time())
        except (sqlite3.Error, OSError, BatchmillError, LookupError, TypeError, ValueError) as error:
            self.problem = (
                f"quotas and the day's budget are not shared with other runs: `{state_folder() / FILE}` cannot be"
                f" used: {error}; limits hold for this run alone"
            )
            answer = Lent(time.monotonic(), broken=self.problem)
        self._post(answer)


def settle_day(run: RunPaths) -> None:
    """After the calls without an answer of a dead run were settled by hand: so are they in the day's money.

    A file that cannot be used counts for nobody.
    """
    file = state_folder() / FILE
    if file.is_file():
        with suppress(sqlite3.Error, OSError, BatchmillError), closing(QuotaBook(file, str(run.folder))) as book:
            book.settle_dead(partial(_spent_since, run), time.time())


def _spent_since(run: RunPaths, since: float) -> int:
    with LedgerReader(run.ledger) as reader:
        return reader.spent_since(since)
