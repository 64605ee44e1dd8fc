"""The tab-separated tables of a PEtab problem: rows that know their line."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from batchmill import ManifestError
from batchmill.workloads.identifiability.formats.source import Source, read_source

_MAX_ROWS = 200_000
_NOTHING = ("", "nan", "na", "none")
_NOT_TARGETS = ("conditionId", "conditionName", "targetId", "targetValue", "operationType")


class Row:
    """One row: its cells by column, stripped."""

    def __init__(self, source: Source, line: int, cells: dict[str, str]) -> None:
        self.source = source
        self.line = line
        self.cells = cells

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def get(self, column: str, default: str) -> str:
        """A cell; `default` where it is empty or the column is not there."""
        value = self.cells.get(column, "")
        return default if value.lower() in _NOTHING else value

    def number(self, column: str) -> Fraction | None:
        """The number in a cell, None where it is empty. Raises ManifestError."""
        text = self.get(column, "")
        mantissa, _, exponent = text.lower().partition("e")
        try:
            if len(mantissa) > 400 or abs(int(exponent or "0")) > 400:
                raise ValueError
            return Fraction(text) if text else None
        except (ValueError, ZeroDivisionError):
            raise self.error(f"`{text[:60]}` is not a number") from None

    def error(self, message: str, hint: str = "") -> ManifestError:
        """What to raise for this row."""
        return self.source.error(message, self.source.offset(self.line, 1), hint=hint)


class Table(NamedTuple):
    """The rows of one or several files."""

    rows: list[Row]


def read_table(path: str, columns: Sequence[str]) -> Table:
    """The rows of a file that has at least these columns. Raises ManifestError with the line."""
    source = read_source(path)
    lines = source.text.split("\n")
    if len(lines) > _MAX_ROWS:
        source.refuse(f"a table may have at most {_MAX_ROWS:,} rows")
    header = [name.strip() for name in lines[0].split("\t")]
    for name in columns:
        if name not in header:
            source.refuse(f"the column `{name}` is missing", 0, hint="columns are separated by tabs")
    for name in header:
        if header.count(name) > 1:
            source.refuse(f"the column `{name[:60]}` stands twice", 0)
    rows: list[Row] = []
    for number, line in enumerate(lines[1:], start=2):
        cells = [cell.strip().strip('"') for cell in line.split("\t")]
        if len(cells) > len(header):
            source.refuse(f"{len(cells)} cells for {len(header)} columns", source.offset(number, 1))
        if line.strip():
            cells += [""] * (len(header) - len(cells))
            rows.append(Row(source, number, dict(zip(header, cells, strict=True))))
    return Table(rows)


class Conditions:
    """What conditions set: one column a target in version 1, one row a target in version 2."""

    def __init__(self, table: Table) -> None:
        self._values: dict[str, dict[str, Row]] = {}
        for row in table.rows:
            if "targetId" in row.cells:
                self._take(row["targetId"], row.get("targetValue", ""), row)
            for name in row.cells.keys() - set(_NOT_TARGETS):
                self._take(name, row.get(name, ""), row)

    def _take(self, target: str, text: str, row: Row) -> None:
        if text:
            self._values.setdefault(target, {}).setdefault(text, row)

    def targets(self) -> dict[str, Row]:
        """Everything that conditions set, each with the first row that does."""
        return {target: next(iter(values.values())) for target, values in self._values.items()}

    def values_of(self, target: str) -> dict[str, Row]:
        """The different values that conditions give a target, each with its first row."""
        return self._values.get(target, {})
