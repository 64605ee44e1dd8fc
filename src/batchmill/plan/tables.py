"""Reads tables (csv, jsonl, xlsx) row by row. What the cells mean to a task is decided by its parameters' model."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Literal, NamedTuple

from batchmill.errors import PlanError, Problem
from batchmill.model.manifest import TableSection
from batchmill.model.text import counted


class TableRow(NamedTuple):
    """One row: its number among the rows (from 1), its line in the file, and its cells that are not empty.

    `kind` tells how far the cells have types of their own: `text` (csv), `sheet` (a number may be meant as text), or
    `json`.
    """

    number: int
    line: int
    cells: dict[str, Any]
    columns: Sequence[str]
    kind: Literal["text", "sheet", "json"] = "json"


class Table:
    """A table file. Iterating it gives its rows, and a Problem for each that cannot be read."""

    def __init__(self, section: TableSection, folder: str) -> None:
        self.name = section.from_
        self.path = os.path.join(folder, section.from_)
        self._sheet = section.sheet

    def __iter__(self) -> Iterator[TableRow | Problem]:
        """Raises PlanError when the file cannot be read as the table that its suffix says."""
        suffix = os.path.splitext(self.path)[1].lower()
        readers = {".csv": self._csv, ".tsv": self._csv, ".jsonl": self._jsonl, ".ndjson": self._jsonl}
        reader = {**readers, ".xlsx": self._xlsx}.get(suffix)
        if reader is None:
            raise PlanError(f"`{self.name}` is no table that can be read", hint="use .csv, .jsonl or .xlsx")
        try:
            yield from reader()
        except UnicodeDecodeError as error:
            raise PlanError(f"`{self.name}` is not UTF-8: {error.reason}", hint="save it as UTF-8") from error
        except OSError as error:
            raise PlanError(f"cannot read the table `{self.name}`: {error.strerror or error}") from error

    def problem(self, line: int, column: int, message: str, hint: str = "") -> Problem:
        """A Problem at a row's line; `column` counts cells, from 1."""
        return Problem("plan/table", message, self.name, line, column, hint=hint)

    def _csv(self) -> Iterator[TableRow | Problem]:
        with open(self.path, encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if self.path.lower().endswith(".tsv") else _delimiter(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            try:
                columns = [name.strip() for name in next(reader, [])]
                yield from self._rows(columns, ((reader.line_num, cells) for cells in reader), "text")
            except csv.Error as error:
                yield self.problem(reader.line_num, 1, f"this is not valid csv: {error}")

    def _xlsx(self) -> Iterator[TableRow | Problem]:
        try:
            import openpyxl
        except ImportError as error:
            hint = "install what it needs: `pip install 'batchmill[tables]'`, or save the table as .csv"
            raise PlanError(f"`{self.name}` needs openpyxl, which is not installed", hint=hint) from error
        with warnings.catch_warnings():  # about styles and extensions, which do not matter to values
            warnings.simplefilter("ignore")
            try:
                book = openpyxl.load_workbook(self.path, read_only=True, data_only=True)
            except OSError:
                raise
            except Exception as error:  # openpyxl raises KeyError, BadZipFile, ParseError, ... for a broken file
                raise PlanError(f"`{self.name}` is not a readable .xlsx file: {error}") from error
            with closing(book):
                if self._sheet is not None and self._sheet not in book.sheetnames:
                    sheets = ", ".join(f"`{name}`" for name in book.sheetnames)
                    raise PlanError(f"`{self.name}` has no sheet `{self._sheet}`", hint=f"its sheets: {sheets}")
                sheet = book[self._sheet] if self._sheet is not None else book.worksheets[0]
                lines = enumerate(sheet.iter_rows(values_only=True), start=1)
                first = next(lines, (1, ()))[1]
                columns = ["" if name is None else str(name).strip() for name in first]
                plain = ((line, [_plain(cell) for cell in cells]) for line, cells in lines)
                yield from self._rows(columns, plain, "sheet")

    def _rows(
        self, columns: list[str], lines: Iterator[tuple[int, list[Any]]], kind: Literal["text", "sheet"]
    ) -> Iterator[TableRow | Problem]:
        while columns and not columns[-1]:
            columns.pop()
        for at, name in enumerate(columns, start=1):
            if not name or name in columns[: at - 1]:
                message = f"the column `{name}` is there twice" if name else "this column has no name"
                yield self.problem(1, at, message, "the first row names the columns")
        number = 0
        for line, cells in lines:
            if all(cell is None or cell == "" for cell in cells):
                continue
            number += 1
            if any(cell not in (None, "") for cell in cells[len(columns) :]):
                yield self.problem(line, len(columns) + 1, f"this row has more than {counted(len(columns), 'cell')}")
            given = {name: cell for name, cell in zip(columns, cells, strict=False) if cell is not None and cell != ""}
            yield TableRow(number, line, given, columns, kind)

    def _jsonl(self) -> Iterator[TableRow | Problem]:
        with open(self.path, encoding="utf-8-sig") as lines:
            number = 0
            for line, text in enumerate(lines, start=1):
                if not text.strip():
                    continue
                number += 1
                try:
                    cells = json.loads(text)
                except json.JSONDecodeError as error:
                    yield Problem("plan/table", f"this is not JSON: {error.msg}", self.name, line, error.colno)
                    continue
                except (ValueError, RecursionError) as error:
                    yield self.problem(line, 1, f"this is not usable JSON: {error}")
                    continue
                if not isinstance(cells, dict):
                    yield self.problem(line, 1, "each line must be a JSON object", 'such as `{"leaf": 50}`')
                    continue
                yield TableRow(number, line, cells, list(cells))


def _delimiter(header: str) -> str:
    """What parts the cells of a .csv file: whichever of comma, semicolon and tab its first line has most of."""
    return max(",", ";", "\t", key=header.count)


def _plain(cell: Any) -> Any:
    """Dates and times of a sheet as ISO 8601 text; numbers, texts and truth values as they are."""
    return cell if cell is None or isinstance(cell, bool | int | float | str) else cell.isoformat()
