"""What the scheduler is told once, before the first event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from batchmill.core.lost import LostCall
from batchmill.model.limits import Limits, Retry
from batchmill.model.states import FailureKind, Mode


class Traits(NamedTuple):
    """What matters of a task to the scheduler."""

    timeout: float | None = None
    memory: int | None = None
    attempts: Mapping[FailureKind, int] = {}
    reuses: bool = True  # False: equal keys run again
    hooks: frozenset[str] = frozenset()  # of prepare, summarise, report
    early: bool = False  # its `prepare` need not see the whole plan


class Place(NamedTuple):
    """A slot: where attempts of one mode run, and how many at once."""

    slot: int
    mode: Mode
    capacity: int = 1


@dataclass(frozen=True)
class Policy:
    """The limits and rules of one invocation of a run.

    Hooks and offloaded functions run in process slots (hooks inline, where there is none): `places` must have one.
    """

    places: tuple[Place, ...]
    limits: Limits = field(default_factory=Limits)
    retry: Retry = field(default_factory=Retry)
    tasks: Mapping[str, Traits] = field(default_factory=dict)
    total_memory: int | None = None  # bytes for all workers: `limits.total_memory`, or a share of the machine
    reserve: int = 0  # bytes of memory to leave available
    drain_grace: float = 30.0  # seconds for attempts in flight after the first interrupt
    window: int = 1000  # rows in memory
    everything: bool = True  # False: a selection; the run stops, not finishes, at its end
    started_hooks: frozenset[tuple[str, str]] = frozenset()  # hooks that are done already
    next_call: int = 1
    spent: int = 0  # micro-cents, of earlier invocations
    spent_today: int = 0
    spent_of: tuple[tuple[str, int], ...] = ()  # by quota
    shared: bool = False  # the user's other runs use the same quotas, and share a day's money
    day_ends: float = float("inf")
    lost: tuple[LostCall, ...] = ()  # whose end nobody saw, of earlier invocations
    waiting: Mapping[int, int] | None = None  # `order: group`: lanes of the jobs that already wait for an attempt
    plan_whole: bool = False  # a selection or an order needs the whole plan first
