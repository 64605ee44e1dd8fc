"""Attempts in the driver's own process and thread: for debuggers, tests, and tasks that cost next to nothing."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from batchmill.executors import logs
from batchmill.executors.attempt import Attempt, Environment
from batchmill.executors.base import ExecutorSettings
from batchmill.executors.messages import Unusable, Work, work_of
from batchmill.executors.meter import Meter
from batchmill.executors.ports import Question
from batchmill.executors.worker import load_runners
from batchmill.model.commands import Ack, Recall, Start, Stop
from batchmill.model.events import Broken, Ended, Event, LullAsked, Ready, Recalled
from batchmill.model.outcomes import LogSlice, Outcome
from batchmill.model.states import JobState


class InlineExecutor:
    """Runs inline slots (see `base.Executor`): one attempt in each `receive`, start to end.

    While it runs, nobody turns the driver's loop, so steps and calls are answered at once. A driver that can be
    turned from inside sets `turn`: then they wait for their commit as everywhere.
    """

    limits_not_enforced = ("timeout", "memory", "budget", "quotas", "cancel", "crash isolation", "captured output")

    def __init__(self, settings: ExecutorSettings) -> None:
        self.notes = [f"inline jobs run without: {', '.join(self.limits_not_enforced)}"]
        self.turn: Callable[[], None] | None = None
        self._settings = settings
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._events: deque[Event] = deque()
        self._starts: deque[Start] = deque()
        self._port = InlinePort(self)
        self._environment: Environment | None = None
        self._meter = Meter()
        self._closed = self._running = self._interrupted = False

    def open(self) -> None:
        """Import the tasks."""
        s = self._settings
        for folder in ("logs", "tmp"):
            (s.run_folder / folder).mkdir(parents=True, exist_ok=True)
        now, runners = time.monotonic(), load_runners(s.tasks)
        if isinstance(runners, Unusable):
            self._events.append(Broken(now, runners.message, runners.detail))
        else:
            self._environment = Environment(s.run, s.run_folder, s.seed, runners, s.jobs_reader, s.results_reader)
            self._environment.seeder.install()
            self._events.extend(Ready(now, spec.slot) for spec in s.slots)
        self._signal_rest()

    def fileno(self) -> int:
        """Readable while there is something to receive or to run."""
        return self._wake

    def receive(self, now: float, most: int) -> list[Event]:
        """See `base.Executor`. What an attempt said comes whole: its calls left before we hear of them."""
        if self._starts and most > 0:
            self._run(self._starts.popleft())
        taken = list(self._events)
        self._events.clear()
        self._signal_rest()
        return taken

    def start(self, starts: Sequence[Start]) -> None:
        """See `base.Executor`."""
        self._starts.extend(starts)
        self._signal_rest()

    def stop(self, stops: Sequence[Stop]) -> None:
        """There is no worker to end; what has not begun can be recalled."""

    def recall(self, recalls: Sequence[Recall]) -> None:
        """See `base.Executor`."""
        for recall in recalls:
            jobs = tuple(s.row.job for s in self._starts if s.slot == recall.slot)
            self._starts = deque(s for s in self._starts if s.slot != recall.slot)
            self._events.append(Recalled(time.monotonic(), recall.slot, jobs))
        self._signal_rest()

    def ack(self, acks: Sequence[Ack]) -> None:
        """See `base.Executor`."""
        self._port.answers.update((ack.ticket, ack) for ack in acks)

    def set_prepared(self, prepared: Mapping[str, Mapping[str, str]]) -> None:
        """See `base.Executor`."""
        if self._environment is not None:
            self._environment.prepared = prepared

    def close(self) -> None:
        """Free the descriptor."""
        if not self._closed:
            self._closed = True
            if self._environment is not None:
                self._environment.seeder.remove()
            os.close(self._wake)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the attempt that runs now, if any: it ends cancelled. For signal handlers."""
        if self._running:
            self._interrupted = True
            raise KeyboardInterrupt

    def say(self, event: Event) -> None:
        """Add an event of the running job."""
        self._events.append(event)

    def _run(self, start: Start) -> None:
        assert self._environment is not None
        self._port.begin(start.slot)
        with _put_back(), contextlib.chdir(self._settings.folder):
            attempt = Attempt(Work._make(work_of(start)), self._environment, self._port, self._meter)
            self._running = True
            outcome = attempt.run()
            self._running = False
        if self._interrupted and "KeyboardInterrupt" in outcome.exceptions:
            outcome = Outcome(JobState.CANCELLED, outcome.usage)
        self._events.append(Ended(time.monotonic(), start.slot, start.row.job, self._with_log(start.slot, outcome)))

    def _with_log(self, slot: int, outcome: Outcome) -> Outcome:
        if not self._port.lines:
            return outcome
        data = logs.capped("".join(self._port.lines).encode("utf-8", "backslashreplace"))
        with open(self._settings.run_folder / "logs" / logs.file_name(slot), "ab") as file:
            start = file.tell()
            file.write(data)
        return outcome._replace(log=LogSlice(logs.file_name(slot), start, start + len(data)))

    def _signal_rest(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._events or self._starts:
            os.eventfd_write(self._wake, 1)


class InlinePort:
    """The line of a job that runs in the driver's thread."""

    may_wait = True
    offloads = False

    def __init__(self, executor: InlineExecutor) -> None:
        self.slot = 0
        self.tickets = itertools.count(1)
        self.answers: dict[int, Ack] = {}
        self.lines: list[str] = []
        self._executor = executor

    def begin(self, slot: int) -> None:
        """A job of this slot begins."""
        self.slot = slot
        self.lines.clear()
        self.answers.clear()

    def tell(self, event: Event) -> None:
        """See Port."""
        self._executor.say(event)

    hint = tell

    def ask(self, question: Question) -> Ack:
        """See Port."""
        self.tell(question)
        turn = self._executor.turn
        if turn is None:
            return Ack(question.slot, question.job, question.ticket)
        while question.ticket not in self.answers:
            turn()
        return self.answers.pop(question.ticket)

    async def ask_later(self, question: Question) -> Ack:
        """See Port. Whether all jobs wait is for the driver's loop to say, which does not turn meanwhile."""
        if isinstance(question, LullAsked):
            import asyncio  # heavy, and running already wherever this is called

            await asyncio.get_running_loop().create_future()
        return self.ask(question)

    def log(self, job: int, text: str) -> None:
        """See Port."""
        self.lines.append(text)


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    """Leave the driver's own random numbers, environment and umask as they were."""
    numpy_random = sys.modules.get("numpy.random")
    drawn = numpy_random.get_state() if numpy_random is not None else None
    state, environment, umask = random.getstate(), dict(os.environ), os.umask(0)
    os.umask(umask)
    try:
        yield
    finally:
        random.setstate(state)
        if numpy_random is not None:
            numpy_random.set_state(drawn)
        os.umask(umask)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
