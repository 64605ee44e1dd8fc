"""The effective settings of a manifest in words: what was given, and the default of everything else."""

from __future__ import annotations

import os

from batchmill.manifest.document import Document
from batchmill.model.limits import Failures, Rate
from batchmill.model.manifest import BackoffSection, LimitsSection, Manifest, RetrySection
from batchmill.model.text import duration_text, money_text, size_text


def explain(document: Document) -> list[tuple[str, str]]:
    """Pairs of a setting's name and its effective value, in the order in which `check` shows them."""
    manifest = document.manifest
    return [
        ("run name", document.name),
        ("task", ", ".join(_tasks(manifest)) or "named by the rows of the table"),
        *_limits(manifest.limits),
        *_retry(manifest.retry),
        ("order", "plan" if manifest.order == "plan" else "one group after the other"),
        ("reuse", manifest.reuse or "what the task declares"),
        ("durability", manifest.durability),
        ("exports", manifest.output or "none beyond the run's folder"),
        ("reports", ", ".join(manifest.report.formats) or "none"),
    ]


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tasks(manifest: Manifest) -> list[str]:
    named = (manifest.task, *(job.task for job in manifest.jobs))
    return list(dict.fromkeys(name for name in named if name is not None))


def _limits(limits: LimitsSection) -> list[tuple[str, str]]:
    cores = usable_cores()
    return [
        ("workers", str(limits.workers) if limits.workers else f"{cores} (usable cores)"),
        ("concurrency", _concurrency(limits.concurrency)),
        ("timeout", _seconds(limits.timeout, "none, or the task's own")),
        ("memory", _bytes(limits.memory, "not limited", " per attempt")),
        ("total_memory", _bytes(limits.total_memory, "80% of the machine or cgroup")),
        ("budget", "not limited" if limits.budget is None else money_text(limits.budget)),
        ("max_failures", _given(limits.max_failures, "not limited")),
        ("deadline", _seconds(limits.deadline, "none")),
        ("rate", _given(limits.rate, "not limited")),
        ("kill_grace", duration_text(limits.kill_grace) if limits.kill_grace else "0 (a timeout kills at once)"),
        ("jobs_per_worker", _given(limits.jobs_per_worker, "not limited")),
        ("worker_growth", _bytes(limits.worker_growth, "not limited")),
    ]


def _retry(retry: RetrySection) -> list[tuple[str, str]]:
    attempts = "1 for `error` and `invalid`, 3 for `timeout` and `crashed`"
    return [
        ("attempts", _given(retry.attempts, attempts)),
        ("retried", ", ".join(retry.on) if retry.on is not None else "every kind that has attempts left"),
        ("back-off", _backoff(retry.backoff)),
        ("max_elapsed", _seconds(retry.max_elapsed, "none")),
    ]


def _backoff(backoff: BackoffSection) -> str:
    jitter = "full jitter" if backoff.jitter == "full" else "no jitter"
    return f"{_short(backoff.base)} x {backoff.factor:g} up to {_short(backoff.max)}, {jitter}"


def _short(seconds: float) -> str:
    return f"{seconds:g} s"


def _concurrency(value: int | dict[str, int] | None) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{group}: {number}" for group, number in value.items())
    return str(value) if value else "100 async jobs"


def _seconds(value: float | None, default: str) -> str:
    return default if value is None else duration_text(value)


def _bytes(value: int | None, default: str, per: str = "") -> str:
    return default if value is None else size_text(value) + per


def _given(value: int | Failures | Rate | None, default: str) -> str:
    return default if value is None else str(value)
