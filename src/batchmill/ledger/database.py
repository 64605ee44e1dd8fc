"""How ledgers are opened: the settings of the one writing connection and of the many reading ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from batchmill.errors import LedgerError

Durability = Literal["power", "process"]

_CHECKPOINT_PAGES = 4000  # 16 MB: every checkpoint writes a page once, however often it changed since the last
_CACHE_KIB = 16_000
_BUSY_MS = 5_000


def connect_writer(ledger: Path, durability: Durability = "power") -> sqlite3.Connection:
    """The writing connection of a ledger that exists; transactions are begun and ended by hand.

    The caller holds the lease. The connection may be handed to another thread, to one at a time.
    """
    uri = f"file:{quote(str(ledger))}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    synchronous = "FULL" if durability == "power" else "NORMAL"
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        connection.close()
        raise sqlite3.OperationalError("write-ahead logging is not possible on this file system")
    connection.executescript(
        f"PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA temp_store = MEMORY;"
        f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}; PRAGMA journal_size_limit = {4096 * _CHECKPOINT_PAGES}"
    )
    return connection


def connect_reader(ledger: Path) -> sqlite3.Connection:
    """A connection that can only read and never checkpoints."""
    uri = f"file:{quote(str(ledger))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    if _has_hot_journal(connection):
        _roll_back(ledger)
    connection.executescript(f"PRAGMA busy_timeout = {_BUSY_MS}; PRAGMA query_only = 1; PRAGMA wal_autocheckpoint = 0")
    return connection


def _has_hot_journal(connection: sqlite3.Connection) -> bool:
    """Whether a driver was killed while it turned the write-ahead log on or off: for a moment SQLite keeps another
    journal then (https://www.sqlite.org/lockingv3.html, section 4), which a connection that only reads cannot undo."""
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.Error as error:  # anything else shows at the first query
        return error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK
    return False


def _roll_back(ledger: Path) -> None:
    """Undo what a dead driver began. SQLite's locks keep this from touching what a live one does."""
    with closing(sqlite3.connect(f"file:{quote(str(ledger))}?mode=rw", uri=True)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One writing transaction: committed at the end of the block, rolled back by any exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def storable(text: str) -> str:
    """Text as SQLite can hold it: lone surrogates (of file names that are no UTF-8) become `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@contextmanager
def ledger_errors(ledger: Path) -> Iterator[None]:
    """Turns what SQLite raises into a LedgerError that names the ledger."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(
            f"the ledger `{ledger}` cannot be used: {error}", hint="`batchmill verify` says what is damaged"
        ) from error
