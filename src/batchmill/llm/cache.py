"""Replies by the content of their requests, shared by all runs of a user: one SQLite file, one writer thread a process.

Raw replies are kept, before anybody reads them: what a mapper misreads today is read again tomorrow, unpaid. Keys are
made here; what a reply means is not known here.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from batchmill.llm.messages import Request

FORMAT = 1  # of the keys: another one forgets all replies
_GATHER = 0.004  # seconds in which a busy writer gathers replies for one transaction
_WAIT = 30.0  # seconds for the other processes that write
KEPT = 30 * 86_400.0  # seconds for which a reply is kept
_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
  id INTEGER NOT NULL,       -- the first 8 bytes of the key: an index over whole keys costs twice as much to write
  key BLOB NOT NULL,         -- of the request, see `reply_key`
  at REAL NOT NULL,          -- seconds since 1970
  owner BLOB NOT NULL,       -- of the job that asked, in its run
  reader TEXT NOT NULL,      -- the version of the code that could not read it, or nothing
  body BLOB NOT NULL         -- as it came
);
CREATE INDEX IF NOT EXISTS replies_id ON replies (id);
"""
_INSERT, _VALUES = "INSERT INTO replies (id, key, at, owner, reader, body) VALUES ", "(?, ?, ?, ?, ?, ?)"
_AT_ONCE = 100  # rows of one statement
_SELECT = "SELECT owner, reader, body FROM replies WHERE id = ? AND key = ? AND at >= ? ORDER BY rowid DESC LIMIT 1"
_SINCE = "SELECT rowid, id FROM replies WHERE rowid > ? ORDER BY rowid"
_LOOK_EVERY = 0.2  # seconds between two looks at what other processes wrote
_MOST_KNOWN = 2_000_000  # ids in memory, 8 bytes each; of a larger file every request is looked for
# rows are in the order in which they came
_PURGE = "DELETE FROM replies WHERE rowid < (SELECT rowid FROM replies WHERE at >= ? ORDER BY rowid LIMIT 1)"


def reply_key(request: Request, family: str, variant: str = "") -> bytes:
    """The key of a request's reply: 20 bytes. `variant` is whatever else tells it from an equal request."""
    try:
        canonical = request.canonical()
    except ValueError:  # a lone surrogate, which JSON cannot hold
        canonical = ascii(request).encode()
    return blake2b(f"{FORMAT} {family} {variant!a} ".encode() + canonical, digest_size=20).digest()


def state_folder() -> Path:
    """Where a user's runs share what they know: `$XDG_STATE_HOME/batchmill`."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "batchmill"


_Row = tuple[int, bytes, float, bytes, str, bytes]


class Stored(NamedTuple):
    """A reply that was kept."""

    owner: bytes
    reader: str
    body: bytes


class _Waiting(NamedTuple):
    """A row to be written, and who waits for it."""

    row: _Row
    loop: asyncio.AbstractEventLoop | None
    written: asyncio.Future[None] | None


class _Known:
    """Which ids are in the file: most requests are new, and to look for each in the file costs ten times as much."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        ((self._last,),) = connection.execute("SELECT coalesce(max(rowid), 0) FROM replies").fetchall()
        found = connection.execute("SELECT id FROM replies ORDER BY id LIMIT ?", (_MOST_KNOWN,))
        self._old = array("q", (id for (id,) in found))
        self._new: set[int] = set()
        self._next_look = 0.0
        self._complete = len(self._old) < _MOST_KNOWN

    def add(self, id: int) -> None:
        """One that this process writes, before others are looked for."""
        self._new.add(id)

    def may_hold(self, id: int, connection: sqlite3.Connection) -> bool:
        """Whether the file may hold an id; no: it did not, a moment ago."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            for rowid, other in connection.execute(_SINCE, (self._last,)):
                self._last = rowid
                self._new.add(other)
        if id in self._new or not self._complete:
            return True
        place = bisect_left(self._old, id)
        return place < len(self._old) and self._old[place] == id


class ReplyCache:
    """The replies in one file. Any thread may read and write; any number of processes, too.

    What another process wrote is found a moment later.
    """

    def __init__(self, path: Path, kept: float = KEPT) -> None:
        self._path, self._kept = path, kept
        self._local = threading.local()
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()
        self._prepare()
        self._known = _Known(self._reader())
        writing = (self._connect(),)  # here, where an error has somewhere to go
        threading.Thread(target=self._serve, args=writing, name="batchmill-replies", daemon=True).start()

    def get(self, key: bytes, max_age: float | None = None) -> Stored | None:
        """The reply under a key, unless it is older than `max_age` seconds. Raises sqlite3.Error."""
        id, reader = _id(key), self._reader()
        if not self._known.may_hold(id, reader):
            return None
        age = self._kept if max_age is None else min(max_age, self._kept)
        found = reader.execute(_SELECT, (id, key, time.time() - age)).fetchone()
        return None if found is None else Stored(*found)

    async def put(self, key: bytes, body: bytes, owner: bytes = b"", reader: str = "") -> None:
        """Keep a reply; returns when it is on disk. Raises sqlite3.Error."""
        loop = asyncio.get_running_loop()
        written = loop.create_future()
        self._queue.put(_Waiting(self._row(key, body, owner, reader), loop, written))
        await written

    def put_later(self, key: bytes, body: bytes, owner: bytes = b"", reader: str = "") -> None:
        """Keep a reply when there is time for it."""
        self._queue.put(_Waiting(self._row(key, body, owner, reader), None, None))

    def _row(self, key: bytes, body: bytes, owner: bytes, reader: str) -> _Row:
        id = _id(key)
        self._known.add(id)
        return (id, key, time.time(), owner, reader, body)

    def _prepare(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)  # before SQLite makes it readable for all
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
            connection.execute(_PURGE, (time.time() - self._kept,))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._connect()
            found.execute("PRAGMA query_only = ON")
        return found

    def _serve(self, connection: sqlite3.Connection) -> None:
        many = False  # whether replies come so densely that waiting for more of them pays
        while True:
            batch = [self._queue.get()]
            if many:
                time.sleep(_GATHER)
            batch += _rest(self._queue, _AT_ONCE - 1)
            _tell(batch, _write(connection, [waiting.row for waiting in batch]))
            many = len(batch) > 1 or self._queue.qsize() > 1


def _id(key: bytes) -> int:
    return int.from_bytes(key[:8], "little", signed=True)


def _rest(queue: SimpleQueue[_Waiting], most: int) -> Iterator[_Waiting]:
    for _ in range(min(most, queue.qsize())):  # there is no other reader, so none of them is gone
        yield queue.get_nowait()


def _write(connection: sqlite3.Connection, rows: list[_Row]) -> Exception | None:
    """Write rows in one transaction, which is one statement; what went wrong, if anything did.

    The interpreter's lock is given up around each step of a statement, and asking it back from a busy loop costs more
    than the step: so all rows are one step.
    """
    try:
        connection.execute(_INSERT + ", ".join([_VALUES] * len(rows)), [value for row in rows for value in row])
    except (sqlite3.Error, ValueError, OverflowError, MemoryError) as error:
        return error if isinstance(error, sqlite3.Error) else sqlite3.DataError(str(error))
    return None


def _tell(batch: list[_Waiting], error: Exception | None) -> None:
    """Wake who waits: one call into each loop, however many wait there."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for _, loop, written in batch:
        if loop is not None and written is not None:
            waiting.setdefault(loop, []).append(written)
    for loop, futures in waiting.items():
        with suppress(RuntimeError):  # a closed loop: nobody waits there any more
            loop.call_soon_threadsafe(_end, futures, error)


def _end(futures: list[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None) if error is None else future.set_exception(error)
