"""What an attempt took: wall time, CPU time, peak memory; and the kernel's limit on the memory it may take."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Protocol

from batchmill.executors.linux import data_size, resident
from batchmill.model.outcomes import Usage

_RESTING_EVERY = 0.1  # seconds: reading statm after each no-op job would cost as much as the job
_NOTABLE = 256  # KB: a mark that rose by less is not worth a reset (1 us)


class Stopwatch(Protocol):
    """What an attempt needs to be measured."""

    def start(self) -> float:
        """Begin; the monotonic time."""

    def stop(self, started: float) -> Usage:
        """What it took since `started`."""

    def resting(self, usage: Usage) -> int:
        """Resident bytes of the process after the attempt; 0 where that says nothing."""


class Meter:
    """Measures one attempt after the other in this process.

    Peak memory: writing 5 to `clear_refs` resets the kernel's high-water mark, which `getrusage` reports
    (`man 5 proc`). CPU is counted from the end of the attempt before: what the engine does in between is microseconds.
    """

    def __init__(self) -> None:
        self._clear_refs = _open_clear_refs()
        self._grown = True  # the high-water mark stands above where the last reset put it
        self._low = self._child_peak = 0
        self._read_at = 0.0
        self._resting = 0
        self.cpu = self._total_cpu()

    def start(self) -> float:
        """Begin; the monotonic time."""
        if self._grown and self._clear_refs is not None:
            os.write(self._clear_refs, b"5")
            self._grown, self._low = False, getrusage(RUSAGE_SELF).ru_maxrss
        return time.monotonic()

    def stop(self, started: float) -> Usage:
        """What came since `started`. A child counts for its peak when it was reaped and larger than all before."""
        own, reaped = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
        total = own.ru_utime + own.ru_stime + reaped.ru_utime + reaped.ru_stime
        cpu, self.cpu = total - self.cpu, total
        peak = own.ru_maxrss
        self._grown = peak - self._low > _NOTABLE
        if reaped.ru_maxrss > self._child_peak:
            self._child_peak = reaped.ru_maxrss
            peak = max(peak, self._child_peak)
        return Usage(started, time.monotonic(), cpu, peak * 1024)

    def resting(self, usage: Usage) -> int:
        """Resident bytes of this process now, or a reading less than 0.1 s old."""
        if usage.ended - self._read_at > _RESTING_EVERY or usage.ended - usage.started > _RESTING_EVERY / 10:
            self._read_at, self._resting = usage.ended, resident("self")
        return self._resting

    @staticmethod
    def _total_cpu() -> float:
        own, reaped = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
        return own.ru_utime + own.ru_stime + reaped.ru_utime + reaped.ru_stime


def _open_clear_refs() -> int | None:
    """None where /proc is read-only: then peaks are those of the worker, and the watchdog's samples."""
    try:
        return os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return None


@contextlib.contextmanager
def data_limit(limit: int) -> Iterator[None]:
    """Let this process grow by twice `limit` bytes, then allocations fail: the backstop of the watchdog's poll."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = data_size() + 2 * limit
    ceiling = min(c for c in (ceiling, soft, hard) if c != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
