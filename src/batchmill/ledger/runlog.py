"""The run's own log, `run.log`: lines with their time, appended after the commit of what they tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TextIO

from batchmill.model.text import one_line

_MOST_KEPT = 1000  # lines that wait while the disk is full


class RunLog:
    """Appends to a log file. A line that cannot be written waits for the next one: a log is never worth a run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._lines: deque[str] = deque(maxlen=_MOST_KEPT)

    def append(self, notes: Iterable[tuple[float, str]]) -> bool:
        """Write lines, each with its wall time; False when they could not be written yet."""
        self._lines.extend(f"{_stamp(at)} {one_line(text)}\n" for at, text in notes)
        try:
            if self._file is None:
                self._file = open(self._path, "a", encoding="utf-8", errors="replace")  # noqa: SIM115
            self._file.write("".join(self._lines))
            self._file.flush()
        except OSError:
            self.close()
            return False
        self._lines.clear()
        return True

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                return  # what was left in its buffer waits in `_lines` as well


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")
