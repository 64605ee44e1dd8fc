"""Ledgers of other versions."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from batchmill.errors import LedgerError
from batchmill.ledger.lease import acquire
from batchmill.ledger.migrations import SCHEMA_VERSION, migrate
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from tests.ledger.conftest import ask, ending, planned, writing

NEWEST = SCHEMA_VERSION + 2


def add_weight(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE jobs ADD COLUMN weight REAL")


def fill_weight(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE jobs SET weight = 2.5")


def fail(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT nonsense FROM nowhere")


@pytest.fixture
def older(paths: RunPaths) -> RunPaths:
    with writing(paths) as written:
        written.plan(planned(1))
        written.write(*ending(1))
    return paths


def version(paths: RunPaths) -> int:
    with closing(sqlite3.connect(paths.ledger)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_an_older_ledger_is_brought_up_and_the_former_file_kept(older: RunPaths) -> None:
    steps = [(SCHEMA_VERSION + 1, add_weight), (NEWEST, fill_weight)]
    assert migrate(older.ledger, steps, NEWEST)
    assert version(older) == NEWEST
    with closing(sqlite3.connect(older.ledger)) as connection:
        assert connection.execute("SELECT state, weight FROM jobs").fetchall() == [("succeeded", 2.5)]
    kept = older.folder / f"ledger.db.v{SCHEMA_VERSION}"
    with LedgerReader(kept) as reader:
        assert reader.run().id == older.id
    assert not migrate(older.ledger, steps, NEWEST)


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(older: RunPaths) -> None:
    with pytest.raises(LedgerError, match="cannot be used"):
        migrate(older.ledger, [(SCHEMA_VERSION + 1, add_weight), (NEWEST, fail)], NEWEST)
    assert version(older) == SCHEMA_VERSION
    assert "weight" not in str(ask(older, "SELECT sql FROM sqlite_schema WHERE name = 'jobs'"))


def test_a_newer_ledger_is_refused_with_a_hint(older: RunPaths) -> None:
    with closing(sqlite3.connect(older.ledger)) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST}")
    for use in (lambda: acquire(older), lambda: LedgerReader(older.ledger)):
        with pytest.raises(LedgerError, match=f"version {NEWEST}") as refused:
            use()
        assert "update Batchmill" in str(refused.value.hint)


def test_a_new_ledger_is_of_the_newest_version(paths: RunPaths) -> None:
    assert version(paths) == SCHEMA_VERSION
    assert not migrate(paths.ledger)
