"""The schema's versions: a new ledger is made at the newest, an older one is brought up in one transaction.

`PRAGMA user_version` is a ledger's version. A migration is a function of a connection, listed with the version that
it leads to; before the first one the file is copied beside the ledger.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from batchmill.errors import LedgerError
from batchmill.ledger.database import connect_reader, connect_writer, ledger_errors, transaction

SCHEMA_VERSION = 1

Migration = tuple[int, Callable[[sqlite3.Connection], None]]
MIGRATIONS: tuple[Migration, ...] = ()


def create_schema(connection: sqlite3.Connection) -> None:
    """Make the tables of the newest version in an empty file."""
    schema = files(__package__).joinpath("schema.sql").read_text("utf-8")
    connection.executescript(f"BEGIN; {schema}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")


def version_of(connection: sqlite3.Connection) -> int:
    """The version of an open ledger."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_version(ledger: Path, version: int, newest: int = SCHEMA_VERSION) -> None:
    """Raises LedgerError when a ledger is of a version that this Batchmill cannot know, or is none at all."""
    if version > newest:
        raise LedgerError(
            f"the ledger `{ledger}` has version {version}; this Batchmill knows versions up to {newest}",
            hint="update Batchmill: `pip install --upgrade batchmill`",
            code="ledger/newer",
        )
    if version < 1:
        raise LedgerError(f"`{ledger}` is not a ledger", hint="`batchmill verify` says what is damaged")


def migrate(ledger: Path, migrations: Sequence[Migration] = MIGRATIONS, newest: int = SCHEMA_VERSION) -> bool:
    """Bring a ledger to the newest version; True when it was older. The caller holds the lease.

    The former file is kept as `ledger.db.v1` (its version). Raises LedgerError for a newer one.
    """
    with ledger_errors(ledger):
        connection = connect_reader(ledger)
        try:
            version = version_of(connection)
        finally:
            connection.close()
        check_version(ledger, version, newest)
        if version == newest:
            return False
        _upgrade(ledger, version, migrations)
    return True


def _upgrade(ledger: Path, version: int, migrations: Sequence[Migration]) -> None:
    with closing(connect_writer(ledger)) as connection:
        # what is copied must not have its last transactions in a log beside it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # between two connections: closing any descriptor of the file frees the locks that a connection holds
    shutil.copyfile(ledger, ledger.with_name(f"{ledger.name}.v{version}"))
    with closing(connect_writer(ledger)) as connection, transaction(connection):
        for target, change in migrations:
            if target > version:
                change(connection)
                connection.execute(f"PRAGMA user_version = {target}")
