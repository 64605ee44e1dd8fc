"""JSON and JSON lines: checked, then given as they are."""

from __future__ import annotations

import json
from pathlib import Path

from batchmill.workloads.documents.readers.base import Document, Wish
from batchmill.workloads.documents.readers.limits import unusable
from batchmill.workloads.documents.readers.text import decode


def read_json(path: Path, wish: Wish) -> Document:
    """One JSON value."""
    text = decode(path.read_bytes())
    if text.strip():
        _check(text, 0)
    return Document(text, "json")


def read_json_lines(path: Path, wish: Wish) -> Document:
    """A JSON value on each line."""
    text = decode(path.read_bytes())
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            _check(line, number)
    return Document(text, "jsonl", is_table=True)


def _check(text: str, line: int) -> None:
    try:
        json.loads(text, parse_int=len, parse_float=len)  # numbers of a million digits take quadratic time
    except json.JSONDecodeError as error:
        raise unusable(f"it is not JSON: {error.msg} at line {line or error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise unusable("its JSON is nested too deep") from None
