"""What hooks iterate over in a worker: the planned jobs (`prepare`) and the results (`summarise`, `report`).

Pages of short read transactions, so that the ledger's log stays small however long a hook takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from batchmill.ledger.database import connect_reader, ledger_errors
from batchmill.ledger.objects import ObjectStore

_PAGE = 500


class PlannedRecord(NamedTuple):
    """A planned job: its plan number, name, task, parameters and group."""

    number: int
    name: str
    task: str
    params: dict[str, Any]
    group: str | None


class ResultRecord(NamedTuple):
    """A job that ended: as planned, and its state, result and metrics (None and empty when it failed)."""

    number: int
    name: str
    task: str
    params: dict[str, Any]
    group: str | None
    state: str
    result: Any
    metrics: dict[str, Any]


def read_jobs(run_folder: Path) -> Iterator[PlannedRecord]:
    """The planned jobs in plan order. Raises LedgerError."""
    for row, objects in _pages(run_folder, "number, name, task, params, grp", "unfit = 0"):
        number, name, task, params, group = row
        yield PlannedRecord(number, name, task, json.loads(objects.text(params)), group)


def read_results(run_folder: Path) -> Iterator[ResultRecord]:
    """The jobs that ended, in plan order, large results read from their objects. Raises LedgerError."""
    columns = "number, name, task, params, grp, state, result, result_object, metrics"
    for row, objects in _pages(run_folder, columns, "state <> 'pending'"):
        number, name, task, params, group, state, result, digest, metrics = row
        text = result if digest is None else objects.read(digest)
        yield ResultRecord(
            number,
            name,
            task,
            json.loads(objects.text(params)),
            group,
            state,
            None if text is None else json.loads(text),
            {} if metrics is None else json.loads(metrics),
        )


def _pages(run_folder: Path, columns: str, where: str) -> Iterator[tuple[Sequence[Any], ObjectStore]]:
    ledger = run_folder / "ledger.db"
    objects = ObjectStore(run_folder.parent.parent / "objects")
    query = (
        f"SELECT {columns} FROM jobs JOIN bindings ON bindings.id = jobs.binding WHERE number > ? AND {where}"
        " ORDER BY number LIMIT ?"
    )
    with ledger_errors(ledger), closing(connect_reader(ledger)) as connection:
        rows: list[Any] = connection.execute(query, (0, _PAGE)).fetchall()
        while rows:
            for row in rows:
                yield row, objects
            rows = connection.execute(query, (rows[-1][0], _PAGE)).fetchall()
