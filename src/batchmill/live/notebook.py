"""Progress in a notebook: one output cell that is updated in place. IPython is imported only here."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from typing import Any

from batchmill.live import terminal, words
from batchmill.live.facts import LiveFacts, RunInfoLite

UPDATE_SECONDS = 0.5


class Notebook:
    """The block of the terminal as escaped text under a progress bar."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._info: RunInfoLite | None = None
        self._facts: LiveFacts | None = None
        self._handle: Any = None
        self._shown = -UPDATE_SECONDS

    def begin(self, info: RunInfoLite) -> None:
        """Make the output cell."""
        from IPython.display import HTML, display

        self._info = info
        self._handle = display(HTML(""), display_id=True)

    def update(self, facts: LiveFacts) -> None:
        """Show the facts, at most twice a second."""
        self._facts = facts
        now = self._clock()
        if now - self._shown >= UPDATE_SECONDS:
            self._shown = now
            self._show(facts)

    def end(self) -> None:
        """Leave the last facts in the cell."""
        if self._facts is not None:
            self._show(self._facts)
        self._facts = self._handle = None

    def _show(self, facts: LiveFacts) -> None:
        if self._handle is not None and self._info is not None:
            from IPython.display import HTML

            self._handle.update(HTML(html(self._info, facts)))


def html(info: RunInfoLite, facts: LiveFacts) -> str:
    """The facts as a fragment of HTML without scripts, in which no text of a job is markup."""
    rows = terminal.lines(info, facts, terminal.height(info, facts, 40))
    text = "\n".join(escape(row) for place, (row, _) in enumerate(rows) if place != 1)
    bar = f'<progress value="{words.share(facts):.4f}" max="1" style="width: 24em"></progress>'
    return f'<div>{bar} {escape(words.progress(facts))}<pre style="line-height: 1.3">{text}</pre></div>'
