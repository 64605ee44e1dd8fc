"""What a display is. Which one fits is decided in `choice`, what it is told stands in `facts`."""

from __future__ import annotations

from typing import Protocol

from batchmill.live.facts import LiveFacts, RunInfoLite


class Display(Protocol):
    """Shows a live run. The driver calls `update` about four times a second; none of the calls may raise on
    account of what jobs are named or return."""

    def begin(self, info: RunInfoLite) -> None:
        """The run starts."""

    def update(self, facts: LiveFacts) -> None:
        """The run stands so."""

    def end(self) -> None:
        """The run is over, or its driver leaves: put the terminal back as it was. May be called twice."""
