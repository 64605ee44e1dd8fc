"""One invocation of a run: everything is opened, the loop is driven, everything is closed again, whatever happens."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from batchmill.core.policy import Policy
from batchmill.core.quota import DAY
from batchmill.core.scheduler import Scheduler
from batchmill.driver import host, interrupts
from batchmill.driver.feed import Choice, Feeder, FeedSettings
from batchmill.driver.inbox import Inbox
from batchmill.driver.lender import Lender
from batchmill.driver.loop import Observer, drive
from batchmill.driver.planner import Planner
from batchmill.driver.policy import policy_of
from batchmill.errors import InternalError
from batchmill.executors import Executors
from batchmill.executors.base import ExecutorSettings, SlotSpec
from batchmill.ledger.journal import Journal
from batchmill.ledger.lease import Lease
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from batchmill.ledger.records import Past
from batchmill.ledger.requests import clear_requests, take_requests
from batchmill.model.commands import Act
from batchmill.model.events import Asked, Broken, CommitFailed, Event, Lent, Planned
from batchmill.model.jobs import PlannedJob
from batchmill.model.manifest import Manifest
from batchmill.model.states import Mode, RunState
from batchmill.model.tasks import Task, TaskSource

JOBS_READER = "batchmill.ledger.worker_reading:read_jobs"
RESULTS_READER = "batchmill.ledger.worker_reading:read_results"
QUICK_SAMPLES, SLOW_SAMPLES = 0.1, 0.5  # seconds; quick where a memory limit is in force


@dataclass(frozen=True)
class Order:
    """What to drive: a run whose lease is held, its settings, and the rest of its plan (None: it is whole)."""

    paths: RunPaths
    lease: Lease
    name: str
    manifest: Manifest
    tasks: Mapping[str, Task]
    folder: Path
    past: Past
    jobs: Iterator[PlannedJob] | None
    planned: int = 0
    partly: bool = False  # `jobs` are not all of the rest
    total: int | None = None  # jobs of the whole plan, where that is known
    urgent: int = 0  # jobs from the start of the plan that must be planned without a rest
    choice: Choice | None = None
    fresh: bool = False
    inline: bool = False
    drain_grace: float = 30.0

    @property
    def modes(self) -> set[Mode]:
        """Where its jobs run."""
        return {Mode.INLINE} if self.inline else {task.mode for task in self.tasks.values()}

    @property
    def sources(self) -> dict[str, TaskSource]:
        """Where workers find the tasks. Raises InternalError for a task that none can find."""
        lost = [name for name, task in self.tasks.items() if task.source is None]
        if lost:
            raise InternalError(f"task `{lost[0]}` has no source that a worker could load")
        return {name: task.source for name, task in self.tasks.items() if task.source is not None}


class Finish(NamedTuple):
    """How an invocation ended."""

    state: RunState
    reason: str
    signal: int = 0
    ledger_error: str = ""
    broken: str = ""  # why no worker can run the task
    warnings: tuple[str, ...] = ()


class Session:
    """The parts of one invocation. `ask` may be called from any thread while it runs."""

    def __init__(self, order: Order, observer: Observer) -> None:
        self.order = order
        self.policy = _policy(order)
        self.scheduler = Scheduler(self.policy, random.Random(f"{order.paths.id}:{order.manifest.seed}").random)
        self._observer = observer
        self._broken: Broken | None = None
        self._unwritten = ""
        self._warnings: list[str] = []
        self._offset = time.time() - time.monotonic()
        self._planner: Planner | None = None
        self._inbox: Inbox | None = None

    def ask(self, what: str, job: int = 0) -> None:
        """Ask the live run: `drain`, `stop`, `cancel` or `retry`."""
        if self._inbox is not None:
            self._inbox.post(Asked(time.monotonic(), what, job))

    def see(self, events: Sequence[Event], act: Act) -> None:
        """Pass a turn of the loop on, and remember why nothing can run or be written."""
        for event in events:
            if type(event) is Broken:
                self._broken = self._broken or event
            elif type(event) is CommitFailed:
                self._unwritten = event.message
            elif type(event) is Lent and event.broken:
                self._warnings.append(event.broken)
        if self._planner is not None and self.scheduler.hungry(self.order.modes):
            self._planner.hurry()
        self._observer.see(events, act)

    def peek(self) -> tuple[Sequence[str], str]:
        """Why nothing more starts at the moment, and why the run ends early; empty where there is no reason."""
        state = self.scheduler.state
        waiting = list(self._warnings)
        if state.desk.waiting:
            waiting.append("calls wait for their limits")
        if state.pacer is not None and any(state.book.ready.values()) and state.pacer.when(state.now) > state.now:
            waiting.append(f"rate limit of {self.policy.limits.rate}")
        return waiting, state.ending.reason if state.ending is not None else ""

    def run(self) -> Finish:
        """Drive the run to its end, or to where it must stop. Raises LedgerError when it cannot even begin."""
        with ExitStack() as stack:
            # what was imported stays: the collector need not look through it again with every thousand jobs
            gc.freeze()
            stack.callback(gc.unfreeze)
            executor = Executors(_executor_settings(self.order, self.policy))
            stack.callback(executor.close)
            executor.open()
            inbox = self._inbox = Inbox(executor, self._requests)
            stack.callback(self._close_inbox)
            journal = Journal(
                self.order.paths,
                self.order.lease,
                durability=self.order.manifest.durability,
                wall_offset=self._offset,
                answer=self._answered,
            )
            stack.callback(journal.close)
            journal.start()
            clear_requests(self.order.paths)
            feeder = Feeder(_feed_settings(self.order, self.policy, self._offset), inbox.post, self._pace)
            stack.callback(feeder.close)
            feeder.start()
            self._begin_plan(journal, inbox, stack)
            lender = Lender(self.order.paths, inbox.post)
            stack.callback(lender.close, lambda: self.scheduler.state.desk.farewell(time.monotonic()))
            signals = stack.enter_context(interrupts.as_events(inbox.post, executor.interrupt))
            drive(self.scheduler, inbox, executor, journal, feeder, lender, self)
        if feeder.error is not None:
            raise feeder.error
        return self._finish(signals)

    def _requests(self, now: float) -> list[Event]:
        return [Asked(now, request.what, request.job) for request in take_requests(self.order.paths)]

    def _answered(self, event: Event) -> None:
        """In the journal's thread: pass on what it says."""
        if type(event) is Planned and self._planner is not None:
            event = self._planner.wrote(event)
        if self._inbox is not None:
            self._inbox.post(event)

    def _pace(self, reader: LedgerReader) -> None:
        """In the feeder's thread: let the planner rest, or wake it up."""
        if self._planner is not None:
            self._planner.pace(reader.ready)

    def _close_inbox(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()

    def _begin_plan(self, journal: Journal, inbox: Inbox, stack: ExitStack) -> None:
        order = self.order
        if order.jobs is None:
            inbox.post(Planned(time.monotonic(), order.planned, True))
            return
        self._planner = Planner(
            order.jobs, order.planned, journal, inbox.post, whole=not order.partly, urgent=order.urgent
        )
        stack.callback(self._planner.close)
        self._planner.start()

    def _finish(self, signals: list[int]) -> Finish:
        state, reason = self.scheduler.course.closed
        broken = self._broken.message if self._broken is not None else ""
        signal = signals[0] if signals else 0
        return Finish(state, reason, signal, self._unwritten, broken, tuple(self._warnings))


def _policy(order: Order) -> Policy:
    return policy_of(
        order.manifest,
        order.tasks,
        order.modes,
        host.look(),
        order.past,
        most_jobs=order.total,
        selected=order.choice is not None,
        drain_grace=order.drain_grace,
        day_ends=time.monotonic() + DAY - time.time() % DAY,
    )


def _executor_settings(order: Order, policy: Policy) -> ExecutorSettings:
    limited = policy.limits.memory is not None or any(task.memory is not None for task in order.tasks.values())
    return ExecutorSettings(
        slots=tuple(SlotSpec(*place) for place in policy.places),
        tasks=order.sources,
        run=order.paths.id,
        run_folder=order.paths.folder,
        folder=order.folder,
        seed=order.manifest.seed,
        jobs_reader=JOBS_READER,
        results_reader=RESULTS_READER,
        memory=policy.limits.memory,
        sample_interval=QUICK_SAMPLES if limited or policy.limits.total_memory is not None else SLOW_SAMPLES,
    )


def _feed_settings(order: Order, policy: Policy, offset: float) -> FeedSettings:
    return FeedSettings(
        paths=order.paths,
        name=order.name,
        wall_offset=offset,
        capped_groups=tuple(group for group, _ in policy.limits.group_concurrency),
        choice=order.choice,
        reuse={name: order.manifest.reuse or task.reuse for name, task in order.tasks.items()},
        fresh=order.fresh,
        inline=order.inline,
        skipping=frozenset(name for name, task in order.tasks.items() if task.unreadable == "skip"),
    )
