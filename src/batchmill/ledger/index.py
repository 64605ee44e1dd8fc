"""`home.db`: which run has a result for a key, and digests of input files. Derived from the runs, never the truth.

It may be deleted at any time and is rebuilt when it is damaged; whoever cannot write it goes on without.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from batchmill.ledger.paths import RunPaths
from batchmill.model.jobs import FileIdentity, Source

_VERSION = 1
_BUSY_MS = 30_000  # a run with a million results is indexed in one transaction
_BROKEN = ("malformed", "not a database", "no such table", "no such column", "disk image")
_SCHEMA = """
CREATE TABLE runs (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created REAL NOT NULL,
  tick INTEGER NOT NULL, signature TEXT NOT NULL);
CREATE TABLE keys (key TEXT NOT NULL, run INTEGER NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (key, run))
  WITHOUT ROWID;
CREATE TABLE digests (path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode TEXT NOT NULL,
  digest TEXT NOT NULL) WITHOUT ROWID;
"""
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class HomeIndex:
    """The index of a home; several processes and threads may each have one open. Nothing here raises on damage."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / "home.db"
        self._refreshed = self._told = False
        self._connection: sqlite3.Connection | None = None
        self._guarded(lambda _: None, None)

    def __enter__(self) -> HomeIndex:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def lookup(self, keys: Sequence[str], name: str | None = None) -> dict[str, Source]:
        """The newest run that has a result for each key, where there is one; only runs called `name`, when given."""
        if not self._refreshed:
            self.refresh()
        where, given = ("", ()) if name is None else ("AND runs.name = ?", (name,))
        query = (
            "SELECT keys.key, runs.id, job FROM json_each(?) AS wanted JOIN keys ON keys.key = wanted.value"
            f" JOIN runs ON runs.number = keys.run {where} ORDER BY created"
        )
        rows: list[tuple[str, str, int]] = self._guarded(
            lambda c: c.execute(query, (json.dumps(list(keys)), *given)).fetchall(), []
        )
        there = {run: RunPaths(self._home, run).ledger.is_file() for run in {run for _, run, _ in rows}}
        return {key: Source(run, job) for key, run, job in rows if there[run]}

    def digest_of(self, identity: FileIdentity) -> str | None:
        """The digest of a file that still has the identity with which it was remembered, else None."""
        query = "SELECT digest FROM digests WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?"
        row = self._guarded(lambda c: c.execute(query, _identity(identity)).fetchone(), None)
        return None if row is None else str(row[0])

    def remember_digest(self, identity: FileIdentity, digest: str) -> None:
        """Remember the digest of a file as it is now."""
        statement = "INSERT OR REPLACE INTO digests (path, size, mtime_ns, inode, digest) VALUES (?, ?, ?, ?, ?)"
        self._guarded(lambda c: c.execute(statement, (*_identity(identity), digest)), None)

    def refresh(self) -> None:
        """Take in every run that changed since it was indexed, forget those that are gone."""
        self._refreshed = True
        known: dict[str, str] = self._guarded(
            lambda c: dict(c.execute("SELECT id, signature FROM runs").fetchall()), {}
        )
        folders = [folder for folder in (self._home / "runs").glob("*") if (folder / "ledger.db").is_file()]
        for run in known.keys() - {folder.name for folder in folders}:
            self.forget(run)
        for folder in folders:
            paths = RunPaths(self._home, folder.name)
            if known.get(paths.id) != _signature(paths):
                self.index_run(paths)

    def index_run(self, paths: RunPaths) -> None:
        """Take in the results that a run has now."""
        self._guarded(lambda c: _index(c, paths), None)

    def forget(self, run: str) -> None:
        """Drop a run."""
        self._guarded(lambda c: _forget(c, run), None)

    def _guarded(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Do something with the file; `otherwise` when it cannot be used. A damaged one is made anew, once."""
        for last in (False, True):
            try:
                if self._connection is None:
                    self._connection = _open(self._file)
                return work(self._connection)
            except (sqlite3.Error, OSError) as error:
                if not self._told:
                    _log.warning("the index `%s` could not be used: %s", self._file, error)
                self._told = True
                if last or not any(sign in str(error) for sign in _BROKEN):
                    return otherwise
                self._discard()
        return otherwise

    def _discard(self) -> None:
        self.close()
        self._refreshed = False
        for suffix in ("", "-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, uri=True, isolation_level=None, check_same_thread=False)
    try:
        # losing the last entries costs a rebuild: no need to wait for the disk
        connection.executescript(f"PRAGMA busy_timeout = {_BUSY_MS}; PRAGMA synchronous = OFF")
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            _make(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:  # another process may have been first
            for table in ("runs", "keys", "digests"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
    finally:
        connection.execute("COMMIT")


def _index(connection: sqlite3.Connection, paths: RunPaths) -> None:
    signature = _signature(paths)  # before reading: what comes later is read the next time
    connection.execute("ATTACH DATABASE ? AS ledger", (f"file:{quote(str(paths.ledger))}?mode=ro",))
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            _copy_keys(connection, paths.id, signature)
        finally:
            connection.execute("COMMIT" if connection.in_transaction else "SELECT 1")
    finally:
        connection.execute("DETACH DATABASE ledger")


def _copy_keys(connection: sqlite3.Connection, run: str, signature: str) -> None:
    name, created, tick = connection.execute("SELECT name, created, tick FROM ledger.run").fetchone()
    known = connection.execute("SELECT number, tick FROM runs WHERE id = ? AND created = ?", (run, created)).fetchone()
    if known is None:
        connection.execute("DELETE FROM keys WHERE run IN (SELECT number FROM runs WHERE id = ?)", (run,))
        connection.execute(
            "INSERT OR REPLACE INTO runs (id, name, created, tick, signature) VALUES (?, ?, ?, 0, '')",
            (run, name, created),
        )
        known = (connection.execute("SELECT number FROM runs WHERE id = ?", (run,)).fetchone()[0], -1)
    connection.execute(
        "INSERT OR REPLACE INTO keys (key, run, job) SELECT key, ?, min(number) FROM ledger.jobs"
        " WHERE state = 'succeeded' AND key IS NOT NULL AND tick > ? GROUP BY key",
        known,
    )
    connection.execute("UPDATE runs SET tick = ?, signature = ? WHERE number = ?", (tick, signature, known[0]))


def _forget(connection: sqlite3.Connection, run: str) -> None:
    connection.execute("DELETE FROM keys WHERE run IN (SELECT number FROM runs WHERE id = ?)", (run,))
    connection.execute("DELETE FROM runs WHERE id = ?", (run,))


def _identity(identity: FileIdentity) -> tuple[bytes, int, int, str]:
    # an inode may need all of 64 bits, one more than SQLite's integers have
    return (os.fsencode(identity.path), identity.size, identity.mtime_ns, str(identity.inode))


def _signature(paths: RunPaths) -> str:
    """What changes whenever the ledger does."""
    log = paths.ledger.with_name(paths.ledger.name + "-wal")
    found = []
    for file in (paths.ledger, log):
        try:
            stat = file.stat()
        except FileNotFoundError:
            continue
        if stat.st_size:
            found.append(f"{stat.st_mtime_ns}:{stat.st_size}")
    return " ".join(found)
