"""Limits and retry policy as plain values: seconds, bytes, and money in integer micro-cents."""

from __future__ import annotations

from typing import NamedTuple

MICRO_CENTS_PER_USD = 100_000_000


class Rate(NamedTuple):
    """So many events in so many seconds."""

    amount: float
    seconds: float

    @property
    def interval(self) -> float:
        """Seconds between two events at an even pace."""
        return self.seconds / self.amount

    def __str__(self) -> str:
        unit = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "day"}.get(self.seconds, f"{self.seconds:g}s")
        return f"{self.amount:g}/{unit}"


class Failures(NamedTuple):
    """How many failed jobs stop a run: a `number`, or a `fraction` of the finished jobs."""

    number: int | None = None
    fraction: float | None = None

    def __str__(self) -> str:
        return str(self.number) if self.fraction is None else f"{100 * self.fraction:g}%"


class Backoff(NamedTuple):
    """Exponential back-off: `min(max, base * factor**(n-1))` seconds, spread by `jitter` (`full` or `none`)."""

    base: float = 1.0
    factor: float = 2.0
    max: float = 60.0
    jitter: str = "full"


class Retry(NamedTuple):
    """How often a job is tried. `attempts` counts all tries; None means the default of each failure kind."""

    attempts: int | None = None
    on: tuple[str, ...] | None = None  # failure kinds or exception class names; None: every kind
    backoff: Backoff = Backoff()
    max_elapsed: float | None = None  # seconds from the start of the job's first attempt


class QuotaLimit(NamedTuple):
    """What an outside service admits for one quota; None is unlimited."""

    rate: Rate | None = None
    tokens: Rate | None = None
    concurrency: int | None = None
    burst: float | None = None  # calls that may leave at once after a rest; None: learned
    day_requests: int | None = None  # in a day of UTC
    day_tokens: int | None = None


class Limits(NamedTuple):
    """What a run may use. None is unlimited (or, for `workers` and `total_memory`, the machine's default)."""

    workers: int | None = None
    concurrency: int | None = None  # async jobs in flight (None: 100)
    group_concurrency: tuple[tuple[str, int], ...] = ()
    timeout: float | None = None
    memory: int | None = None  # bytes, per attempt
    total_memory: int | None = None  # bytes, of all workers
    budget: int | None = None  # micro-cents
    budget_per_day: int | None = None  # micro-cents, of all runs of the user in a day of UTC
    budgets: tuple[tuple[str, int], ...] = ()  # micro-cents, of the calls whose quota begins so
    max_failures: Failures | None = None
    deadline: float | None = None
    rate: Rate | None = None
    quotas: tuple[tuple[str, QuotaLimit], ...] = ()
    kill_grace: float = 0.0
    jobs_per_worker: int | None = None
    worker_growth: int | None = None  # bytes of resting memory
