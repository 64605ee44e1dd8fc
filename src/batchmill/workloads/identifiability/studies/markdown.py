"""Text of reports: Markdown tables whose cells come from strangers, and lists of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MOST_ROWS = 200  # of a table in a report: who wants all of them exports the results


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table, and a note on the rows that are left out."""
    lines = [row(header), row("---" for _ in header), *(row(cells) for cells in rows[:MOST_ROWS])]
    if len(rows) > MOST_ROWS:
        lines += ["", f"... and {len(rows) - MOST_ROWS:,} more."]
    return lines


def row(cells: Iterable[object]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cell(value) for value in cells)} |"


def cell(value: object) -> str:
    """A value as it may stand in a table."""
    return " ".join(str(value).split()).replace("|", "\\|")


def names(values: Iterable[str], *, none: str = "none") -> str:
    """Names as code, with commas."""
    return ", ".join(f"`{cell(value)}`" for value in values) or none
