"""What was given to providers in batches, for all runs of a user: `$XDG_STATE_HOME/batchmill/lanes.db`.

A batch is written down before it is uploaded, and each line once at a time: so no kill makes anybody ask twice. Keys
and numbers alone are here, no text and no secret. Each batch has a keeper, one process that asks for its progress; a
keeper holds a lock on a file of its own, which the kernel frees when it dies.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

_WAIT = 30.0  # seconds for the other processes that write
KEPT = 30 * 86_400.0  # seconds for which a batch is remembered; replies are kept as long
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
  id TEXT PRIMARY KEY,            -- ours; the provider is told it where that is possible
  place TEXT NOT NULL,            -- digest of the endpoint's address
  model TEXT NOT NULL,            -- provider/model
  state TEXT NOT NULL,            -- intended, submitted, ended
  keeper TEXT NOT NULL,           -- the process that looks after it; empty: none
  at REAL NOT NULL,               -- when it was intended, seconds since 1970
  lines INTEGER NOT NULL,
  cost INTEGER,                   -- micro-cents: the most, and the true sum once it ended; NULL: not known
  remote TEXT NOT NULL DEFAULT '',  -- the provider's id
  status TEXT NOT NULL DEFAULT '',  -- the provider's word
  done INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  ended REAL
);
CREATE TABLE IF NOT EXISTS lines (
  id BLOB NOT NULL,               -- what the line is called at the provider
  batch TEXT NOT NULL,
  key BLOB NOT NULL,              -- of the reply, see `cache.reply_key`
  owner BLOB NOT NULL,            -- the job in its run that asks, and pays
  state TEXT NOT NULL DEFAULT 'open',  -- open, done, failed
  PRIMARY KEY (id, batch)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS lines_open ON lines (id) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS lines_batch ON lines (batch);
"""
_FIND = """
SELECT lines.state, lines.owner, batches.* FROM lines JOIN batches ON batches.id = lines.batch WHERE lines.id = ?
ORDER BY lines.state = 'open' DESC, batches.at DESC LIMIT 1
"""
_BATCH = f"INSERT INTO batches VALUES ({', '.join('?' * 13)})"
_LINE = "INSERT OR IGNORE INTO lines (id, batch, key, owner) VALUES (?, ?, ?, ?)"


class Line(NamedTuple):
    """One request: `id` names it in its batch, `key` is that of its reply, `owner` the job that asks."""

    id: bytes
    key: bytes
    owner: bytes


class Batch(NamedTuple):
    """One batch, as `batches` has it."""

    id: str
    place: str
    model: str
    state: str
    keeper: str
    at: float
    lines: int
    cost: int | None = None
    remote: str = ""
    status: str = ""
    done: int = 0
    failed: int = 0
    ended: float | None = None


class Found(NamedTuple):
    """Where a line is, or was last: its state there, and whose it is."""

    state: str
    owner: bytes
    batch: Batch


class LaneStore:
    """The batches in one file. Any thread may use it, and any number of processes. Raises sqlite3.Error, OSError."""

    def __init__(self, folder: Path) -> None:
        self._lock, self._reading = threading.Lock(), threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "lanes.db"
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)
        self._reader = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        self._keepers = folder / "lanes"
        self.keeper = self._begin_keeping()
        self._purge()

    def close(self) -> None:
        """Keep no batch any longer."""
        with self._lock:
            self._connection.close()
            self._reader.close()
        os.close(self._held)
        (self._keepers / self.keeper).unlink(missing_ok=True)

    # --- keepers

    def _begin_keeping(self) -> str:
        self._keepers.mkdir(mode=0o700, exist_ok=True)
        for name in os.listdir(self._keepers):
            self._is_alive(name)
        while True:
            name = f"{uuid4().hex}.lock"
            self._held = os.open(self._keepers / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._held, fcntl.LOCK_EX)
            if os.fstat(self._held).st_nlink:  # nobody took it for that of a dead one before it was locked
                return name
            os.close(self._held)

    def _is_alive(self, keeper: str) -> bool:
        """Whether the process lives that has this lock; the file of a dead one is removed."""
        try:
            found = os.open(self._keepers / keeper, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(found)
        (self._keepers / keeper).unlink(missing_ok=True)
        return False

    def take(self, batch: str) -> bool:
        """Become the keeper of a batch, unless another living process is; True where this process is now."""
        with self._writing() as connection:
            found = connection.execute("SELECT keeper FROM batches WHERE id = ?", (batch,)).fetchone()
            if found is None or (found[0] and found[0] != self.keeper and self._is_alive(found[0])):
                return False
            connection.execute("UPDATE batches SET keeper = ? WHERE id = ?", (self.keeper, batch))
            return True

    def leave(self, batch: str) -> None:
        """Be its keeper no longer."""
        with self._writing() as connection:
            connection.execute("UPDATE batches SET keeper = '' WHERE id = ? AND keeper = ?", (batch, self.keeper))

    # --- reading

    def find(self, line: bytes) -> Found | None:
        """The batch that holds a line, else the last one that held it."""
        with self._reading:
            row = self._reader.execute(_FIND, (line,)).fetchone()
        return None if row is None else Found(row[0], row[1], Batch(*row[2:]))

    def batch(self, id: str) -> Batch | None:
        """A batch as it is now."""
        with self._reading:
            row = self._reader.execute("SELECT * FROM batches WHERE id = ?", (id,)).fetchone()
        return None if row is None else Batch(*row)

    def batches(self) -> list[Batch]:
        """All batches, the newest first."""
        with self._reading:
            rows = self._reader.execute("SELECT * FROM batches ORDER BY at DESC").fetchall()
        return [Batch(*row) for row in rows]

    def open_lines(self, batch: str) -> dict[bytes, Line]:
        """The lines of a batch that nothing is known of yet."""
        with self._reading:
            rows = self._reader.execute(
                "SELECT id, key, owner FROM lines WHERE batch = ? AND state = 'open'", (batch,)
            ).fetchall()
        return {row[0]: Line(*row) for row in rows}

    # --- writing

    def intend(self, batch: Batch, lines: Sequence[Line]) -> set[bytes]:
        """Write a batch down; on return it is on disk. Returns the ids of its lines: without those that an open batch
        has already. Where none is left, there is no batch."""
        with self._writing() as connection:
            connection.executemany(_LINE, [(line.id, batch.id, line.key, line.owner) for line in lines])
            mine = {row[0] for row in connection.execute("SELECT id FROM lines WHERE batch = ?", (batch.id,))}
            if mine:
                connection.execute(_BATCH, batch._replace(keeper=self.keeper, lines=len(mine)))
            return mine

    def note(self, id: str, **columns: Any) -> None:
        """Write down what is new of a batch."""
        changes = ", ".join(f"{name} = ?" for name in columns)
        with self._writing() as connection:
            connection.execute(f"UPDATE batches SET {changes} WHERE id = ?", (*columns.values(), id))

    def close_lines(self, batch: str, lines: Iterable[bytes], state: str) -> None:
        """Lines are `done` or have `failed`."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE lines SET state = ? WHERE id = ? AND batch = ?", [(state, line, batch) for line in lines]
            )

    def end(self, batch: str, **columns: Any) -> None:
        """A batch is over: lines of which nothing was told have failed."""
        with self._writing() as connection:
            connection.execute("UPDATE lines SET state = 'failed' WHERE batch = ? AND state = 'open'", (batch,))
        self.note(batch, state="ended", ended=time.time(), keeper="", **columns)

    def forget(self, batch: str) -> None:
        """It never came to the provider."""
        with self._writing() as connection:
            connection.execute("DELETE FROM lines WHERE batch = ?", (batch,))
            connection.execute("DELETE FROM batches WHERE id = ?", (batch,))

    def _purge(self) -> None:
        before = time.time() - KEPT
        with self._writing() as connection:
            connection.execute("DELETE FROM lines WHERE batch IN (SELECT id FROM batches WHERE at < ?)", (before,))
            connection.execute("DELETE FROM batches WHERE at < ?", (before,))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def read_batches(folder: Path) -> list[Batch]:
    """All batches, the newest first, without keeping any."""
    path = folder / "lanes.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=_WAIT)) as connection:
        return [Batch(*row) for row in connection.execute("SELECT * FROM batches ORDER BY at DESC")]
