"""A page for the terminal: titles, names with values, tables and text, drawn by rich or as plain text.

Everything put on a page is taken for text of strangers: it is made harmless here, and never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from batchmill.model.text import clean, one_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_CELL = 200  # characters
_INNER_CELL = 60  # of a cell with others to its right, which must keep their place


class _Title(NamedTuple):
    text: str


class _Table(NamedTuple):
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int]


class _Text(NamedTuple):
    text: str
    style: str


class Page:
    """Blocks of text in order. `print(page)` is plain text, a rich console draws it with its styles."""

    def __init__(self) -> None:
        self._blocks: list[_Title | _Table | _Text] = []

    def title(self, text: str) -> None:
        """A heading of one line."""
        self._blocks.append(_Title(one_line(text, _CELL)))

    def text(self, text: str, style: str = "") -> None:
        """Lines as they are. Colour is an ornament: the words must say it all."""
        self._blocks.append(_Text(clean(text), style))

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> None:
        """Aligned columns, those in `right` to the right; nothing when there are no rows."""
        cells = [[*(one_line(str(c), _INNER_CELL) for c in row[:-1]), one_line(str(row[-1]), _CELL)] for row in rows]
        if cells:
            self._blocks.append(_Table(header, cells, right))

    def pairs(self, rows: Iterable[tuple[str, object]]) -> None:
        """Names and their values; a value of None or an empty one is left out."""
        self.table((), [row for row in rows if row[1] not in (None, "")])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for place, block in enumerate(self._blocks):
            if place and isinstance(block, _Title):
                yield ""
            yield _drawn(block)

    def plain(self, width: int = 160) -> str:
        """The page without colours and escapes, its lines at most `width` wide."""
        from io import StringIO

        from rich.console import Console

        out = StringIO()
        console = Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False)
        console.print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    def __str__(self) -> str:
        return self.plain()


def _drawn(block: _Title | _Table | _Text) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    if isinstance(block, _Title):
        return Text(block.text, "bold")
    if isinstance(block, _Text):
        return Text(block.text.rstrip("\n"), block.style, overflow="fold")
    columns = len(block.rows[0])
    table = Table(box=None, show_header=bool(block.header), pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place in range(columns):
        name = block.header[place] if block.header else None
        # All but the last column keep their width: what is long (a message, a value) stands last.
        table.add_column(
            Text(name or ""),
            justify="right" if place in block.right else "left",
            style="dim" if not block.header and place == 0 else "",
            no_wrap=place < columns - 1,
            overflow="ellipsis" if place < columns - 1 else "fold",
        )
    for row in block.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
