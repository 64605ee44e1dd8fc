"""Short ways to play a simulation and to read its history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from batchmill.core.policy import Place, Policy
from batchmill.model import commands as do
from batchmill.model.jobs import Row
from batchmill.model.limits import Limits, Retry
from batchmill.model.states import JobState, Mode
from batchmill.testing import FaultPlan, Script, Simulation, Work, rows, workers
from tests.core.oracle import judge

T = TypeVar("T")
NONE = Retry(attempts=1)
TWO_AND_ASYNC = (Place(0, Mode.PROCESS), Place(1, Mode.PROCESS), Place(2, Mode.ASYNC, 10))


def play(
    jobs: Sequence[Row] | int,
    limits: Limits | None = None,
    scripts: dict[int, tuple[Script, ...]] | None = None,
    *,
    places: tuple[Place, ...] | int = 2,
    retry: Retry | None = None,
    seed: int = 1,
    seconds: float = 1.0,
    policy: dict[str, Any] | None = None,
    **options: Any,
) -> Simulation:
    """Play a run in which every attempt works `seconds`, but for what `scripts` says, and judge it."""
    slots = workers(places) if isinstance(places, int) else places
    rules = Policy(slots, limits or Limits(), retry or Retry(), **(policy or {}))
    faults = options.pop("faults", None) or FaultPlan(seed, seconds=(seconds, seconds), scripts=scripts or {})
    options.setdefault("late", 0.0)
    simulation = Simulation(seed, rows(jobs) if isinstance(jobs, int) else jobs, rules, faults, **options)
    simulation.play()
    return judge(simulation)


def works(seconds: float, **fields: Any) -> tuple[Script, ...]:
    """A job that works so long and succeeds."""
    return (Script((Work(seconds),), **fields),)


def fails(seconds: float, *ends: Any) -> tuple[Script, ...]:
    """A job whose attempts work so long and end in turn like this."""
    return tuple(Script((Work(seconds),), end) for end in ends)


def seen(simulation: Simulation, kind: type[T]) -> list[tuple[float, T]]:
    """The entries of one type, with their times in seconds from the start."""
    found = [(at - simulation.started, item) for at, item in simulation.history]
    return [(at, item) for at, item in found if isinstance(item, kind)]


def starts(simulation: Simulation) -> list[tuple[float, int]]:
    """When which job was started."""
    return [(at, start.row.job) for at, start in seen(simulation, do.Start) if not start.hook]


def states(simulation: Simulation) -> dict[int, JobState]:
    """The state of each job in the ledger."""
    return {job: record.state for job, record in simulation.ledger.jobs.items()}


def count(simulation: Simulation, state: JobState) -> int:
    return simulation.ledger.counts()[state]
