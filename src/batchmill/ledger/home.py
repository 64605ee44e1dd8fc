"""The home: a folder of runs and of the objects they share. Who writes a run is `lease`'s affair."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from batchmill.errors import HomeError, LedgerError, RunNotFound, UsageError
from batchmill.ledger import garbage
from batchmill.ledger.database import connect_reader, connect_writer, transaction
from batchmill.ledger.filesystems import refuse_network
from batchmill.ledger.index import HomeIndex
from batchmill.ledger.lease import holder, idle
from batchmill.ledger.migrations import create_schema
from batchmill.ledger.objects import FileLock, ObjectStore, sync_folder
from batchmill.ledger.paths import RunPaths, safe_file_name
from batchmill.model.near import did_you_mean
from batchmill.model.states import RunState

_ID = re.compile(r"(.+)-([1-9]\d*)", re.DOTALL)
_ALIVE = (RunState.PLANNING, RunState.RUNNING)


class RunInfo(NamedTuple):
    """A run in a list. `counts` is keyed by job state, `cached` and `retried`; times are wall seconds."""

    id: str
    name: str
    ordinal: int
    task: str
    state: RunState
    created: float
    finished: float | None
    counts: dict[str, int]


class NewRun(NamedTuple):
    """What a run's row says from the start. `provenance` is JSON."""

    name: str
    task: str
    plan_digest: str
    folder: str  # what relative paths of the manifest mean
    seed: int = 0
    provenance: str = "{}"
    manifest: str = ""  # its text, kept as `manifest.yaml`


class Home:
    """The folder that holds the runs; made when it is absent.

    Raises HomeError when it is on a network file system or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        refuse_network(self.path)
        try:
            for folder in (self.path, self.path / "runs", self.path / "objects"):
                folder.mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            if error.errno == errno.EROFS and (self.path / "runs").is_dir():
                return  # what is there can be read
            raise HomeError(
                f"the home `{self.path}` cannot be used: {error.strerror}",
                hint="choose another folder: `--home DIR` or `BATCHMILL_HOME`",
            ) from error

    @property
    def objects(self) -> ObjectStore:
        """The objects of all runs."""
        return ObjectStore(self.path / "objects")

    def paths(self, run: str) -> RunPaths:
        """The files of the run with this id, whether it exists or not."""
        return RunPaths(self.path, run)

    def all_paths(self) -> list[RunPaths]:
        """All runs that have a ledger, by folder name."""
        found = (RunPaths(self.path, folder.name) for folder in sorted((self.path / "runs").iterdir()))
        return [paths for paths in found if paths.ledger.is_file()]

    def runs(self) -> list[RunInfo]:
        """All runs whose ledger can be read, oldest first. One whose driver died is shown `interrupted`."""
        found = [info for paths in self.all_paths() if (info := run_info(paths)) is not None]
        return sorted(found, key=lambda info: (info.created, info.name, info.ordinal))

    def find(self, reference: str) -> RunPaths:
        """The run with this id, the newest run of this name, or `last`, the newest of all. Raises RunNotFound."""
        exact = RunPaths(self.path, safe_file_name(reference))
        if exact.ledger.is_file():
            return exact
        of_name = self.runs_of(reference)
        if of_name:
            return of_name[-1]
        runs = self.runs()
        if reference == "last" and runs:
            return RunPaths(self.path, runs[-1].id)
        raise RunNotFound(
            f"there is no run `{reference}` in `{self.path}`",
            hint=did_you_mean(reference, [name for run in runs for name in (run.id, run.name)])
            or "`batchmill ls` lists the runs",
        )

    def runs_of(self, name: str) -> list[RunPaths]:
        """The runs of a name, oldest first."""
        stem = safe_file_name(name)
        found = (RunPaths(self.path, f"{stem}-{ordinal}") for ordinal in sorted(self._ordinals(stem)))
        return [paths for paths in found if paths.ledger.is_file()]

    def create_run(self, run: NewRun) -> RunPaths:
        """Make the next run of a name, in state `planning`; of two callers at once each gets a run of its own.

        Raises UsageError when the name's runs are of another task, HomeError when it cannot be written.
        """
        self._refuse_other_task(run)
        stem = safe_file_name(run.name)
        try:
            paths, ordinal = self._claim_folder(stem)
            for folder in (paths.requests, paths.tmp, paths.logs, paths.out):
                folder.mkdir()
            if run.manifest:
                paths.manifest.write_text(run.manifest, "utf-8")
            _create_ledger(paths, run, ordinal)
            sync_folder(paths.folder)
            sync_folder(paths.folder.parent)
        except (OSError, sqlite3.Error) as error:
            raise HomeError(f"the home `{self.path}` cannot take a new run: {error}") from error
        return paths

    def choosing(self) -> FileLock:
        """While it lasts nobody else decides which run a batch continues, or whether it needs a new one."""
        return FileLock(self.path / ".lock", fcntl.LOCK_EX)

    def remove(self, run: RunPaths) -> None:
        """Delete a run; its objects go with the next `gc`. Raises RunHeld while a process works on it."""
        with idle(run):
            trash = run.folder.with_name(f".{run.id}.{os.getpid()}{garbage.TRASH}")
            run.folder.rename(trash)
        with HomeIndex(self.path) as index:
            index.forget(run.id)
        shutil.rmtree(trash)

    def gc(self) -> int:
        """Delete what no run needs any more; returns the bytes that were freed. Live runs are left alone."""
        return garbage.collect(self.path, self.all_paths)

    def _ordinals(self, stem: str) -> set[int]:
        matches = (_ID.fullmatch(folder.name) for folder in (self.path / "runs").iterdir())
        return {int(match[2]) for match in matches if match and match[1] == stem}

    def _claim_folder(self, stem: str) -> tuple[RunPaths, int]:
        ordinal = max(self._ordinals(stem), default=0)
        while True:
            ordinal += 1
            paths = RunPaths(self.path, f"{stem}-{ordinal}")
            try:
                paths.folder.mkdir()
            except FileExistsError:
                continue
            return paths, ordinal

    def _refuse_other_task(self, run: NewRun) -> None:
        earlier = [info for paths in self.runs_of(run.name)[-1:] if (info := run_info(paths)) is not None]
        if earlier and earlier[0].task != run.task:
            raise UsageError(
                f"`{run.name}` is a name of runs of task `{earlier[0].task}`, not `{run.task}`",
                hint="give this batch another name: `name:` in the manifest, or `--name`",
                code="run/other-task",
            )


def run_info(paths: RunPaths) -> RunInfo | None:
    """A run as it is listed; None when its ledger cannot be read (`verify` says why)."""
    try:
        with closing(connect_reader(paths.ledger)) as connection:
            row = connection.execute("SELECT name, ordinal, task, state, created, finished FROM run").fetchone()
            counts = dict(connection.execute("SELECT state, sum(n) FROM counts GROUP BY state"))
        name, ordinal, task, state, created, finished = row
        return RunInfo(paths.id, name, ordinal, task, _shown(paths, RunState(state)), created, finished, counts)
    except (sqlite3.Error, TypeError, ValueError):
        return None


def _shown(paths: RunPaths, state: RunState) -> RunState:
    """The state that people see: a live state without a living driver is an interruption."""
    try:
        interrupted = state in _ALIVE and holder(paths) is None
    except LedgerError:
        return state
    return RunState.INTERRUPTED if interrupted else state


def _create_ledger(paths: RunPaths, run: NewRun, ordinal: int) -> None:
    """Make the ledger under another name first: a folder without `ledger.db` is no run yet."""
    new = paths.ledger.with_suffix(".new")
    new.touch()
    with closing(connect_writer(new)) as connection:
        create_schema(connection)
        with transaction(connection):
            connection.execute(
                "INSERT INTO run (id, name, ordinal, task, plan_digest, state, created, folder, seed, provenance)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    paths.id,
                    run.name,
                    ordinal,
                    run.task,
                    run.plan_digest,
                    RunState.PLANNING.value,
                    time.time(),
                    run.folder,
                    run.seed,
                    run.provenance,
                ),
            )
        connection.execute("PRAGMA journal_mode = DELETE")
    new.rename(paths.ledger)
