"""Progress where no terminal can be redrawn: a line every ten seconds, failures as they happen, a line at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from batchmill.live import words
from batchmill.live.facts import LiveFacts, RunInfoLite
from batchmill.model.text import counted, duration_text, one_line

LINE_SECONDS = 10.0
FAILURES_A_LINE = 5  # failures told one by one between two lines; the others are counted in the next line
_SHOWN = 3  # running jobs and groups named in a line


class Lines:
    """Plain lines on a stream. A stream that cannot be written any more is left alone: the run goes on."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream: TextIO | None = stream
        self._clock = clock
        self._facts: LiveFacts | None = None
        self._due = 0.0
        self._told = 0  # failures told or counted so far
        self._quota = FAILURES_A_LINE

    def begin(self, info: RunInfoLite) -> None:
        """Say which run this is."""
        self._due = self._clock() + LINE_SECONDS
        workers = counted(info.workers, "worker")
        verb = "continues" if info.continued else "starts"
        self._write(f"{one_line(info.id, 80)} {verb}: task {one_line(info.task, 80)}, {workers}")

    def update(self, facts: LiveFacts) -> None:
        """Tell new failures, and, every ten seconds, how the run stands."""
        self._facts = facts
        self._tell_failures(facts)
        if (now := self._clock()) >= self._due:
            self._due = now + LINE_SECONDS
            self._status(facts)

    def end(self) -> None:
        """Say how it stood at the end."""
        if self._facts is not None:
            self._status(self._facts)
        self._facts = self._stream = None

    def _tell_failures(self, facts: LiveFacts) -> None:
        for failed in facts.failures:
            if failed.number > self._told and self._quota > 0:
                self._quota -= 1
                self._told = failed.number
                self._write(f"failed: {words.failure(failed)}")

    def _status(self, facts: LiveFacts) -> None:
        untold = facts.failures[-1].number - self._told if facts.failures else 0
        if untold > 0:
            self._write(f"failed: and {untold:,} more")
            self._told += untold
        self._quota = FAILURES_A_LINE
        self._write(status(facts))

    def _write(self, line: str) -> None:
        if self._stream is None:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # a closed pipe or file
            self._stream = None


def status(facts: LiveFacts) -> str:
    """All facts in one line."""
    shown = [words.running(attempt) for attempt in facts.running[: _SHOWN + 1]]
    running = words.capped(shown, _SHOWN, max(facts.running_total, len(facts.running)))
    parts = [
        f"{duration_text(facts.elapsed)}: {words.progress(facts)}",
        words.counts(facts),
        words.pace(facts),
        words.holding(facts),
        "running " + " | ".join(running) if running else "",
        "groups " + " | ".join(words.groups(facts, _SHOWN)) if facts.groups else "",
        "last " + words.last(facts.last) if facts.last else "",
        "next " + words.queued(facts) if facts.queued else "",
    ]
    return "; ".join(part for part in parts if part)
