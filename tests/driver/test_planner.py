"""Planning beside running: when it rests, when it does not, and what it leaves behind."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence

from batchmill.driver.planner import CHUNK, FIRST_CHUNK, PLENTY, Planner
from batchmill.model.events import Event, Planned
from batchmill.model.jobs import PlannedJob
from batchmill.model.states import Mode

PATIENCE = 20.0
WHOLE = 4 * PLENTY


def jobs(count: int = WHOLE) -> Iterator[PlannedJob]:
    return (PlannedJob(n, f"job-{n}", True, "t", Mode.PROCESS, "1", "{}", f"k{n}") for n in range(1, count + 1))


class Disk:
    """A journal whose commits are at once; `positions` are those of the chunks, and None at the end of the plan."""

    def __init__(self) -> None:
        self.positions: queue.Queue[int | None] = queue.Queue()
        self.planned = 0
        self.wrote: Callable[[Planned], Planned]

    def submit_plan(self, rows: Sequence[PlannedJob], position: int, done: bool) -> None:
        self.planned += len(rows)
        self.positions.put(position)
        self.wrote(Planned(time.monotonic(), self.planned, done))
        if done:
            self.positions.put(None)

    def wait_for(self, position: int | None) -> None:
        while self.positions.get(timeout=PATIENCE) != position:
            pass


def planner_of(urgent: int = 0) -> tuple[Planner, Disk]:
    disk = Disk()
    planner = Planner(jobs(), 0, disk, lambda event: None, urgent=urgent)
    disk.wrote = planner.wrote
    return planner, disk


def test_a_plan_that_nobody_slows_is_made_whole() -> None:
    planner, disk = planner_of()
    planner.start()
    disk.wait_for(None)
    planner.close()
    assert disk.planned == WHOLE


def test_planning_rests_while_plenty_of_jobs_are_ready_and_goes_on_when_half_are_left() -> None:
    planner, disk = planner_of()
    planner.pace(lambda most: PLENTY // 2)
    planner.start()
    disk.wait_for(FIRST_CHUNK + 4 * CHUNK)  # the first chunk is small, so the fourth of the others passes the mark
    planner.pace(lambda most: most)
    planner.pace(lambda most: PLENTY // 2 + 1)  # not yet
    planner.pace(lambda most: PLENTY // 2)
    disk.wait_for(FIRST_CHUNK + 8 * CHUNK)
    planner.close()
    assert disk.planned == FIRST_CHUNK + 8 * CHUNK


def test_planning_does_not_rest_while_workers_are_idle() -> None:
    planner, disk = planner_of()
    planner.pace(lambda most: most)
    planner.hurry()
    planner.start()
    disk.wait_for(None)
    planner.close()
    assert disk.planned == WHOLE


def test_jobs_that_may_have_priorities_are_planned_without_a_rest() -> None:
    planner, disk = planner_of(urgent=2 * PLENTY)
    planner.pace(lambda most: most)
    planner.start()
    disk.wait_for(FIRST_CHUNK + (2 * PLENTY // CHUNK) * CHUNK)
    planner.close()
    assert disk.planned >= 2 * PLENTY


def test_closing_ends_a_rest() -> None:
    planner, disk = planner_of()
    planner.pace(lambda most: most)
    planner.start()
    planner.close()
    assert disk.planned == 0


def test_a_source_that_breaks_off_is_told() -> None:
    def broken() -> Iterator[PlannedJob]:
        yield from jobs(10)
        raise OSError("the disk is gone")

    told: queue.Queue[Event] = queue.Queue()
    planner = Planner(broken(), 0, Disk(), told.put)
    planner.start()
    event = told.get(timeout=PATIENCE)
    planner.close()
    assert isinstance(event, Planned)
    assert (event.done, event.error) == (True, "the disk is gone")
