"""The async worker: one process whose loop holds many jobs. The driver's side is the same as for process workers."""

from __future__ import annotations

import asyncio
import contextvars
import io
import itertools
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any
from weakref import WeakSet

from batchmill.errors import UsageError
from batchmill.executors import logs
from batchmill.executors.attempt import Attempt, Environment
from batchmill.executors.channel import DONT_WAIT, Gone, Outbox, encode, receive_bytes
from batchmill.executors.messages import Cancel, Cell, PreparedPaths, Work, pack_end
from batchmill.executors.ports import Question
from batchmill.executors.worker import Place
from batchmill.model.commands import Ack
from batchmill.model.events import Event
from batchmill.model.outcomes import LogSlice, Outcome, Usage
from batchmill.model.states import JobState

STOPPED = 71  # exit code of a worker whose loop was stopped
_REST, _LONGEST_REST = 0.00004, 0.002  # seconds between two messages to the driver: for each job, and at most
_JOB = Cell.JOB
_BEAT_EVERY = 0.5  # seconds; the zygote counts ten seconds without a beat as a hang


class Held:
    """One job in the loop: its tasks, its output, and how long its steps took.

    That time counts as CPU time: to ask the kernel twice a step, as many as there are, costs more than most steps do.
    """

    def __init__(self, work: Work, row: memoryview[float]) -> None:
        self.work = work
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.output = bytearray()
        self._row = row
        self._busy = 0.0  # seconds
        self._entered = 0.0

    def step(self, resume: Callable[..., Any], *values: Any) -> Any:
        """Let the job's code hold the loop: if it crashes or hangs, the board says whose it was."""
        row = self._row
        row[_JOB] = self.work.job
        self._entered = time.monotonic()
        try:
            return resume(*values)
        finally:
            self._busy += time.monotonic() - self._entered
            row[_JOB] = 0

    def write(self, text: str) -> None:
        """Add to the job's output; more than the cap loses its middle."""
        self.output += text.encode("utf-8", "backslashreplace")
        if len(self.output) > 2 * logs.CAP:
            self.output[:] = logs.capped(bytes(self.output))

    def start(self) -> float:
        """See Stopwatch."""
        return time.monotonic()

    def stop(self, started: float) -> Usage:
        """See Stopwatch: memory cannot be told apart among the jobs of one process."""
        now = time.monotonic()
        return Usage(started, now, self._busy + now - self._entered)

    def resting(self, usage: Usage) -> int:
        """See Stopwatch."""
        return 0


_CURRENT: contextvars.ContextVar[Held | None] = contextvars.ContextVar("batchmill_current", default=None)


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose every step is booked on its job."""

    def __init__(self, inner: Coroutine[Any, Any, Any], held: Held) -> None:
        self._inner, self._send, self._step = inner, inner.send, held.step
        self.__name__ = getattr(inner, "__name__", "coroutine")
        self.__qualname__ = getattr(inner, "__qualname__", "coroutine")

    def send(self, value: Any) -> Any:
        """One step."""
        return self._step(self._send, value)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None) -> Any:
        """One step that begins with an exception."""
        return self._step(self._inner.throw, kind if value is None else value)

    def close(self) -> None:
        """End it."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()


class _JobStream(io.TextIOBase):
    """What a job prints goes to the job; what nobody's code prints goes to the worker's log."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def write(self, text: str) -> int:
        """Write to whom it belongs."""
        held = _CURRENT.get()
        if held is not None:
            held.write(text)
        else:
            self._shared.write(text)
        return len(text)

    def flush(self) -> None:
        """Bring the worker's own part to its log."""
        self._shared.flush()


class LoopPort:
    """The line of a job that shares its process: whoever asks is suspended, not the loop."""

    may_wait = False
    offloads = True

    def __init__(self, place: Place, held: dict[int, Held]) -> None:
        self.slot = place.slot
        self.tickets = itertools.count(place.generation << 32)
        self.outbox = Outbox(place.talk)
        self._held = held
        self._said: list[Any] = []
        self._sent_at = 0.0
        self._waiting: dict[int, asyncio.Future[Ack]] = {}

    def tell(self, event: Event) -> None:
        """See Port."""
        self.say(event)

    def say(self, message: Any) -> None:
        """Send soon, with what else is said until then: of many jobs that talk, one message is as cheap as one word."""
        self._said.append(message)
        if len(self._said) == 1:
            loop = asyncio.get_running_loop()
            rest = min(_LONGEST_REST, len(self._held) * _REST)
            loop.call_at(self._sent_at + rest, self.send)

    def send(self) -> None:
        """Send what was said, now or when the driver has read some."""
        self._sent_at = time.monotonic()
        if not self._said:
            return
        data = encode(self._said if len(self._said) > 1 else self._said[0])
        self._said.clear()
        if not self.outbox.post(data):
            loop = asyncio.get_running_loop()
            loop.add_writer(self.outbox.sock, self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.outbox.flush():
            loop.remove_writer(self.outbox.sock)

    def hint(self, event: Event) -> None:
        """See Port. It goes at once: what comes next may hold the loop for long."""
        if not self.outbox:
            self.tell(event)
            self.send()

    def ask(self, question: Question) -> Ack:
        """See Port."""
        raise UsageError("a function that waits would stop every job of this worker", hint="make the task `async def`")

    async def ask_later(self, question: Question) -> Ack:
        """See Port."""
        answer = self._waiting[question.ticket] = asyncio.get_running_loop().create_future()
        try:
            self.tell(question)
            ack: Ack = await answer
            return ack
        finally:
            del self._waiting[question.ticket]

    def answer(self, ack: Ack) -> None:
        """Wake whoever asked, if it still waits."""
        answer = self._waiting.get(ack.ticket)
        if answer is not None and not answer.done():
            answer.set_result(ack)

    def log(self, job: int, text: str) -> None:
        """See Port."""
        if (held := self._held.get(job)) is not None:
            held.write(text)


class AsyncWorker:
    """The loop of the async worker."""

    def __init__(self, place: Place, environment: Environment) -> None:
        self._place, self._environment = place, environment
        self._row = place.board.row(place.slot)
        self._held: dict[int, Held] = {}
        self._mains: dict[int, asyncio.Task[Outcome]] = {}
        self._port = LoopPort(place, self._held)
        self._log = logs.open_log(environment.run_folder / "logs", place.slot)
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)
        self._leaving = False
        self._over: asyncio.Future[None] | None = None

    def serve(self) -> None:
        """Run jobs until the driver closes the line or says to leave.

        A job that stops the loop ends this process at once: the other jobs must not notice, nor say that they ended.
        """
        sys.stdout, sys.stderr = _JobStream(sys.stdout), _JobStream(sys.stderr)
        try:
            asyncio.new_event_loop().run_until_complete(self._main())
        except BaseException:  # noqa: BLE001 - it ends in the log, and the exit code tells the zygote
            traceback.print_exc()
            os._exit(STOPPED)

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        loop.set_task_factory(_make_task)
        loop.add_reader(self._place.jobs, self._guard, self._read_jobs)
        loop.add_reader(self._place.talk, self._guard, self._read_talk)
        self._beat(loop)
        await self._over
        self._port.send()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._row[Cell.BEAT] += 1
        loop.call_later(_BEAT_EVERY, self._beat, loop)

    def _guard(self, read: Any) -> None:
        """Read messages; the end of the line is ours too."""
        try:
            while True:
                read()
        except BlockingIOError:
            return
        except Gone:
            os._exit(0)  # the zygote is about to kill us: no job may hold this up

    def _read_jobs(self) -> None:
        message = pickle.loads(receive_bytes(self._place.jobs, DONT_WAIT)[0])
        if type(message) is list:
            for work in message:
                self._begin(Work._make(work))
        elif isinstance(message, PreparedPaths):
            self._environment.prepared = message.paths
        else:
            self._leaving = True
            self._leave_if_done()

    def _read_talk(self) -> None:
        message = pickle.loads(receive_bytes(self._place.talk, DONT_WAIT)[0])
        if type(message) is list:
            for ack in message:
                self._port.answer(ack)
        elif isinstance(message, Ack):
            self._port.answer(message)
        elif isinstance(message, Cancel):
            self._guard(self._read_jobs)  # it may wait there still
            if (main := self._mains.get(message.job)) is not None:
                main.cancel()

    def _begin(self, work: Work) -> None:
        held = self._held[work.job] = Held(work, self._row)
        attempt = Attempt(work, self._environment, self._port, held)
        context = contextvars.copy_context()
        context.run(_CURRENT.set, held)
        main = asyncio.get_running_loop().create_task(attempt.run_async(), context=context)
        self._mains[work.job] = main
        main.add_done_callback(lambda done: self._end(held, done))

    def _end(self, held: Held, main: asyncio.Task[Outcome]) -> None:
        work, now = held.work, time.monotonic()
        # cancelled before its first step, it could not even say so
        outcome = Outcome(JobState.CANCELLED, Usage(now, now)) if main.cancelled() else main.result()
        del self._held[work.job], self._mains[work.job]
        for task in held.tasks:
            task.cancel()
        outcome = outcome._replace(log=self._append(held))
        self._port.say(pack_end(work.job, outcome))
        self._leave_if_done()

    def _append(self, held: Held) -> LogSlice | None:
        """Bring a job's output to the log, in one piece."""
        if not held.output:
            return None
        data = memoryview(logs.capped(bytes(held.output)))
        size = len(data)
        while data:
            data = data[os.write(self._log, data) :]
        end = os.lseek(self._log, 0, os.SEEK_CUR)
        self._row[Cell.LOG] = end
        return LogSlice(logs.file_name(self._place.slot), end - size, end)

    def _leave_if_done(self) -> None:
        if self._leaving and not self._mains and self._over is not None and not self._over.done():
            self._over.set_result(None)


def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """A task; one that a job's code makes belongs to the job."""
    context = options.get("context")
    held = _CURRENT.get() if context is None else context.get(_CURRENT)
    if held is None:
        return asyncio.Task(coro, loop=loop, **options)
    task = asyncio.Task(_Watched(coro, held), loop=loop, **options)
    held.tasks.add(task)
    return task
