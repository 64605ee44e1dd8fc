"""Progress in a terminal: one block of fixed height, redrawn at most four times a second, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from batchmill.live import words
from batchmill.live.facts import LiveFacts, RunInfoLite

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

REDRAW_SECONDS = 0.25
_HEAD_ROWS = 7  # title, bar, counts, pace, what holds it up, the last job, the next jobs
_RUNNING_ROWS = 8
_FAILURE_ROWS = 3
_GROUP_ROWS = 4
_BAR = 32

Line = tuple[str, str]  # text and its style


def height(info: RunInfoLite, facts: LiveFacts, most: int) -> int:
    """Rows of the block: they depend on the number of workers, on whether there are groups, and on the terminal."""
    groups = _GROUP_ROWS if facts.groups else 0
    return min(_HEAD_ROWS + min(max(info.workers, 1), _RUNNING_ROWS) + groups + _FAILURE_ROWS, max(most, 1))


def lines(info: RunInfoLite, facts: LiveFacts, rows: int, *, ascii_only: bool = False) -> list[Line]:
    """Exactly `rows` lines of the block; what matters least is left out of a short terminal."""
    spare = max(rows - _HEAD_ROWS, 0)
    failures = min(_FAILURE_ROWS, spare // 3)
    groups = min(_GROUP_ROWS, (spare - failures) // 2) if facts.groups else 0
    running = min(spare - failures - groups, _RUNNING_ROWS)
    block = [
        *_head(info, facts, ascii_only),
        *_padded([("  " + row, "") for row in _running(facts, running)], running),
        *_padded([("  " + row, "") for row in words.groups(facts, groups)], groups),
        ("last: " + words.last(facts.last), "dim"),
        ("next: " + words.queued(facts), "dim"),
        *[
            ("failed: " + words.failure(failed), "red")
            for failed in facts.failures[max(len(facts.failures) - failures, 0) :]
        ],
    ]
    return _padded(block, rows)[:rows]


def _head(info: RunInfoLite, facts: LiveFacts, ascii_only: bool) -> list[Line]:
    full, empty = ("#", ".") if ascii_only else ("█", "░")
    filled = int(words.share(facts) * _BAR)
    return [
        (words.title(info, facts), "bold"),
        (f"{full * filled}{empty * (_BAR - filled)} {words.progress(facts)}", ""),
        (words.counts(facts), ""),
        (words.pace(facts), ""),
        (words.holding(facts), "yellow"),
    ]


def _running(facts: LiveFacts, most: int) -> list[str]:
    rows = [words.running(attempt) for attempt in facts.running[: most + 1]]
    return words.capped(rows, most, max(facts.running_total, len(facts.running)))


def _padded(rows: list[Line], count: int) -> list[Line]:
    return rows + [("", "")] * (count - len(rows))


class Terminal:
    """A live block by rich on a terminal. It follows the terminal's size, and is gone when the run ends."""

    def __init__(
        self, stream: TextIO, clock: Callable[[], float] = time.monotonic, console: Console | None = None
    ) -> None:
        self._stream, self._clock, self._console = stream, clock, console
        self._info: RunInfoLite | None = None
        self._live: Live | None = None
        self._drawn = -REDRAW_SECONDS

    def begin(self, info: RunInfoLite) -> None:
        """Take the terminal's last rows."""
        import sys

        from rich.console import Console
        from rich.live import Live

        self._info = info
        self._console = self._console or Console(file=self._stream, highlight=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
            redirect_stdout=sys.stdout.isatty(),  # a pipe's data stays in the pipe
        )
        self._live.start()

    def update(self, facts: LiveFacts) -> None:
        """Redraw, unless the last redraw is less than a quarter of a second ago."""
        now = self._clock()
        if self._live is None or now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        self._live.update(self.render(facts), refresh=True)

    def render(self, facts: LiveFacts) -> Group:
        """The block as rich draws it: never wider or higher than the terminal."""
        from rich.console import Group
        from rich.text import Text

        assert self._info is not None
        assert self._console is not None
        rows = height(self._info, facts, self._console.size.height - 1)
        ascii_only = not self._console.encoding.lower().startswith("utf")
        block = lines(self._info, facts, rows, ascii_only=ascii_only)
        return Group(*(Text(text, style, no_wrap=True, overflow="ellipsis", end="\n") for text, style in block))

    def end(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None
