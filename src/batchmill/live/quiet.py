"""The display that shows nothing."""

from __future__ import annotations

from batchmill.live.facts import LiveFacts, RunInfoLite


class Quiet:
    """Says nothing, for `--output quiet` and `progress=False`."""

    def begin(self, info: RunInfoLite) -> None:
        """Nothing."""

    def update(self, facts: LiveFacts) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
