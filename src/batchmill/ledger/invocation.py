"""Changes to a run that no driver works on: continuing, retrying, cancelling. The caller holds the lease.

While a driver lives, the journal alone writes, and such wishes are `requests`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from urllib.parse import quote

from batchmill.ledger.counting import counted
from batchmill.ledger.database import connect_writer, ledger_errors, transaction
from batchmill.ledger.facts import Linked
from batchmill.ledger.files import RunFiles
from batchmill.ledger.garbage import clean_tmp
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.queries import SQL
from batchmill.model.states import RunState


def prepare_invocation(paths: RunPaths, *, keep_failed: bool = False) -> None:
    """Make a run ready to be continued, after whatever ended its last driver.

    Failed jobs are pending again with a fresh retry count and their history (with `keep_failed` they are left);
    quarantined ones wait for `retry_jobs`. Calls that were open are `unknown`, slots and `tmp/` are empty.
    """
    _link_again(paths)
    clean_tmp(paths)
    with _writing(paths) as (connection, tick):
        connection.execute("DELETE FROM slots")
        connection.execute("UPDATE calls SET state = 'unknown', closed = ? WHERE state = 'reserved'", (time.time(),))
        if not keep_failed:
            _reset(connection, tick, _failed(connection, "NOT quarantined"))
        _forget_unfinished(connection)


def retry_jobs(paths: RunPaths, numbers: Iterable[int] | None = None) -> int:
    """Make ended jobs pending again, quarantined ones too: those given, or all that failed. Returns how many."""
    with _writing(paths) as (connection, tick):
        wanted = _failed(connection) if numbers is None else list(numbers)
        changed = _reset(connection, tick, wanted)
        _forget_unfinished(connection)
    return changed


def cancel_job(paths: RunPaths, number: int) -> bool:
    """Cancel a pending job; False when it is not pending."""
    with _writing(paths) as (connection, tick), counted(connection, [number]):
        return connection.execute(SQL["job_cancelled"], (time.time(), tick, number)).rowcount == 1


def settle_calls(paths: RunPaths, *, billed: bool = False) -> tuple[int, int]:
    """Close the calls whose end nobody knows: released, or with `billed` settled at their maximum.

    Returns how many, and the micro-cents that they held.
    """
    with _writing(paths) as (connection, _):
        query = "SELECT count(*), coalesce(sum(cost), 0) FROM calls WHERE state IN ('unknown', 'reserved')"
        ((calls, held),) = connection.execute(query).fetchall()
        if billed:
            connection.execute("UPDATE run SET spent = spent + ?", (held,))
        connection.execute(
            "UPDATE calls SET state = ?, cost = cost * ?, closed = coalesce(closed, ?)"
            " WHERE state IN ('unknown', 'reserved')",
            ("settled" if billed else "released", billed, time.time()),
        )
    return calls, held


def set_run_state(paths: RunPaths, state: RunState, reason: str = "") -> None:
    """Say how a run stands that nobody works on: `cancelled`, `superseded`. Its jobs stay as they are."""
    with _writing(paths) as (connection, _):
        connection.execute("UPDATE run SET state = ?, reason = ?", (state.value, reason))


def copy_steps(paths: RunPaths, earlier: RunPaths) -> int:
    """Take over the finished steps of an earlier run whose jobs have no result; returns how many."""
    with _writing(paths, attached=earlier) as (connection, _):
        return connection.execute(
            "INSERT OR IGNORE INTO steps SELECT * FROM earlier.steps AS step WHERE NOT EXISTS (SELECT 1 FROM"
            " earlier.jobs WHERE key_start = substr(step.key, 1, 8) AND key = step.key"
            " AND state = 'succeeded')"
        ).rowcount


@contextmanager
def _writing(paths: RunPaths, attached: RunPaths | None = None) -> Iterator[tuple[sqlite3.Connection, int]]:
    """One transaction on the ledger, with its tick."""
    with ledger_errors(paths.ledger), closing(connect_writer(paths.ledger)) as connection:
        if attached is not None:
            connection.execute("ATTACH DATABASE ? AS earlier", (f"file:{quote(str(attached.ledger))}?mode=ro",))
        with transaction(connection):
            ((tick,),) = connection.execute(SQL["next_tick"]).fetchall()
            yield connection, tick


def _failed(connection: sqlite3.Connection, where: str = "true") -> list[int]:
    query = f"SELECT number FROM jobs WHERE state = 'failed' AND state NOT IN ('pending', 'succeeded') AND {where}"
    return [number for (number,) in connection.execute(query)]


def _reset(connection: sqlite3.Connection, tick: int, numbers: Sequence[int]) -> int:
    with counted(connection, numbers):
        return connection.executemany(SQL["job_reset"], [(None, tick, number) for number in numbers]).rowcount


def _forget_unfinished(connection: sqlite3.Connection) -> None:
    """Artifacts of jobs that will run again, and what hooks made of results that will be more."""
    connection.execute(
        "DELETE FROM artifacts WHERE hook = '' AND job IN (SELECT number FROM jobs WHERE state = 'pending')"
    )
    unfinished = "EXISTS (SELECT 1 FROM jobs WHERE state = 'pending') OR (SELECT NOT plan_done FROM run)"
    connection.execute(f"DELETE FROM hooks WHERE hook IN ('summarise', 'report') AND ({unfinished})")
    connection.execute("DELETE FROM artifacts WHERE hook <> '' AND hook NOT IN (SELECT hook || ':' || task FROM hooks)")


def _link_again(paths: RunPaths) -> None:
    """Links are made after each commit and before the next: only those of the last one can be missing."""
    files = RunFiles(paths, durable=False)
    with ledger_errors(paths.ledger), closing(connect_writer(paths.ledger)) as connection:
        rows = connection.execute(
            "SELECT coalesce(nullif(hook, ''), job), name, digest FROM artifacts WHERE hook <> '' OR job IN"
            " (SELECT number FROM jobs WHERE tick = (SELECT tick FROM run))"
        ).fetchall()
    for owner, name, digest in rows:
        files.link(Linked(str(owner), name, digest))
