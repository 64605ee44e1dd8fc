"""Jobs as columns: those that parameters, metrics and results spread into, and the values in them.

How a value is written into a cell is in `cells`, what is made of the columns in `exports`. This is the hot path of
`results.csv`, so pages are taken column by column, without a record for each job.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from batchmill.report.query import RunView
from batchmill.report.records import decode, decode_all

UNSTABLE = ("cached", "attempts", "wall_s", "cpu_s", "peak_rss_bytes")  # differs between executions of one manifest
OWN_WORDS = ("key", "state", "cached", "error.kind")  # columns that hold nothing but what the engine itself wrote
_MOST_COLUMNS = 500
_LARGEST_FLATTENED = 1_000_000  # bytes of a result that tables look into; a larger one is named by its digest
_PAGE = 250  # jobs: all that a page holds is decoded at one time

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

    def see(self, values: Sequence[Any]) -> None:
        for value in values:
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

    def columns(self, values: Sequence[Any]) -> list[list[Any]]:
        if self._whole:
            return [[self._kept(value) if isinstance(value, dict) else value for value in values]]
        mappings = [value if isinstance(value, dict) else {} for value in values]
        spread = [[mapping.get(column) for mapping in mappings] for column in self._columns]
        return [[None if isinstance(value, dict) else value for value in values], *spread] if self._plain else spread


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
        for numbers, *stored in self._read([]):
            for family, texts in zip(self._families, stored, strict=True):
                family.see(self._values(family, numbers, texts))

    @property
    def header(self) -> list[str]:
        """The names of the columns."""
        return self._fixed + [column for family in self._families for column in family.header]

    def pages(self) -> Iterator[list[Sequence[Any]]]:
        """Pages as columns of decoded values, in the order of `header`."""
        for numbers, *columns in self._read([_FIXED[name] for name in self._fixed]):
            page = columns[: len(self._fixed)]
            for family, texts in zip(self._families, columns[len(self._fixed) :], strict=True):
                page += family.columns(self._values(family, numbers, texts))
            yield page

    def _read(self, columns: Sequence[str]) -> Iterator[list[Sequence[Any]]]:
        wanted = ", ".join(["number", *columns, *self._stored])
        for page in self._view.pages(wanted, size=_PAGE, as_of=self._as_of):
            yield list(zip(*page, strict=True))

    def _values(self, family: _Family, numbers: Sequence[int], texts: Sequence[str | None]) -> list[Any]:
        large = [place for place, text in enumerate(texts) if text is not None and text.startswith("object:")]
        if not large:
            return decode_all(texts)
        values = decode_all([None if text is None or text.startswith("object:") else text for text in texts])
        for place in large:
            values[place] = self._large(numbers[place], family)
        return values

    def _large(self, number: int, family: _Family) -> Any:
        job = self._view.job(number)
        if family.name == "params" or job.result_object is None:
            return job.params
        stored = job.read_object(job.result_object)
        return f"object:{job.result_object}" if len(stored) > _LARGEST_FLATTENED else decode(stored)
