"""The only door to a ledger for reports, live views and commands: read-only, while the run lives or afterwards.

Every method is one short read transaction, and cursors page by plan number, so that a reader never holds the
write-ahead log of a live run. Records are in `records`; nothing here computes or formats.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from batchmill.errors import LedgerError, RunNotFound, UsageError
from batchmill.ledger.migrations import check_version, version_of
from batchmill.ledger.objects import ObjectStore
from batchmill.report.records import (
    ArtifactView,
    AttemptView,
    CallGroup,
    CallView,
    FailureGroup,
    HookView,
    JobView,
    Message,
    RunInfo,
    SlotView,
    StepView,
    decode,
)

PAGE = 1000
COUNTED = ("pending", "succeeded", "failed", "skipped", "cancelled", "cached", "retried")

_RUN_COLUMNS = (
    "id, name, ordinal, task, plan_digest, state, reason, created, started, finished, active_s, folder, seed,"
    " planned, spent, tick, plan_done, provenance"
)
_JOB_COLUMNS = (
    "number, name, key, state, grp, (SELECT task FROM bindings WHERE id = binding), total_attempts,"
    " coalesce(message, ''), kind, wall_s, cpu_s, peak_rss, started, finished, source_run, source_job,"
    " params, metrics, result, result_object, cached, quarantined"
)
_ATTEMPT_COLUMNS = (
    "number, slot, state, kind, coalesce(message, ''), coalesce(traceback, ''), started, wall_s, cpu_s, peak_rss,"
    " signal, exit_code, exceptions, charged, log_file, log_start, log_end"
)
_FAILED = "state = 'failed' AND state NOT IN ('pending', 'succeeded')"  # the second half lets the index serve
# a model answered, and nobody knew its price: then nothing is told of the price either
_UNPRICED = (
    "calls.state = 'settled' AND failure IS NULL AND cost = 0"
    " AND json_extract(usage, '$.model') IS NOT NULL AND json_extract(usage, '$.price') IS NULL"
)


class RunView:
    """One run, read-only. Use it as a context manager, or let it close with its last reference.

    Raises RunNotFound when the folder holds no ledger, LedgerError when the ledger cannot be read.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = Path(run_folder)
        self.home = self.run_folder.resolve().parent.parent
        self._database = _connect(self.run_folder / "ledger.db")
        self._objects = ObjectStore(self.home / "objects")
        self.close = weakref.finalize(self, self._database.close)
        with _readable(self.run_folder):
            version = version_of(self._database)
        check_version(self.run_folder / "ledger.db", version)

    def __enter__(self) -> RunView:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is asked inside is answered from one and the same moment. Ask little: it holds the log of a live run."""
        self._all("BEGIN")
        try:
            yield
        finally:
            self._all("COMMIT")

    # --- the run ---------------------------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        """The run as a whole, as it stands now."""
        (row,) = self._all(f"SELECT {_RUN_COLUMNS} FROM run")
        *columns, plan_done, provenance = row
        return RunInfo(*[*columns, bool(plan_done), decode(provenance)])

    def counts(self, group: str | None = None) -> dict[str, int]:
        """Jobs by state, and those `cached` and `retried`; of one group (`""`: of jobs without one) or of all."""
        where, given = ("", ()) if group is None else ("WHERE grp = ?", (group,))
        rows = self._all(f"SELECT state, sum(n) FROM counts {where} GROUP BY state", given)
        return dict.fromkeys(COUNTED, 0) | dict(rows)

    def groups(self) -> dict[str, dict[str, int]]:
        """The counts of every group, by name; `""` holds the jobs without one."""
        groups: dict[str, dict[str, int]] = {}
        for group, state, n in self._all("SELECT grp, state, n FROM counts ORDER BY grp"):
            groups.setdefault(group, dict.fromkeys(COUNTED, 0))[state] = n
        return groups

    def failures_by_kind(self, messages: int = 20) -> tuple[FailureGroup, ...]:
        """Failed jobs by kind, most first, each with its most frequent first lines of messages."""
        kinds = self._all(
            f"SELECT coalesce(kind, 'error'), count(*) FROM jobs WHERE {_FAILED} GROUP BY 1 ORDER BY 2 DESC, 1"
        )
        return tuple(FailureGroup(kind, count, self._messages(kind, messages)) for kind, count in kinds)

    def _messages(self, kind: str, most: int) -> tuple[Message, ...]:
        rows = self._all(
            "SELECT substr(line, 1, 300), count(*) AS n, min(number), name FROM (SELECT number, name,"
            " trim(substr(message, 1, instr(message || char(10), char(10)) - 1)) AS line FROM jobs"
            f" WHERE {_FAILED} AND coalesce(kind, 'error') = ?) GROUP BY 1 ORDER BY n DESC, 3 LIMIT ?",
            (kind, most),
        )
        return tuple(Message(text or "", count, name) for text, count, _, name in rows)

    def slowest(self, n: int = 5) -> list[JobView]:
        """The `n` jobs whose last attempt took longest, longest first; cached jobs took no time."""
        return self._top("wall_s", n)

    def peak(self) -> JobView | None:
        """The job whose last attempt had the highest peak memory; None before any job has run."""
        return next(iter(self._top("peak_rss", 1)), None)

    def most_retried(self, n: int = 20) -> list[JobView]:
        """The `n` jobs with most attempts, of those that had more than one."""
        return self._job_views(
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE total_attempts > 1 ORDER BY total_attempts DESC, number LIMIT ?",
            (n,),
        )

    def cached_from(self) -> dict[str, int]:
        """How many jobs took their result from which run, most first; `""` is this run itself."""
        rows = self._all(
            "SELECT coalesce(source_run, ''), count(*) FROM jobs WHERE cached GROUP BY 1 ORDER BY 2 DESC, 1"
        )
        return dict(rows)

    def _top(self, column: str, n: int) -> list[JobView]:
        return self._job_views(
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE {column} IS NOT NULL AND NOT cached"
            f" ORDER BY {column} DESC, number LIMIT ?",
            (n,),
        )

    def running(self) -> list[SlotView]:
        """What the worker slots hold, oldest first."""
        rows = self._all(
            "SELECT slot, job, coalesce(name, ''), attempt, pid, since FROM slots"
            " LEFT JOIN jobs ON jobs.number = slots.job WHERE job != 0 ORDER BY since, slot"
        )
        return [SlotView(*row) for row in rows]

    def hooks(self) -> list[HookView]:
        """What the tasks' hooks (`prepare`, `summarise`, `report`) came to."""
        rows = self._all(
            "SELECT hook, task, state, kind, coalesce(message, ''), coalesce(result, 'null') FROM hooks"
            " ORDER BY hook, task"
        )
        return [HookView(*[*columns, decode(result)]) for *columns, result in rows]

    # --- jobs ------------------------------------------------------------------------------------------------

    def jobs(
        self,
        state: str | None = None,
        group: str | None = None,
        *,
        page: int = PAGE,
        as_of: int | None = None,
    ) -> Iterator[JobView]:
        """Jobs in plan order, of one state or group if given, in memory of one page.

        What changed after tick `as_of` (default: the tick when the cursor starts) is left out: in a live run
        those are jobs that had not ended by then.
        """
        for rows in self.pages(_JOB_COLUMNS, state, group, size=page, as_of=as_of):
            yield from map(self._job_view, rows)

    def pages(
        self,
        columns: str,
        state: str | None = None,
        group: str | None = None,
        *,
        size: int = PAGE,
        as_of: int | None = None,
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Pages of bare columns of the jobs table, the plan number first among them: what statistics scan."""
        where, given = "number > ? AND tick <= ?", list[str | None]()
        if state is not None:
            where, given = f"{where} AND state = ?", [state]
        if group is not None:
            where, given = f"{where} AND grp IS ?", [*given, group or None]
        query = f"SELECT {columns} FROM jobs WHERE {where} ORDER BY number LIMIT {size:d}"
        last, until = 0, self.info.tick if as_of is None else as_of
        while rows := self._all(query, (last, until, *given)):
            yield rows
            last = rows[-1][0]

    def job(self, name_or_number: str | int) -> JobView:
        """The job of this name, or of this plan number. Raises UsageError when there is none."""
        where = "number" if isinstance(name_or_number, int) else "name"
        found = self._job_views(f"SELECT {_JOB_COLUMNS} FROM jobs WHERE {where} = ?", (name_or_number,))
        if not found and isinstance(name_or_number, str) and name_or_number.isdecimal():
            return self.job(int(name_or_number[:18]))
        if not found:
            raise UsageError(
                f"run `{self.run_folder.name}` has no job `{name_or_number}`",
                hint=f"`batchmill export {self.run_folder.name} --format csv` lists the jobs",
                code="job/not-found",
            )
        return found[0]

    def attempts(self, job: JobView | int) -> list[AttemptView]:
        """The attempts of a job that ended, first to last, over all invocations."""
        query = f"SELECT {_ATTEMPT_COLUMNS} FROM attempts WHERE job = ? ORDER BY number"
        return [_attempt(row) for row in self._all(query, (_number(job),))]

    def steps(self, job: JobView) -> list[StepView]:
        """The finished steps of a job, in the order in which they finished."""
        if job.key is None:
            return []
        rows = self._all(
            "SELECT name, 'succeeded', attempt, finished, seconds, value FROM steps WHERE key = ?"
            " ORDER BY finished, name",
            (job.key,),
        )
        return [StepView(*row) for row in rows]

    def calls(self, job: JobView | int) -> list[CallView]:
        """The metered requests of a job, in the order in which they were granted."""
        rows = self._all(
            "SELECT id, quota, key, state, tokens, cost, reserved, closed, coalesce(usage, '{}')"
            " FROM calls WHERE job = ? ORDER BY id",
            (_number(job),),
        )
        return [CallView(*[*columns, decode(usage)]) for *columns, usage in rows]

    def call_groups(self) -> list[CallGroup]:
        """The metered requests of the run, counted by the job's group, model, stage and state."""
        rows = self._all(
            "SELECT coalesce(grp, ''), model, stage, calls.state, count(*), sum(failure IS NOT NULL), sum(tokens_in),"
            f" sum(tokens_out), sum(cost), sum({_UNPRICED})"
            " FROM calls LEFT JOIN jobs ON jobs.number = calls.job GROUP BY 1, 2, 3, 4"
        )
        return [CallGroup(*row) for row in rows]

    def artifacts(self, job: JobView | int) -> list[ArtifactView]:
        """The files that a job made, by name."""
        rows = self._all(
            "SELECT name, digest, size FROM artifacts WHERE job = ? AND hook = '' ORDER BY name", (_number(job),)
        )
        return [ArtifactView(*row) for row in rows]

    def result(self, job: JobView) -> Any:
        """The result of a job, from the ledger or its object; None when there is none."""
        return job.result

    def log(self, job: JobView | int, attempt: int | None = None) -> bytes:
        """What an attempt (default: the last that printed anything) wrote to stdout and stderr."""
        slices = [a.log for a in self.attempts(job) if a.log is not None and attempt in (None, a.number)]
        written = [place for place in slices if place[2] > place[1]]
        return self._slice(*written[-1]) if written else b""

    def _slice(self, file: str, start: int, end: int) -> bytes:
        logs = (self.run_folder / "logs").resolve()
        path = (logs / file).resolve()
        if not path.is_relative_to(logs):
            raise LedgerError(f"the ledger of `{self.run_folder.name}` names a log outside its folder")
        try:
            with path.open("rb") as log:
                log.seek(start)
                return log.read(end - start)
        except FileNotFoundError:
            return b""

    # --- how it is read ---------------------------------------------------------------------------------------

    def _job_views(self, query: str, given: Sequence[object]) -> list[JobView]:
        return [self._job_view(row) for row in self._all(query, given)]

    def _job_view(self, row: Sequence[Any]) -> JobView:
        *columns, cached, quarantined = row
        return JobView(*[*columns, bool(cached), bool(quarantined), self._objects.read])

    def _all(self, query: str, given: Sequence[object] = ()) -> list[Any]:
        with _readable(self.run_folder):
            return self._database.execute(query, given).fetchall()


_VERIFY = "`batchmill verify` says what else is damaged"


def _connect(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise RunNotFound(f"`{path.parent}` holds no run", hint="`batchmill ls` lists the runs")
    with _readable(path.parent):
        uri = f"file:{quote(str(path.resolve()))}?mode=ro"
        # A view may move between threads (a web server's); the driver itself never shares it at one time.
        return sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger of `{folder.name}` cannot be read: {error}", hint=_VERIFY) from error


def _number(job: JobView | int) -> int:
    return job if isinstance(job, int) else job.number


def _attempt(row: Sequence[Any]) -> AttemptView:
    *columns, exceptions, charged, file, start, end = row
    names = tuple(decode(exceptions)) if exceptions else ()
    log = (file, start, end) if file is not None else None
    return AttemptView(*[*columns, names, bool(charged), log])
