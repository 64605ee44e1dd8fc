"""The captured output of workers: one file a slot, cut into a slice per job, each slice capped at 2 MB.

A slice over the cap keeps its first and last megabyte. While a job still prints, the middle is turned into a hole.
"""

from __future__ import annotations

import os
from pathlib import Path

from batchmill.executors.linux import punch_hole

KEEP = 1024 * 1024  # bytes kept at each end of a slice
CAP = 2 * KEEP


def file_name(slot: int) -> str:
    """The name of a slot's log under the run's `logs/`."""
    return f"worker-{slot}.log"


def open_log(folder: Path, slot: int) -> int:
    """A descriptor that appends to a slot's log."""
    return os.open(folder / file_name(slot), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def capped(text: bytes) -> bytes:
    """The text, or its first and last megabyte around a line that says how much is missing."""
    if len(text) <= CAP:
        return text
    return text[:KEEP] + _marker(len(text) - CAP) + text[-KEEP:]


def compact(path: Path, start: int, end: int) -> int:
    """Cut the slice `start..end` at the end of a log file down to its cap; returns its new end."""
    if end - start <= CAP:
        return end
    # a descriptor of its own: on Linux, pwrite to an O_APPEND descriptor appends whatever the offset
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        tail = _marker(end - start - CAP) + os.pread(fd, KEEP, end - KEEP)
        os.pwrite(fd, tail, start + KEEP)
        os.ftruncate(fd, start + KEEP + len(tail))
    finally:
        os.close(fd)
    return start + KEEP + len(tail)


class Puncher:
    """Keeps the disk free while a job prints without end: frees the middle of its slice, a piece at a time."""

    def __init__(self, folder: Path, slot: int) -> None:
        self._fd = os.open(folder / file_name(slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._start = self._freed = 0

    def look(self, start: int) -> None:
        """Free what lies between the kept ends of the slice that began at `start`."""
        if start != self._start:
            self._start, self._freed = start, 0
        end = os.fstat(self._fd).st_size - KEEP
        first = max(self._freed, start + KEEP)
        if end - first > CAP and punch_hole(self._fd, first, end):
            self._freed = end

    def close(self) -> None:
        """Let the file go."""
        os.close(self._fd)


def _marker(missing: int) -> bytes:
    return f"\n[... {missing} bytes left out ...]\n".encode()
