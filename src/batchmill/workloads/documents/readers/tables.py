"""Tables as text: CSV and its relatives, and the sheets of XLSX files. A line a row, commas between cells."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from batchmill import TaskError
from batchmill.workloads.documents.readers.base import Document, Wish
from batchmill.workloads.documents.readers.limits import CHARACTERS, archive, too_large
from batchmill.workloads.documents.readers.text import decode

_LONGEST_CELL = 10_000_000
_SAMPLE = 8192  # characters that show the delimiter
_MOST_EMPTY = 1000  # rows or cells in a sheet with nothing after them: what follows counts as none


def read_csv(path: Path, wish: Wish) -> Document:
    """A text table with any of the usual delimiters."""
    text = decode(path.read_bytes())
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    return _document("csv", [_written(rows)])


def read_xlsx(path: Path, wish: Wish) -> Document:
    """The values of every sheet; formulas by the results that were saved with them."""
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise TaskError("reading XLSX needs the extra `documents`: `pip install 'batchmill[documents]'`") from None
    with archive(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that openpyxl leaves out
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            sheets = [(sheet.title, _written(_rows(sheet))) for sheet in book.worksheets]
        finally:
            book.close()
    filled = [(title, lines) for title, lines in sheets if lines]
    if len(filled) == 1:
        return _document("xlsx", [filled[0][1]])
    return _document("xlsx", [[f"## {title}", *lines] for title, lines in filled], header=False)


def _delimiter(text: str) -> str:
    """The candidate that cuts most of the first lines into as many cells as the first; of equal ones into more."""

    def score(candidate: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=candidate)]
        width = widths[0] if widths else 1
        return (widths.count(width) / len(widths), width) if width > 1 else (0.0, 0)

    lines = text[:_SAMPLE].splitlines()[:20]
    return max(",;\t|", key=score)


def _rows(sheet: Any) -> Iterator[Sequence[Any]]:
    sheet.reset_dimensions()  # what the file says of its size need not be true
    empty = 0
    for row in sheet.iter_rows(values_only=True):
        cells = list(row[: _MOST_EMPTY * 10])
        while cells and cells[-1] is None:
            cells.pop()
        empty = 0 if cells else empty + 1
        if empty > _MOST_EMPTY:
            return
        if cells:
            yield cells


def _written(rows: Iterable[Sequence[Any]]) -> list[str]:
    lines: list[str] = []
    total = 0
    for row in rows:
        if not any(cell is not None and cell != "" for cell in row):
            continue
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(["" if cell is None else cell for cell in row])
        lines.append(line.getvalue())
        total += len(lines[-1]) + 1
        if total > CHARACTERS:
            raise too_large(f"it has more than {CHARACTERS:,} characters of text")
    return lines


def _document(reader: str, tables: Sequence[Sequence[str]], *, header: bool = True) -> Document:
    text = "\n\n".join("\n".join(lines) for lines in tables)
    first = tables[0][0] if header and tables and len(tables[0]) > 1 else ""
    return Document(text, reader, header=first, is_table=True)
