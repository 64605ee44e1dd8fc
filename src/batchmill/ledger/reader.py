"""Reading a ledger for the driver: pending rows in the order in which they start, and what happened before.

Connections are read-only and never checkpoint; every method is one short transaction. Reports read by `report.query`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from batchmill.core.lost import LostCall
from batchmill.errors import LedgerError, RunNotFound
from batchmill.ledger.database import connect_reader, ledger_errors
from batchmill.ledger.migrations import check_version, version_of
from batchmill.ledger.objects import ObjectStore
from batchmill.ledger.planning import decode_retry
from batchmill.ledger.records import Chunk, Past, RunRow, Selection
from batchmill.model.jobs import FileIdentity, Row, SavedStep, Source
from batchmill.model.states import Mode, RunState

__all__ = ["LedgerReader", "Selection"]

_MOST_BYTES = 16_000_000  # of parameters in one answer: the window stays small, whatever they hold
_GROUP = "group:"
_COLUMNS = (
    "number, name, task, mode, version, params, key, inputs, grp, lane, priority, timeout, memory, retry, attempts,"
    " total_attempts, deaths, first_started"
)
SUCCEEDED = (
    "SELECT jobs.key, min(number) FROM json_each(?) AS wanted JOIN jobs ON key_start = substr(wanted.value, 1, 8)"
    " AND jobs.key = wanted.value WHERE state = 'succeeded' GROUP BY jobs.key"
)
_READY = "state = 'pending' AND due IS NULL"
_MODES = {mode.value: mode for mode in Mode}
_Condition = tuple[str, tuple[Any, ...]]


class LedgerReader:
    """One run's ledger, read-only; a context manager, for one thread at a time.

    Raises RunNotFound when there is no such file, LedgerError when it cannot be read or is of a newer version.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._objects = ObjectStore(ledger.parent.parent.parent / "objects")
        if not ledger.is_file():
            raise RunNotFound(f"there is no ledger `{ledger}`", hint="`batchmill ls` lists the runs")
        with ledger_errors(ledger):
            self._connection = connect_reader(ledger)
            check_version(ledger, version_of(self._connection))

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- the run

    def run(self) -> RunRow:
        """The run's row."""
        rows = self._all(f"SELECT {', '.join(RunRow._fields)} FROM run")
        if len(rows) != 1:
            raise LedgerError(f"the ledger `{self._ledger}` holds no run")
        row = RunRow(*rows[0])
        return row._replace(state=RunState(row.state), plan_done=bool(row.plan_done))

    def counts(self) -> dict[str, int]:
        """Jobs by state, and those `cached` and `retried`."""
        return dict(self._all("SELECT state, sum(n) FROM counts GROUP BY state"))

    def group_counts(self) -> dict[str, dict[str, int]]:
        """The same for every group; `""` holds the jobs without one."""
        groups: dict[str, dict[str, int]] = {}
        for group, state, n in self._all("SELECT grp, state, n FROM counts"):
            groups.setdefault(group, {})[state] = n
        return groups

    def past(self, *, since: float | None = None) -> Past:
        """What earlier invocations leave to the next one; with `since`, a wall time, also what was spent from then on,
        and by quota."""
        hooks = self._all("SELECT hook, task FROM hooks WHERE state = 'succeeded'")
        ((last,),) = self._all("SELECT coalesce(max(id), 0) FROM calls")
        ((unknown,),) = self._all("SELECT coalesce(sum(cost), 0) FROM calls WHERE state IN ('unknown', 'reserved')")
        query = "SELECT id, job, quota, key, cost FROM calls WHERE state = 'unknown' ORDER BY id"
        lost = tuple(LostCall(*row) for row in self._all(query))
        past = Past(frozenset(hooks), last + 1, self.run().spent + unknown, lost=lost)
        if since is None:
            return past
        by_quota = self._all("SELECT quota, sum(cost) FROM calls GROUP BY quota")
        return past._replace(spent_today=self.spent_since(since), spent_of=tuple(by_quota))

    def spent_since(self, since: float) -> int:
        """Micro-cents of the calls that ended since a wall time, or are open; nobody knows the end of some."""
        query = "SELECT coalesce(sum(cost), 0) FROM calls WHERE coalesce(closed, ?) >= ?"
        ((spent,),) = self._all(query, (since, since))
        return int(spent)

    def waiting(self) -> dict[int, int]:
        """The lanes of the jobs that wait for another attempt, by their numbers."""
        return dict(self._all("SELECT number, lane FROM jobs WHERE state = 'pending' AND due IS NOT NULL"))

    def prepared(self) -> dict[str, dict[str, str]]:
        """The artifacts of `prepare` hooks: task, name, digest of the object."""
        found: dict[str, dict[str, str]] = {}
        for hook, name, digest in self._all("SELECT hook, name, digest FROM artifacts WHERE hook LIKE 'prepare:%'"):
            found.setdefault(hook.partition(":")[2], {})[name] = digest
        return found

    def succeeded(self, key: str) -> Source | None:
        """The first job of this run that has a result for this key."""
        return self._succeeded([key]).get(key)

    def _succeeded(self, keys: Sequence[str]) -> dict[str, Source]:
        return {key: Source("", number) for key, number in self._all(SUCCEEDED, (json.dumps(keys),))}

    def matches(self, selection: Selection) -> bool:
        """Whether any job, in whatever state, is in a selection."""
        where, given = _selected(selection)
        return bool(self._all(f"SELECT 1 FROM jobs WHERE {where} LIMIT 1", given))

    def names(self, most: int) -> list[str]:
        """The names of the first jobs."""
        return [name for (name,) in self._all("SELECT name FROM jobs ORDER BY number LIMIT ?", (most,))]

    def pending_numbers(self, selection: Selection) -> list[int]:
        """Plan numbers of the pending jobs that a selection matches, in the order in which they start."""
        where, given = _selected(selection)
        query = f"SELECT number FROM jobs WHERE state = 'pending' AND {where} ORDER BY lane, priority DESC, number"
        return [number for (number,) in self._all(query, given)]

    # --- pending rows

    def load(
        self,
        stream: str,
        after: Sequence[float] | None,
        limit: int,
        now_wall: float,
        capped_groups: Iterable[str] = (),
        selection: Selection | None = None,
    ) -> Chunk:
        """At most `limit` pending rows of a stream, by lane, priority (higher first) and plan number.

        `main` leaves the `capped_groups` out, `group:NAME` is one of them, `due` holds the waiting jobs whose time
        has come, longest waiting first. `Row.first_started` is wall time. `after` is a former answer's.
        """
        if stream == "due":
            return self._load_due(limit, now_wall, selection)
        where, given = _all_of(_stream(stream, capped_groups), _selected(selection))
        rows: list[Row] = []
        whole = True
        for position, given_position in _positions(after):
            wanted = limit - len(rows)
            if wanted <= 0:
                whole = False
                break
            query = f"{_READY} AND {position} AND {where} ORDER BY lane, priority DESC, number LIMIT ?"
            found, cut = self._rows(query, (*given_position, *given, wanted))
            rows += found
            if cut or len(found) == wanted:
                whole = False
                break
        last = (rows[-1].lane, -rows[-1].priority, rows[-1].job) if rows else None
        return Chunk(tuple(rows), whole, last)

    def ready(self, most: int) -> int:
        """How many jobs are ready to start, counted up to `most`."""
        ((number,),) = self._all(f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {_READY} LIMIT ?)", (most,))
        return int(number)

    def _load_due(self, limit: int, now: float, selection: Selection | None) -> Chunk:
        where, given = _all_of(("state = 'pending' AND due IS NOT NULL", ()), _selected(selection))
        # the time that follows is asked for first: a row that comes in between is then due too early, not too late
        waiting = self._all(f"SELECT min(due) FROM jobs WHERE {where} AND due > ?", (*given, now))
        rows, cut = self._rows(f"{where} AND due <= ? ORDER BY due, number LIMIT ?", (*given, now, limit))
        whole = not cut and len(rows) < limit
        return Chunk(tuple(rows), whole, None, waiting[0][0] if whole else now)

    def _rows(self, query: str, given: Sequence[Any]) -> tuple[list[Row], bool]:
        """Rows, and whether there was no room for all of them."""
        found: list[Row] = []
        size, cut = 0, False
        statement = f"SELECT {_COLUMNS} FROM jobs JOIN bindings ON bindings.id = jobs.binding WHERE {query}"
        for columns in self._all(statement, given):
            found.append(self._row(columns))
            size += len(found[-1].params)
            if size > _MOST_BYTES:
                cut = True
                break
        return self._completed(found), cut

    def _row(self, columns: Sequence[Any]) -> Row:
        number, name, task, mode, version, params, key, inputs, *rest = columns
        group, lane, priority, timeout, memory, retry, *counters = rest
        return Row(
            number,
            name,
            task,
            _MODES[mode],
            version,
            self._objects.text(params),
            key,
            _inputs(inputs),
            group,
            lane,
            priority,
            timeout,
            memory,
            decode_retry(retry),
            *counters,
        )

    def _completed(self, rows: list[Row]) -> list[Row]:
        """The rows with the steps and the results that their keys have."""
        sources = self._succeeded([row.key for row in rows if row.key is not None])
        stepped = bool(self._all("SELECT 1 FROM steps LIMIT 1"))
        if not (sources or stepped):
            return rows
        return [
            row._replace(
                steps=self.steps(row.key) if stepped and row.key is not None else (),
                source=sources.get(str(row.key)),
            )
            for row in rows
        ]

    def steps(self, key: str) -> tuple[SavedStep, ...]:
        """The finished steps of a job, by its key, in the order in which they finished."""
        rows = self._all("SELECT name, arguments, value FROM steps WHERE key = ? ORDER BY finished, name", (key,))
        return tuple(SavedStep(name, arguments, self._objects.text(value).encode()) for name, arguments, value in rows)

    def _all(self, query: str, given: Sequence[Any] = ()) -> list[Any]:
        with ledger_errors(self._ledger):
            return self._connection.execute(query, given).fetchall()


def _inputs(text: str | None) -> tuple[FileIdentity, ...]:
    return tuple(FileIdentity(*identity) for identity in json.loads(text)) if text else ()


def _positions(after: Sequence[float] | None) -> Iterator[_Condition]:
    """The parts of the order behind a position, each a range of the index."""
    if after is None:
        yield "true", ()
        return
    lane, priority, number = after[0], -after[1], after[2]
    yield "lane = ? AND priority = ? AND number > ?", (lane, priority, number)
    yield "lane = ? AND priority < ?", (lane, priority)
    yield "lane > ?", (lane,)


def _stream(stream: str, capped: Iterable[str]) -> _Condition:
    if stream.startswith(_GROUP):
        return "grp = ?", (stream.removeprefix(_GROUP),)
    groups = tuple(capped)
    return f"(grp IS NULL OR grp NOT IN ({', '.join('?' * len(groups))}))" if groups else "true", groups


def _selected(selection: Selection | None) -> _Condition:
    if selection is None:
        return "true", ()
    parts: list[_Condition] = []
    if selection.names:
        parts.append((f"({' OR '.join(['name GLOB ?'] * len(selection.names))})", selection.names))
    if selection.group is not None:
        parts.append(("grp = ?", (selection.group,)))
    if selection.numbers is not None:
        parts.append(("number IN (SELECT value FROM json_each(?))", (json.dumps(sorted(selection.numbers)),)))
    return _all_of(*parts) if parts else ("true", ())


def _all_of(*parts: _Condition) -> _Condition:
    return " AND ".join(condition for condition, _ in parts), tuple(value for _, given in parts for value in given)
