"""Workers that act out scripts on a fake clock: processes with queues, an async worker with many jobs, inline.

They keep the contract of `batchmill.executors.base`: jobs of a process worker run in the order sent, unread ones
come back (Recalled) before the death of their worker is told (Died), a killed worker dies a moment later, and a
job may end while its kill is on the way.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import NamedTuple

from batchmill.core.policy import Place
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model.jobs import SavedStep
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import JobState, Mode
from batchmill.testing.clock import FakeClock
from batchmill.testing.faults import FaultPlan
from batchmill.testing.scripts import SUCCESS, Call, Crash, Hang, Offload, Script, Sleep, Step, Work, failure

RESTING = 8_000_000  # bytes of a worker that has done nothing yet
SIGKILL = 9


class Began(NamedTuple):
    """A worker began an attempt."""

    at: float
    slot: int
    job: int
    attempt: int
    memory: int
    hook: str


class Left(NamedTuple):
    """A worker does not work on an attempt any more, for whatever reason."""

    at: float
    slot: int
    job: int
    attempt: int


class Sent(NamedTuple):
    """A metered call left for its service."""

    at: float
    slot: int
    job: int
    ticket: int
    cost: int


@dataclass(eq=False)
class Attempt:
    """One attempt on its way through its script."""

    start: do.Start
    script: Script
    began: float
    next_action: int = 0
    ticket: int = 0  # of what it waits for
    resume: Callable[[do.Ack], None] | None = None
    alive: bool = True
    stubborn: bool = False


@dataclass(eq=False)
class Worker:
    """One worker: the attempts that it works on and, for a serial one, those it has not read."""

    place: Place
    pid: int
    resting: int = RESTING
    unread: deque[do.Start] = field(default_factory=deque)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    alive: bool = True
    used: bool = False  # it was sent something

    @property
    def serial(self) -> bool:
        return self.place.mode is not Mode.ASYNC


class SimulatedExecutor:
    """Obeys the scheduler's commands. `post` receives the events, `watch` what workers truly do (Began, Left, Sent)."""

    def __init__(
        self,
        places: Sequence[Place],
        faults: FaultPlan,
        clock: FakeClock,
        chance: Random,
        post: Callable[[ev.Event], None],
        watch: Callable[[Began | Left | Sent], None],
        *,
        sample_interval: float | None = None,
        machine_memory: int = 64_000_000_000,
    ) -> None:
        self._places, self._faults, self._clock, self._chance = places, faults, clock, chance
        self._post, self._watch = post, watch
        self._interval, self._memory = sample_interval, machine_memory
        self._pids = itertools.count(100)
        self._tickets = itertools.count(1)
        self.workers: dict[int, Worker] = {}

    # --- the contract

    def open(self) -> None:
        """Start the workers."""
        for place in self._places:
            self._boot(place)
        if self._interval is not None:
            self._clock.after(self._interval, self._sample)

    def start(self, starts: Iterable[do.Start]) -> None:
        """Send jobs to slots."""
        for start in starts:
            worker = self.workers[start.slot]
            worker.used = True
            if not worker.serial:
                self._begin(worker, start)
                continue
            worker.unread.append(start)
            if not worker.attempts:
                self._soon(partial(self._read, worker))

    def stop(self, stops: Iterable[do.Stop]) -> None:
        """Kill, cancel or retire."""
        for stop in stops:
            worker = self.workers[stop.slot]
            if stop.how == "cancel":
                self._cancel(worker, stop)
            elif worker.used:  # else it is meant for one that died before, which was told already
                delay = stop.grace + self._chance.uniform(0.0, 0.02)
                code, signal = (0, None) if stop.how == "retire" else (None, SIGKILL)
                self._clock.after(delay, partial(self._die, worker, signal, code, 0, stop.respawn))

    def recall(self, recalls: Iterable[do.Recall]) -> None:
        """Take unread jobs back."""
        for recall in recalls:
            worker = self.workers[recall.slot]
            jobs = tuple(start.row.job for start in worker.unread)
            worker.unread.clear()
            self._soon(partial(self._tell_recalled, worker, jobs))

    def ack(self, acks: Iterable[do.Ack]) -> None:
        """Answer attempts that wait."""
        for ack in acks:
            attempt = self.workers[ack.slot].attempts.get(ack.job)
            if attempt is not None and attempt.ticket == ack.ticket and attempt.resume is not None:
                resume, attempt.resume = attempt.resume, None
                resume(ack)

    def close(self) -> None:
        """Kill everything."""
        for worker in self.workers.values():
            self._end_worker(worker)

    # --- workers

    def _soon(self, action: Callable[[], None]) -> None:
        self._clock.after(self._chance.uniform(0.00001, 0.001), action)

    def _boot(self, place: Place) -> None:
        worker = self.workers[place.slot] = Worker(place, next(self._pids))
        self._clock.after(self._chance.uniform(0.001, 0.02), partial(self._ready, worker))

    def _ready(self, worker: Worker) -> None:
        self._post(ev.Ready(self._clock.now, worker.place.slot, worker.pid))

    def _read(self, worker: Worker) -> None:
        if worker.alive and worker.unread and not worker.attempts:
            self._begin(worker, worker.unread.popleft())

    def _begin(self, worker: Worker, start: do.Start) -> None:
        attempt = Attempt(start, self._script(start), self._clock.now)
        worker.attempts[start.row.job] = attempt
        self._watch(Began(attempt.began, start.slot, start.row.job, start.attempt, attempt.script.memory, start.hook))
        self._proceed(worker, attempt)

    def _script(self, start: do.Start) -> Script:
        if start.hook == "offload":
            seconds, crashes = (start.payload or b"0 0").split()
            return Script((Work(float(seconds)),), Crash() if int(crashes) else SUCCESS)
        if start.hook:
            return self._faults.hook(start.hook, start.row.task)
        return self._faults.script(start.row, start.attempt)

    def _cancel(self, worker: Worker, stop: do.Stop) -> None:
        attempt = worker.attempts.get(stop.job)
        if attempt is None:
            return
        if attempt.stubborn:
            self._clock.after(stop.grace, partial(self._give_up_on, worker, attempt))
        else:
            self._soon(partial(self._finish, worker, attempt, Outcome(JobState.CANCELLED, SUCCESS.usage)))

    def _give_up_on(self, worker: Worker, attempt: Attempt) -> None:
        if attempt.alive:
            self._die(worker, SIGKILL, None, attempt.start.row.job)

    def _die(self, worker: Worker, signal: int | None, code: int | None, job: int = 0, respawn: bool = True) -> None:
        if not worker.alive:
            return
        unread = tuple(start.row.job for start in worker.unread)
        memory = max((attempt.script.memory for attempt in worker.attempts.values()), default=0)
        self._end_worker(worker)
        now, slot = self._clock.now, worker.place.slot
        if unread:
            self._post(ev.Recalled(now, slot, unread))
        self._post(ev.Died(now, slot, signal, code, peak_rss=worker.resting + memory, job=job))
        if respawn:
            self._boot(worker.place)

    def _end_worker(self, worker: Worker) -> None:
        worker.alive = False
        worker.unread.clear()
        for attempt in list(worker.attempts.values()):
            self._leave(worker, attempt)

    def _leave(self, worker: Worker, attempt: Attempt) -> None:
        attempt.alive = False
        start = attempt.start
        del worker.attempts[start.row.job]
        self._watch(Left(self._clock.now, start.slot, start.row.job, start.attempt))

    def _tell_recalled(self, worker: Worker, jobs: tuple[int, ...]) -> None:
        self._post(ev.Recalled(self._clock.now, worker.place.slot, jobs))

    def _sample(self) -> None:
        busy = [worker for worker in self.workers.values() if worker.attempts]
        rss = tuple((w.place.slot, w.resting + sum(a.script.memory for a in w.attempts.values())) for w in busy)
        if rss:
            available = self._memory - sum(size for _, size in rss)
            self._post(ev.Sample(self._clock.now, rss, max(available, 0)))
        self._clock.after(self._interval or 1.0, self._sample)

    # --- attempts

    def _proceed(self, worker: Worker, attempt: Attempt) -> None:
        """Do the next action; each one ends by proceeding, at once or later."""
        if not attempt.alive:
            return
        if attempt.next_action == len(attempt.script.actions):
            self._end(worker, attempt)
            return
        action = attempt.script.actions[attempt.next_action]
        attempt.next_action += 1
        if isinstance(action, Work):
            self._after(worker, attempt, action.seconds, partial(self._proceed, worker, attempt))
        elif isinstance(action, Step):
            self._step(worker, attempt, action)
        elif isinstance(action, Call):
            self._call(worker, attempt, action)
        elif isinstance(action, Sleep):
            self._sleep(worker, attempt, action)
        else:
            self._offload(worker, attempt, action)

    def _after(self, worker: Worker, attempt: Attempt, seconds: float, action: Callable[[], None]) -> None:
        self._clock.after(seconds, lambda: action() if attempt.alive and worker.alive else None)

    def _wait(self, attempt: Attempt, resume: Callable[[do.Ack], None]) -> tuple[float, int, int, int]:
        """Wait for an answer; what every question begins with."""
        attempt.ticket, attempt.resume = next(self._tickets), resume
        return self._clock.now, attempt.start.slot, attempt.start.row.job, attempt.ticket

    def _step(self, worker: Worker, attempt: Attempt, step: Step) -> None:
        if any(saved.name == step.name for saved in attempt.start.row.steps):
            self._proceed(worker, attempt)
            return

        def done() -> None:
            saved = SavedStep(step.name, "", b"1")
            question = self._wait(attempt, partial(self._go_on, worker, attempt))
            self._post(ev.StepDone(*question, saved, step.seconds))

        self._after(worker, attempt, step.seconds, done)

    def _go_on(self, worker: Worker, attempt: Attempt, ack: do.Ack) -> None:
        if ack.refused:
            self._finish(worker, attempt, failure("JobFailed"))
        else:
            self._proceed(worker, attempt)

    def _call(self, worker: Worker, attempt: Attempt, call: Call) -> None:
        def answered(ack: do.Ack) -> None:
            if ack.refused:
                self._finish(worker, attempt, failure("Permanent", permanent=True))
                return
            self._watch(Sent(self._clock.now, ack.slot, ack.job, ack.ticket, call.cost))
            self._after(worker, attempt, call.seconds, partial(settled, ack.ticket))

        def settled(ticket: int) -> None:
            now, start = self._clock.now, attempt.start
            self._post(ev.CallSettled(now, start.slot, start.row.job, ticket, call.tokens, call.cost, True))
            self._proceed(worker, attempt)

        question = self._wait(attempt, answered)
        key, unpriced = f"call {question[3]}", call.unpriced
        self._post(ev.CallAsked(*question, call.quota, key, call.tokens, call.most, unpriced=unpriced))

    def _sleep(self, worker: Worker, attempt: Attempt, sleep: Sleep) -> None:
        start, ticket = attempt.start, next(self._tickets)
        self._post(ev.WaitBegan(self._clock.now, start.slot, start.row.job, ticket))

        def done() -> None:
            self._post(ev.WaitEnded(self._clock.now, start.slot, start.row.job, ticket))
            self._proceed(worker, attempt)

        self._after(worker, attempt, sleep.seconds, done)

    def _offload(self, worker: Worker, attempt: Attempt, offload: Offload) -> None:
        payload = f"{offload.seconds!r} {offload.crashes:d}".encode()
        question = self._wait(attempt, partial(self._go_on, worker, attempt))
        self._post(ev.OffloadAsked(*question, payload))

    def _end(self, worker: Worker, attempt: Attempt) -> None:
        end = attempt.script.end
        if isinstance(end, Hang):
            attempt.stubborn = end.stubborn
        elif isinstance(end, Crash):
            culprit = attempt.start.row.job if end.known and not worker.serial else 0
            self._die(worker, end.signal, end.exit_code, culprit)
        else:
            self._finish(worker, attempt, end)

    def _finish(self, worker: Worker, attempt: Attempt, outcome: Outcome) -> None:
        if not attempt.alive:
            return
        now, script = self._clock.now, attempt.script
        worker.resting += script.left
        usage = Usage(attempt.began, now, now - attempt.began, worker.resting + script.memory)
        self._leave(worker, attempt)
        outcome = outcome._replace(usage=usage, resting_rss=worker.resting)
        self._post(ev.Ended(now, worker.place.slot, attempt.start.row.job, outcome))
        if worker.serial:
            self._read(worker)
