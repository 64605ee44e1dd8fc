"""Whether a run is what it should be: its ledger, its objects, its logs. Damage is named, never raised."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from batchmill.errors import LedgerError
from batchmill.ledger.closing import digest_of
from batchmill.ledger.database import connect_reader
from batchmill.ledger.garbage import references
from batchmill.ledger.lease import holder
from batchmill.ledger.migrations import check_version, version_of
from batchmill.ledger.objects import ObjectStore
from batchmill.ledger.paths import RunPaths
from batchmill.model.text import counted

_MOST = 100  # findings of one kind
_KINDS = "('error', 'timeout', 'memory', 'crashed', 'invalid', 'limit')"
_JOB = "'job ' || number || ' (`' || name || '`)'"

# code, what is wrong, and a query for what it is wrong with
_CHECKS: tuple[tuple[str, str, str], ...] = (
    (
        "job/state",
        "is in no legal state",
        f"SELECT {_JOB} FROM jobs WHERE state NOT IN ('pending', 'succeeded', 'failed', 'skipped', 'cancelled')"
        f" OR (state = 'failed') <> (coalesce(kind, '') IN {_KINDS})"
        " AND state IN ('pending', 'succeeded', 'failed') OR (due IS NOT NULL AND state <> 'pending')"
        " OR (state = 'pending' AND finished IS NOT NULL) OR (state <> 'pending' AND finished IS NULL)",
    ),
    (
        "job/result",
        "succeeded without a result, or has two",
        f"SELECT {_JOB} FROM jobs WHERE (state = 'succeeded') AND (result IS NULL) = (result_object IS NULL)",
    ),
    (
        "job/json",
        "holds text that is no JSON",
        f"SELECT {_JOB} FROM jobs WHERE NOT (params LIKE 'object:%' OR json_valid(params))"
        " OR NOT json_valid(coalesce(metrics, '{}')) OR NOT json_valid(coalesce(result, '{}'))",
    ),
    (
        "job/task",
        "is of a task that is not recorded",
        f"SELECT {_JOB} FROM jobs WHERE binding NOT IN (SELECT id FROM bindings)",
    ),
    (
        "job/attempts",
        "succeeded without a successful attempt",
        f"SELECT {_JOB} FROM jobs WHERE state = 'succeeded' AND NOT cached AND NOT EXISTS"
        " (SELECT 1 FROM attempts WHERE job = jobs.number AND attempts.state = 'succeeded')",
    ),
    (
        "attempt/number",
        "is not consistent with its job",
        "SELECT 'attempt ' || a.number || ' of job ' || a.job FROM attempts AS a LEFT JOIN jobs ON jobs.number = a.job"
        " WHERE jobs.number IS NULL OR a.number < 1 OR a.number > jobs.total_attempts OR a.wall_s < 0",
    ),
    (
        "run/plan",
        "has not as many jobs as were planned",
        "SELECT 'run `' || id || '`' FROM run WHERE planned <> (SELECT count(*) FROM jobs)",
    ),
    (
        "counts",
        "is not what the jobs add up to",
        "SELECT 'count of `' || state || '` in group `' || grp || '`' FROM (SELECT grp, state, n FROM counts"
        " UNION ALL SELECT coalesce(grp, ''), state, -count(*) FROM jobs GROUP BY 1, 2"
        " UNION ALL SELECT coalesce(grp, ''), 'cached', -sum(cached) FROM jobs GROUP BY 1"
        " UNION ALL SELECT coalesce(grp, ''), 'retried', -sum(total_attempts > 1) FROM jobs GROUP BY 1)"
        " GROUP BY grp, state HAVING sum(n) <> 0",
    ),
)


class Finding(NamedTuple):
    """Something that is wrong: a stable code, with what, and how."""

    code: str
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.subject} {self.message}"


def verify(paths: RunPaths) -> list[Finding]:
    """Everything that is wrong with a run; empty when it is whole. Reads all its objects; raises nothing."""
    found: list[Finding] = []
    for check in (_ledger, _jobs, _objects, _logs):
        try:
            found += check(paths)
        except (sqlite3.Error, LedgerError, OSError, ValueError) as error:
            found.append(Finding("ledger/unreadable", f"ledger of run `{paths.id}`", f"cannot be read: {error}"))
        if any(finding.code.startswith("ledger/") for finding in found):
            break  # what a damaged file says of the rest means nothing
    return found


def _ledger(paths: RunPaths) -> Iterator[Finding]:
    subject = f"ledger of run `{paths.id}`"
    if not paths.ledger.is_file():
        yield Finding("ledger/absent", subject, "does not exist")
        return
    if holder(paths) is None and paths.checksum.is_file():
        told = paths.checksum.read_text().split(" ")[0]
        if told != digest_of(paths.ledger):
            yield Finding("ledger/changed", subject, "is not the file that was closed: its digest is another")
    with closing(connect_reader(paths.ledger)) as connection:
        problems = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_MOST})")]
        if problems != ["ok"]:
            yield Finding("ledger/damaged", subject, f"is damaged: {'; '.join(problems)[:1000]}")
        check_version(paths.ledger, version_of(connection))
        if connection.execute("SELECT count(*) FROM run").fetchone() != (1,):
            yield Finding("ledger/damaged", subject, "holds no run")


def _jobs(paths: RunPaths) -> Iterator[Finding]:
    with closing(connect_reader(paths.ledger)) as connection:
        connection.execute("BEGIN")  # one moment for all checks: the run may be live
        for code, message, query in _CHECKS:
            for (subject,) in connection.execute(f"{query} LIMIT {_MOST}"):
                yield Finding(code, str(subject), message)


def _objects(paths: RunPaths) -> Iterator[Finding]:
    objects = ObjectStore(paths.objects)
    for digest in sorted(set(references(paths))):
        problem = _problem(objects, digest)
        if problem:
            yield Finding("object/damaged", f"object `{digest}` ({_users(paths, digest)})", problem)


def _problem(objects: ObjectStore, digest: str) -> str:
    try:
        return "" if objects.intact(digest) else "is damaged: its content has another digest"
    except FileNotFoundError:
        return "is gone"
    except (OSError, LedgerError) as error:
        return f"cannot be read: {error}"


def _users(paths: RunPaths, digest: str) -> str:
    with closing(connect_reader(paths.ledger)) as connection:
        rows = connection.execute(
            "SELECT name FROM jobs WHERE result_object = ?1 OR params = 'object:' || ?1"
            " UNION SELECT name FROM jobs WHERE number IN (SELECT job FROM artifacts WHERE digest = ?1) LIMIT 4",
            (digest,),
        ).fetchall()
    names = [f"`{name}`" for (name,) in rows]
    return "of " + (", ".join(names[:3]) + (" and others" if len(names) > 3 else "") if names else "a step or a hook")


def _logs(paths: RunPaths) -> Iterator[Finding]:
    with closing(connect_reader(paths.ledger)) as connection:
        rows = connection.execute(
            "SELECT log_file, max(log_end), min(log_end - log_start), min(log_start) FROM attempts"
            " WHERE log_file IS NOT NULL GROUP BY log_file"
        ).fetchall()
    for file, end, shortest, start in rows:
        size = _log_size(paths, file)
        if size is None or size < end or shortest < 0 or start < 0:
            what = "is gone" if size is None else f"has {counted(size, 'byte')}, attempts name {end}"
            yield Finding("log/short", f"log `{file}`", what)


def _log_size(paths: RunPaths, file: str) -> int | None:
    try:
        return os.stat(paths.logs / os.path.basename(file)).st_size
    except OSError:
        return None
