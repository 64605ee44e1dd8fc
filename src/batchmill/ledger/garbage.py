"""What may be deleted: objects that no ledger names and no live run is about to name, and what the dead left behind."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from batchmill.errors import LedgerError, RunHeld
from batchmill.ledger.database import connect_reader
from batchmill.ledger.lease import idle
from batchmill.ledger.objects import PREFIX, ObjectStore
from batchmill.ledger.paths import RunPaths

TRASH = ".trash"
_MAKING_S = 3600.0  # a folder without a ledger that is younger may be a run that is being made

_REFERENCES = (
    "SELECT result_object FROM jobs WHERE result_object IS NOT NULL",
    "SELECT digest FROM artifacts",
    f"SELECT substr(params, {len(PREFIX) + 1}) FROM jobs WHERE params LIKE '{PREFIX}%'",
    f"SELECT substr(value, {len(PREFIX) + 1}) FROM steps WHERE value LIKE '{PREFIX}%'",
    f"SELECT substr(result, {len(PREFIX) + 1}) FROM hooks WHERE result LIKE '{PREFIX}%'",
)


def collect(home: Path, runs: Callable[[], list[RunPaths]]) -> int:
    """Delete what is not needed; returns the bytes freed. Raises LedgerError when a ledger cannot be read: nothing
    is deleted then, as what it names is unknown."""
    freed = sum(_clean(paths) for paths in runs()) + _sweep_runs(home)
    objects = ObjectStore(home / "objects")
    with objects.exclusive():
        # in this order: a pin that is gone by now was removed after the commit that the ledgers show
        candidates = list(objects.all())
        pinned = {_inode(pin) for paths in runs() for pin in paths.tmp.glob("*")}
        wanted = {digest for paths in runs() for digest in references(paths)}
        return freed + sum(
            _delete(file)
            for file in candidates
            if file.parent.name + file.name not in wanted and _inode(file) not in pinned
        )


def references(paths: RunPaths) -> Iterator[str]:
    """The digests of all objects that a run names. Raises LedgerError."""
    try:
        with closing(connect_reader(paths.ledger)) as connection:
            for query in _REFERENCES:
                for (digest,) in connection.execute(query):
                    yield digest
    except sqlite3.Error as error:
        raise LedgerError(
            f"the ledger of run `{paths.id}` cannot be read: {error}",
            hint=f"`batchmill verify {paths.id}` says what is damaged; `batchmill rm {paths.id}` removes the run",
        ) from error


def clean_tmp(paths: RunPaths) -> int:
    """Delete what is left in a run's `tmp/`, by whoever holds the run; returns the bytes freed."""
    return sum(_delete(file) for file in paths.tmp.glob("*"))


def _clean(paths: RunPaths) -> int:
    if not paths.tmp.is_dir() or next(paths.tmp.iterdir(), None) is None:
        return 0
    try:
        with idle(paths):
            return clean_tmp(paths)
    except RunHeld:
        return 0


def _sweep_runs(home: Path) -> int:
    """Remove runs that were half deleted, or never wholly made."""
    freed = 0
    for folder in (home / "runs").iterdir():
        unmade = not (folder / "ledger.db").exists() and folder.stat().st_mtime < time.time() - _MAKING_S
        if folder.name.endswith(TRASH) or (unmade and folder.is_dir()):
            freed += sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
            shutil.rmtree(folder, ignore_errors=True)
    return freed


def _inode(file: Path) -> int:
    try:
        return file.stat().st_ino
    except FileNotFoundError:  # a pin that was just removed
        return -1


def _delete(file: Path) -> int:
    """Remove a file or folder; returns the bytes freed, 0 while it has another name."""
    try:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
            return 0
        stat = file.lstat()
        file.unlink()
    except FileNotFoundError:
        return 0
    return stat.st_size if stat.st_nlink == 1 else 0
