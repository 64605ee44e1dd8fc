"""Copying results of jobs with the same key, from this run's ledger or another's. Which job is a source is
decided elsewhere.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from batchmill.ledger.database import connect_reader
from batchmill.ledger.facts import Batch, Linked
from batchmill.ledger.files import RunFiles
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.queries import SQL
from batchmill.model.events import JobCached
from batchmill.model.states import FailureKind, JobState

_MOST_OPEN = 8

_Result = tuple[str | None, str | None, str | None]  # result, object, metrics
_Artifacts = list[tuple[str, str, int]]


class Reuse:
    """Writes cached jobs; keeps the ledgers of their sources open."""

    def __init__(self, paths: RunPaths, connection: sqlite3.Connection, files: RunFiles) -> None:
        self._paths = paths
        self._connection = connection
        self._files = files
        self._open: dict[str, sqlite3.Connection] = {}

    def apply(self, batch: Batch, offset: float) -> None:
        """Write each cached job, or its failure when the source is gone, within the transaction that is open."""
        for fact in batch.cached:
            found = self._find(fact)
            finished = fact.at + offset
            if found is None:
                self._gone(batch.tick, fact, finished)
                continue
            result, artifacts = found
            run, source = fact.source
            row = (run or self._paths.id, source, *result, finished, batch.tick, fact.job)
            self._connection.execute(SQL["job_cached"], row)
            self._connection.executemany(SQL["artifact"], [(fact.job, "", *artifact) for artifact in artifacts])
            batch.links += [Linked(str(fact.job), name, digest) for name, digest, _ in artifacts]

    def close(self) -> None:
        """Close the ledgers of the sources."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _find(self, fact: JobCached) -> tuple[_Result, _Artifacts] | None:
        run, job = fact.source
        with suppress(sqlite3.Error):  # a source that cannot be read is as good as gone
            connection = self._ledger(run)
            query = "SELECT result, result_object, metrics FROM jobs WHERE number = ? AND state = 'succeeded'"
            result: _Result | None = connection.execute(query, (job,)).fetchone()
            if result is None:
                return None
            query = "SELECT name, digest, size FROM artifacts WHERE job = ? AND hook = ''"
            artifacts: _Artifacts = connection.execute(query, (job,)).fetchall()
            objects = [digest for _, digest, _ in artifacts] + ([result[1]] if result[1] else [])
            return (result, artifacts) if all(self._files.pin(digest) for digest in objects) else None
        return None

    def _ledger(self, run: str) -> sqlite3.Connection:
        if run in ("", self._paths.id):
            return self._connection
        if run not in self._open:
            while len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[run] = connect_reader(RunPaths(self._paths.home, run).ledger)
        return self._open[run]

    def _gone(self, tick: int, fact: JobCached, finished: float) -> None:
        run, job = fact.source
        message = f"the result that it was to reuse (job {job} of run `{run or self._paths.id}`) is gone: run again"
        said = (str(JobState.FAILED), str(FailureKind.ERROR), message, 0)
        row = (*said, 0, 0, None, None, None, None, None, None, None, finished, tick, fact.job)
        self._connection.execute(SQL["job_ended"], row)
