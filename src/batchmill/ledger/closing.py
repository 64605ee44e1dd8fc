"""The end of writing: the ledger becomes one plain file, with a digest beside it by which damage shows later."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import suppress
from pathlib import Path

from batchmill.ledger.paths import RunPaths


def close_cleanly(connection: sqlite3.Connection, paths: RunPaths, *, whole: bool) -> None:
    """Close the writing connection. A reader, a full disk or facts that are missing leave a write-ahead log behind."""
    plain = False
    with suppress(sqlite3.Error):  # the log beside the ledger is as durable as the ledger
        if whole:
            connection.execute("PRAGMA busy_timeout = 200")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            plain = connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    connection.close()
    if plain:
        with suppress(OSError):
            paths.checksum.write_text(f"{digest_of(paths.ledger)}  {paths.ledger.name}\n")


def digest_of(path: Path) -> str:
    """The hex SHA-256 of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
