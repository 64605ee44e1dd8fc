"""The statements of `queries.sql` by name, and running one for many rows. No SQL lives here."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from importlib.resources import files
from itertools import chain
from typing import Any

_HEADING = re.compile(r"^-- (\w+) --$", re.MULTILINE)
_VALUES = re.compile(r"VALUES (\([^()]*\))")
_AT_ONCE = (64, 8)  # rows of one statement


def _load() -> dict[str, str]:
    text = files(__package__).joinpath("queries.sql").read_text("utf-8")
    _, *parts = _HEADING.split(text)
    return {name: statement.strip() for name, statement in zip(parts[::2], parts[1::2], strict=True)}


SQL = _load()
_REPEATED: dict[tuple[str, int], str] = {}


def write_rows(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement for each row; one with `VALUES (...)` for many rows at once.

    Every statement gives up the interpreter lock and has to win it back: beside a busy thread that is most of the cost.
    """
    start = 0
    if "VALUES" in SQL[name]:
        for size in _AT_ONCE:
            end = start + (len(rows) - start) // size * size
            pieces = (rows[first : first + size] for first in range(start, end, size))
            connection.executemany(_repeated(name, size), (list(chain.from_iterable(piece)) for piece in pieces))
            start = end
    connection.executemany(SQL[name], rows[start:])


def _repeated(name: str, times: int) -> str:
    if (name, times) not in _REPEATED:
        _REPEATED[name, times] = _VALUES.sub(lambda found: "VALUES " + ", ".join([found[1]] * times), SQL[name])
    return _REPEATED[name, times]
