"""The end of writing: the ledger becomes one plain file, with a digest beside it by which damage shows later."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from batchmill.ledger.database import connect_reader, connect_writer
from batchmill.ledger.paths import RunPaths


def make_plain(paths: RunPaths) -> None:
    """Fold the write-ahead log into the ledger and note its digest. The caller holds the lease and has it closed.

    A reader or a full disk may prevent it: the log is as durable as the ledger, and the next end tries again.
    """
    with suppress(sqlite3.Error, OSError):
        with closing(connect_reader(paths.ledger)) as connection:
            plain = connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        if plain and paths.checksum.exists():
            return
        with closing(connect_writer(paths.ledger)) as connection:
            connection.execute("PRAGMA busy_timeout = 200")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            plain = connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        if plain:
            paths.checksum.write_text(f"{digest_of(paths.ledger)}  {paths.ledger.name}\n")


def digest_of(path: Path) -> str:
    """The hex SHA-256 of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
