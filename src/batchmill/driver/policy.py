"""From a manifest's limits, a task's traits and the machine to the scheduler's policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchmill.core.policy import Place, Policy, Traits
from batchmill.driver.host import SHARE_OF_MEMORY, Host
from batchmill.ledger.records import Past
from batchmill.model.limits import Backoff, Limits, QuotaLimit, Retry
from batchmill.model.manifest import LimitsSection, Manifest, RetrySection
from batchmill.model.states import Mode
from batchmill.model.tasks import Task

DEFAULT_CONCURRENCY = 100  # async jobs in flight
RESERVE_SHARE = 0.05  # of memory that the machine keeps available
HOOKS = ("prepare", "summarise", "report")


def limits_of(section: LimitsSection) -> Limits:
    """The limits as plain values."""
    groups = section.concurrency if isinstance(section.concurrency, dict) else {}
    values = section.model_dump(exclude={"concurrency", "quotas", "rate", "max_failures", "budgets"})
    return Limits(
        **values,
        rate=section.rate,
        budgets=tuple(section.budgets.items()),
        max_failures=section.max_failures,
        concurrency=section.concurrency if isinstance(section.concurrency, int) else None,
        group_concurrency=tuple(groups.items()),
        quotas=tuple((name, QuotaLimit(**dict(quota))) for name, quota in section.quotas.items()),
    )


def retry_of(section: RetrySection) -> Retry:
    """The retry policy as plain values."""
    on = tuple(section.on) if section.on is not None else None
    return Retry(section.attempts, on, Backoff(**section.backoff.model_dump()), section.max_elapsed)


def traits_of(task: Task) -> Traits:
    """What the scheduler must know of a task."""
    hooks = frozenset(hook for hook in HOOKS if getattr(task, hook) is not None)
    return Traits(task.timeout, task.memory, task.attempts, task.reuse != "never", hooks, task.prepare_early)


def concurrency_of(tasks: Iterable[Task]) -> int:
    """Async jobs in flight when the limits do not say: what the most careful of the tasks wants."""
    return min((task.concurrency for task in tasks if task.concurrency is not None), default=DEFAULT_CONCURRENCY)


def places(
    modes: Iterable[Mode], limits: Limits, host: Host, most_jobs: int | None, concurrency: int = DEFAULT_CONCURRENCY
) -> tuple[Place, ...]:
    """The slots of a run: worker processes, one async worker, or this process."""
    wanted = set(modes)
    workers = limits.workers or host.cores
    if most_jobs is not None:
        workers = max(1, min(workers, most_jobs))
    slots = [Place(number, Mode.PROCESS) for number in range(workers)] if wanted - {Mode.INLINE} else []
    if Mode.ASYNC in wanted:
        slots.append(Place(len(slots), Mode.ASYNC, limits.concurrency or concurrency))
    if Mode.INLINE in wanted:
        slots.append(Place(len(slots), Mode.INLINE))
    return tuple(slots)


def policy_of(
    manifest: Manifest,
    tasks: Mapping[str, Task],
    modes: Iterable[Mode],
    host: Host,
    past: Past,
    *,
    most_jobs: int | None,
    selected: bool,
    drain_grace: float = 30.0,
    day_ends: float = float("inf"),
) -> Policy:
    """The policy of one invocation."""
    limits = limits_of(manifest.limits)
    return Policy(
        places=places(modes, limits, host, most_jobs, concurrency_of(tasks.values())),
        limits=limits,
        retry=retry_of(manifest.retry),
        tasks={name: traits_of(task) for name, task in tasks.items()},
        total_memory=limits.total_memory or int(SHARE_OF_MEMORY * host.memory),
        reserve=int(RESERVE_SHARE * host.memory),
        drain_grace=drain_grace,
        everything=not selected,
        started_hooks=past.done_hooks - {("prepare", name) for name, task in tasks.items() if task.prepare_early},
        next_call=past.next_call,
        spent=past.spent,
        spent_today=past.spent_today,
        spent_of=past.spent_of,
        lost=past.lost,
        shared=True,
        day_ends=day_ends,
        waiting=past.waiting if manifest.order == "group" else None,
        plan_whole=selected or manifest.order == "group",
    )
