"""What the driver and the command line read of a ledger. The records of reports are `report.records`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from batchmill.core.lost import LostCall
from batchmill.model.jobs import Row
from batchmill.model.states import RunState


class RunRow(NamedTuple):
    """The run's own row. Times are wall seconds, `spent` is micro-cents, `provenance` is JSON."""

    id: str
    name: str
    ordinal: int
    task: str
    plan_digest: str
    state: RunState
    reason: str
    created: float
    started: float | None
    finished: float | None
    active_s: float
    folder: str
    seed: int
    planned: int
    plan_position: int
    plan_done: bool
    epoch: int
    tick: int
    spent: int
    provenance: str


class Past(NamedTuple):
    """What earlier invocations leave behind: hooks that succeeded, as (hook, task); the next free number of a call;
    micro-cents spent, with those of calls whose end nobody knows; lanes of the jobs that wait for another attempt."""

    done_hooks: frozenset[tuple[str, str]]
    next_call: int
    spent: int
    spent_today: int = 0
    spent_of: tuple[tuple[str, int], ...] = ()  # by quota
    lost: tuple[LostCall, ...] = ()  # the calls whose end nobody knows
    waiting: Mapping[int, int] = {}


class Selection(NamedTuple):
    """Which jobs to run: those that match every part that is given."""

    names: tuple[str, ...] = ()  # GLOB patterns, one of which must match
    group: str | None = None
    numbers: frozenset[int] | None = None


class Chunk(NamedTuple):
    """Pending rows in order. `after` is where to read on; `next_due` the wall time of the next row that waits."""

    rows: tuple[Row, ...]
    exhausted: bool
    after: tuple[float, ...] | None
    next_due: float | None = None
