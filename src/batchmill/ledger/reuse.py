"""Copying results of jobs with the same key, from this run's ledger or another's. Which job is a source is
decided elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from batchmill.ledger.database import connect_reader
from batchmill.ledger.facts import Batch, Linked
from batchmill.ledger.files import RunFiles
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.queries import write_rows
from batchmill.model.facts import JobCached
from batchmill.model.jobs import Source
from batchmill.model.states import FailureKind, JobState

_MOST_OPEN = 8

_AT_ONCE = 500
_RESULTS = (
    "SELECT number, result, result_object, metrics FROM json_each(?) CROSS JOIN jobs ON number = value"
    " WHERE state = 'succeeded'"
)
_ARTIFACTS = (
    "SELECT job, name, digest, size FROM json_each(?) CROSS JOIN artifacts ON job = json_each.value WHERE hook = ''"
)


class _Known(NamedTuple):
    """A result as a ledger has it: result, object and metrics; name, digest and size of each artifact."""

    result: tuple[str | None, str | None, str | None]
    artifacts: list[tuple[str, str, int]]

    @property
    def objects(self) -> list[str]:
        digests = [digest for _, digest, _ in self.artifacts]
        return digests if self.result[1] is None else [*digests, self.result[1]]


def _read(ledger: sqlite3.Connection, jobs: str) -> dict[int, _Known]:
    known = {job: _Known(tuple(result), []) for job, *result in ledger.execute(_RESULTS, (jobs,))}
    for job, *artifact in ledger.execute(_ARTIFACTS, (jobs,)):
        if job in known:
            known[job].artifacts.append(tuple(artifact))
    return known


class Reuse:
    """Writes cached jobs; keeps the ledgers of their sources open."""

    def __init__(self, paths: RunPaths, connection: sqlite3.Connection, files: RunFiles) -> None:
        self._paths = paths
        self._connection = connection
        self._files = files
        self._open: dict[str, sqlite3.Connection] = {}

    def apply(self, batch: Batch, offset: float) -> None:
        """Write each cached job, or its failure when the source is gone, within the transaction that is open."""
        waiting: Sequence[JobCached] = batch.cached
        while waiting:
            # a source may itself be a cached job of this transaction
            left = [fact for facts in _pieces(waiting) for fact in self._write(batch, facts, offset)]
            if len(left) == len(waiting):
                write_rows(self._connection, "job_ended", [self._gone(batch.tick, f, offset) for f in left])
                return
            waiting = left

    def _write(self, batch: Batch, facts: Sequence[JobCached], offset: float) -> list[JobCached]:
        """Write what can be; returns the facts without a source."""
        found = self._find({fact.source for fact in facts})
        rows, artifacts, left = [], [], []
        for fact in facts:
            known = found.get(fact.source)
            if known is None:
                left.append(fact)
                continue
            run = fact.source.run or self._paths.id
            rows.append((run, fact.source.job, *known.result, fact.at + offset, batch.tick, fact.job))
            artifacts += [(fact.job, "", *artifact) for artifact in known.artifacts]
            batch.links += [Linked(str(fact.job), name, digest) for name, digest, _ in known.artifacts]
        write_rows(self._connection, "job_cached", rows)
        write_rows(self._connection, "artifact", artifacts)
        return left

    def close(self) -> None:
        """Close the ledgers of the sources."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _find(self, sources: set[Source]) -> dict[Source, _Known]:
        """What the sources have, of those that are still whole. Their objects are pinned."""
        found: dict[Source, _Known] = {}
        for run in {source.run for source in sources}:
            with suppress(sqlite3.Error):  # a ledger that cannot be read is as good as gone
                jobs = json.dumps([source.job for source in sources if source.run == run])
                found |= {Source(run, job): known for job, known in _read(self._ledger(run), jobs).items()}
        return {source: known for source, known in found.items() if all(map(self._files.pin, known.objects))}

    def _ledger(self, run: str) -> sqlite3.Connection:
        if run in ("", self._paths.id):
            return self._connection
        if run not in self._open:
            while len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[run] = connect_reader(RunPaths(self._paths.home, run).ledger)
        return self._open[run]

    def _gone(self, tick: int, fact: JobCached, offset: float) -> tuple[object, ...]:
        run, job = fact.source
        message = f"the result that it was to reuse (job {job} of run `{run or self._paths.id}`) is gone: run again"
        said = (JobState.FAILED.value, FailureKind.ERROR.value, message, 0)
        return (*said, 0, 0, None, None, None, None, None, None, None, fact.at + offset, tick, fact.job)


def _pieces(facts: Sequence[JobCached]) -> Iterator[Sequence[JobCached]]:
    return (facts[start : start + _AT_ONCE] for start in range(0, len(facts), _AT_ONCE))
