"""What the scheduler alone costs: microseconds for each no-op job, with windows of 32, commits and readings included.

    python benchmarks/scheduler.py [JOBS]

No processes and no disk: the other side of every event is played here, and its own cost is measured and taken off.
"""

from __future__ import annotations

import sys
import time

from batchmill.core.policy import Place, Policy
from batchmill.core.scheduler import Scheduler
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model.jobs import Row
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import JobState, Mode

WORKERS = 2
NO_OP = 20e-6  # seconds that an attempt takes


def rows(first: int, count: int) -> tuple[Row, ...]:
    return tuple(Row(n, f"job-{n}", "t", Mode.PROCESS, "1", "{}", f"k{n}") for n in range(first, first + count))


def outcome(now: float) -> Outcome:
    return Outcome(JobState.SUCCEEDED, Usage(now, now + NO_OP, NO_OP, 10_000_000), result=b"{}")


class Play:
    """The world around a scheduler: every tick all that a slot holds has ended, and the last batch is committed."""

    def __init__(self, jobs: int) -> None:
        places = tuple(Place(slot, Mode.PROCESS) for slot in range(WORKERS))
        self.scheduler = Scheduler(Policy(places), lambda: 0.5)
        self.jobs, self.read, self.now, self.steps = jobs, 0, 0.0, 0
        self.inside = 0.0  # CPU seconds in the scheduler

    def step(self, events: list[ev.Event]) -> do.Act:
        began = time.process_time()
        act = self.scheduler.step(events)
        self.scheduler.next_wakeup  # noqa: B018 - the loop asks each time
        self.inside += time.process_time() - began
        self.steps += 1
        return act

    def run(self) -> None:
        events: list[ev.Event] = [ev.Planned(0.0, self.jobs, True)]
        events += [ev.Ready(0.0, slot, 100 + slot) for slot in range(WORKERS)]
        while not self.scheduler.finished:
            act = self.step([*events, ev.Tick(self.now)])
            self.now += 0.001
            events = self.answers(act)

    def answers(self, act: do.Act) -> list[ev.Event]:
        events: list[ev.Event] = [ev.Committed(self.now, act.batch)] if act.batch else []
        events += [self.loaded(load) for load in act.loads]
        events += [ev.Ended(self.now, start.slot, start.row.job, outcome(self.now)) for start in act.starts]
        return events

    def loaded(self, load: do.Load) -> ev.Loaded:
        if load.stream != "main":
            return ev.Loaded(self.now, load.stream, (), True)
        count = min(load.limit, self.jobs - self.read)
        found = rows(self.read + 1, count)
        self.read += count
        return ev.Loaded(self.now, "main", found, self.read == self.jobs, (0, 0, self.read))


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for _ in range(3):
        play = Play(jobs)
        play.run()
        each, rate = 1e6 * play.inside / jobs, play.steps / play.inside
        print(f"{each:.2f} us a job, {rate:,.0f} steps/s, {jobs / play.steps:.0f} jobs a step")


if __name__ == "__main__":
    main()
