"""The driver's observer: every turn of the loop goes to the tracker, and about four times a second to the display."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchmill.live.base import Display
from batchmill.live.tracker import Tracker
from batchmill.model.commands import Act
from batchmill.model.events import Event

UPDATE_SECONDS = 0.26  # above the terminal's 0.25, or jitter would make it skip every other update


class Watch:
    """Shows a run that lives. `peek` is asked with each update for the reasons why nothing more starts, and why
    the run ends early (or an empty text)."""

    def __init__(
        self,
        tracker: Tracker,
        display: Display,
        clock: Callable[[], float],
        peek: Callable[[], tuple[Sequence[str], str]] = lambda: ((), ""),
    ) -> None:
        self._tracker, self._display, self._clock, self._peek = tracker, display, clock, peek
        self._next = clock()

    def see(self, events: Sequence[Event], act: Act) -> None:
        """Take one turn of the loop."""
        tracker = self._tracker
        tracker.notice(events)
        if act.published:
            tracker.publish(act.published)
        if act.starts:
            tracker.start(act.starts)
        now = self._clock()
        if now >= self._next:
            self._next = now + UPDATE_SECONDS
            self.show()

    def show(self) -> None:
        """Update the display now: at the end of a run too, so that it shows the last job."""
        waiting, stopping = self._peek()
        self._display.update(self._tracker.facts(waiting=waiting, stopping=stopping))
