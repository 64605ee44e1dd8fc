"""Jobs as rows: the columns that parameters, metrics and results spread into, and the values in them.

How a value is written into a cell is in `cells`, what is made of the rows in `exports`. This is the hot path of
`results.csv`, so rows are made of bare columns, without a record for each job.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batchmill.report.query import RunView
from batchmill.report.records import decode

UNSTABLE = ("cached", "attempts", "wall_s", "cpu_s", "peak_rss_bytes")  # differs between executions of one manifest
_MOST_COLUMNS = 500
_LARGEST_FLATTENED = 1_000_000  # bytes of a result that tables look into; a larger one is named by its digest

_FIXED = {
    "name": "name",
    "key": "key",
    "state": "state",
    "cached": "CASE cached WHEN 0 THEN 'false' ELSE 'true' END",
    "attempts": "total_attempts",
    "wall_s": "wall_s",
    "cpu_s": "cpu_s",
    "peak_rss_bytes": "peak_rss",
    "error.kind": "CASE state WHEN 'failed' THEN coalesce(kind, 'error') END",
    "error.message": "CASE state WHEN 'failed' THEN message END",
}
_STORED = {"params": "params", "metrics": "metrics", "result": "coalesce(result, 'object:' || result_object)"}


class _Family:
    """The columns that one mapping of every job (`params`, `metrics`, `result`) spreads into."""

    def __init__(self, name: str, stable: bool) -> None:
        self.name = name
        self._drop_times = stable and name != "params"
        self._columns: dict[str, None] = {}
        self._plain = False  # some job has a value that is no mapping
        self._whole = False

    def see(self, value: Any) -> None:
        if not isinstance(value, dict):
            self._plain = self._plain or value is not None
        elif not self._whole and not value.keys() <= self._columns.keys():
            self._columns.update(dict.fromkeys(self._kept(value)))
            self._whole = len(self._columns) > _MOST_COLUMNS

    def _kept(self, value: dict[str, Any]) -> dict[str, Any]:
        if not self._drop_times:
            return value
        return {name: item for name, item in value.items() if not name.endswith("_s")}

    @property
    def header(self) -> list[str]:
        if self._whole:
            return [self.name]
        spread = [f"{self.name}.{column}" for column in self._columns]
        return [self.name, *spread] if self._plain else spread

    def cells(self, value: Any) -> list[Any]:
        is_mapping = isinstance(value, dict)
        if self._whole:
            return [self._kept(value) if is_mapping else value]
        spread = [value.get(column) for column in self._columns] if is_mapping else [None] * len(self._columns)
        return [None if is_mapping else value, *spread] if self._plain else spread


class Table:
    """The jobs of a run as rows, in plan order. Which columns there are is found in a first pass over the jobs.

    `families` are those of `params`, `metrics` and `result` that are wanted.
    """

    def __init__(self, view: RunView, families: tuple[str, ...], stable: bool = False) -> None:
        self._view = view
        self._as_of = view.info.tick
        self._families = [_Family(name, stable) for name in families]
        self._fixed = [name for name in _FIXED if not (stable and name in UNSTABLE)]
        self._stored = [_STORED[name] for name in families]
        for page in view.pages(", ".join(["number", *self._stored]), as_of=self._as_of):
            for number, *stored in page:
                for family, value in zip(self._families, self._values(number, stored), strict=True):
                    family.see(value)

    @property
    def header(self) -> list[str]:
        """The names of the columns."""
        return self._fixed + [column for family in self._families for column in family.header]

    def pages(self) -> Iterator[list[list[Any]]]:
        """Pages of rows of decoded values."""
        columns = ["number", *(_FIXED[name] for name in self._fixed), *self._stored]
        for page in self._view.pages(", ".join(columns), as_of=self._as_of):
            yield [self._row(*row) for row in page]

    def _row(self, number: int, *columns: Any) -> list[Any]:
        row = list(columns[: len(self._fixed)])
        for family, value in zip(self._families, self._values(number, columns[len(self._fixed) :]), strict=True):
            row += family.cells(value)
        return row

    def _values(self, number: int, stored: Any) -> list[Any]:
        return [
            None if text is None else self._large(number, family) if text.startswith("object:") else decode(text)
            for family, text in zip(self._families, stored, strict=True)
        ]

    def _large(self, number: int, family: _Family) -> Any:
        job = self._view.job(number)
        if family.name == "params" or job.result_object is None:
            return job.params
        stored = job.read_object(job.result_object)
        return f"object:{job.result_object}" if len(stored) > _LARGEST_FLATTENED else decode(stored)
