"""The driver's side of process and async workers: windows, deaths, and the zygote that makes and ends workers.

Nothing here decides anything: what a death or a timeout means is the scheduler's business.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from batchmill.executors import linux
from batchmill.executors.base import ExecutorSettings
from batchmill.executors.channel import Gone, Outbox, encode
from batchmill.executors.launcher import Launcher
from batchmill.executors.lines import Line, Slot, hear
from batchmill.executors.messages import (
    Cancel,
    Fork,
    Kill,
    PreparedPaths,
    Reaped,
    Sampled,
    Unusable,
    Up,
    unpack_end,
    work_of,
)
from batchmill.executors.reactor import Reactor
from batchmill.model.commands import Ack, Recall, Start, Stop
from batchmill.model.events import Broken, Died, Event, Ready, Recalled, Sample
from batchmill.model.states import Mode
from batchmill.model.text import size_text

_BATCH = 64  # messages read from one socket before the next one has its turn
_TRIES = 2  # deaths in a row, of the zygote or of a slot's workers, without a success between
_RETIRE = encode(None)


class ProcessExecutor:
    """Runs process and async slots (see `base.Executor`). `notes` holds lines for the run's log."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self.notes: list[str] = []
        self._settings = settings
        self._slots = {spec.slot: Slot(spec) for spec in settings.slots}
        self._async = [slot for slot in self._slots.values() if slot.spec.mode is Mode.ASYNC]
        self._launcher = Launcher(settings)
        self._reactor = Reactor()
        self._events: deque[Event] = deque()
        self._generations = itertools.count(1)
        self._prepared: bytes | None = None
        self._control: Outbox | None = None
        self._failures = 0  # deaths of the zygote since the last success
        self._up = self._broken = False
        self._now = 0.0

    # --- the contract ---

    def open(self) -> None:
        """Start the zygote and ask it for a worker in every slot. Raises UsageError where that cannot work."""
        linux.require()
        for folder in ("logs", "tmp"):
            (self._settings.run_folder / folder).mkdir(parents=True, exist_ok=True)
        self._open_zygote()

    def fileno(self) -> int:
        """The executor's epoll."""
        return self._reactor.fileno()

    def receive(self, now: float, most: int) -> list[Event]:
        """See `base.Executor`."""
        self._now = now
        while len(self._events) < most and self._reactor.turn():
            pass
        self._enforce_cancels(now)
        taken = [self._events.popleft() for _ in range(min(most, len(self._events)))]
        self._reactor.stay_readable(bool(self._events))
        return taken

    def start(self, starts: Sequence[Start]) -> None:
        """See `base.Executor`. A slot without a worker gets one."""
        many: dict[int, list[Any]] = {}  # for one loop: one message is as cheap as one job
        for start in starts:
            slot = self._slots[start.slot]
            if slot.line is None:
                slot.respawn = True
                self._make_worker(slot)
            slot.flying[start.row.job] = None
            if slot.spec.mode is Mode.ASYNC:
                many.setdefault(start.slot, []).append(work_of(start))
            else:
                self._post(slot, encode(work_of(start)))
        for number, works in many.items():
            self._post(self._slots[number], encode(works))

    def stop(self, stops: Sequence[Stop]) -> None:
        """See `base.Executor`. A retired worker ends its window, then dies with exit code 0."""
        for stop in stops:
            slot = self._slots[stop.slot]
            if slot.line is None:
                continue
            if stop.how == "retire":
                slot.respawn = stop.respawn
                self._post(slot, _RETIRE)
            elif stop.how == "cancel" and slot.spec.mode is Mode.ASYNC:
                slot.cancels[stop.job] = time.monotonic() + stop.grace
                self._say(slot.line, encode(Cancel(stop.job)))
            else:
                slot.respawn = stop.respawn
                self._kill(slot.line, stop.slot, stop.grace)

    def recall(self, recalls: Sequence[Recall]) -> None:
        """See `base.Executor`."""
        for recall in recalls:
            jobs = self._take_back(self._slots[recall.slot])
            self._events.append(Recalled(time.monotonic(), recall.slot, jobs))
        self._reactor.stay_readable(bool(self._events))

    def ack(self, acks: Sequence[Ack]) -> None:
        """See `base.Executor`. An answer to a worker that is gone is dropped."""
        many: dict[int, list[Ack]] = {}  # for the jobs of one loop: one message is as cheap as one answer
        for ack in acks:
            slot = self._slots[ack.slot]
            if slot.spec.mode is Mode.ASYNC and ack.value is None:
                many.setdefault(ack.slot, []).append(ack)
            elif slot.line is not None:
                self._say(slot.line, encode(ack))
        for number, some in many.items():
            if (line := self._slots[number].line) is not None:
                self._say(line, encode(some))

    def set_prepared(self, prepared: Mapping[str, Mapping[str, str]]) -> None:
        """See `base.Executor`."""
        self._prepared = encode(PreparedPaths({task: dict(paths) for task, paths in prepared.items()}))
        for slot in self._slots.values():
            self._post(slot, self._prepared)

    def close(self) -> None:
        """See `base.Executor`. Safe to call twice."""
        if self._reactor.closed:
            return
        self._close_zygote()
        for slot in self._slots.values():
            self._close_line(slot)
        self._reactor.close()

    # --- the zygote ---

    def _open_zygote(self) -> None:
        self._control = Outbox(self._launcher.launch())
        self._reactor.watch(self._control.sock, self._read_control)
        self._order(self._launcher.setting())
        for slot in self._slots.values():
            if slot.respawn:
                self._make_worker(slot)

    def _close_zygote(self) -> None:
        """End the zygote, which ends everything below it."""
        if self._control is not None:
            self._reactor.unwatch(self._control.sock)
            self._control.close()
            self._control = None
        groups = [slot.line.pid for slot in self._slots.values() if slot.line is not None]
        self._launcher.wait(groups, listening=self._up)
        self._up = False

    def _read_control(self) -> None:
        control = self._control
        if control is None:
            return
        try:
            if control and control.flush():
                self._reactor.also_for_room(control.sock, False)
            hear(control.sock, self._hear_zygote)
        except Gone:
            self._bury_zygote()

    def _hear_zygote(self, message: Any) -> None:
        if isinstance(message, Reaped):
            self._bury(message)
        elif isinstance(message, Sampled):
            busy = tuple((slot, rss) for slot, rss in message.rss if self._slots[slot].flying)
            self._events.append(Sample(self._now, busy, message.available))
        elif isinstance(message, Unusable):
            self._break(message)
        elif isinstance(message, Up):
            self._up = True
            self.notes += [message.note] if message.note else []

    def _bury_zygote(self) -> None:
        """The zygote is gone, and all workers with it: say so for each slot, and start over unless that is vain."""
        self._close_zygote()
        if self._broken:
            return
        for number, slot in self._slots.items():
            self._last_words(number, slot)
        # where a job may have done it, what becomes of that job limits how often it can happen
        self._failures += not any(slot.flying for slot in self._slots.values())
        for number, slot in self._slots.items():
            if slot.line is not None:
                self._bury(Reaped(number, slot.line.generation, signal.SIGKILL, None, 0.0, 0, 0, None, shared=True))
        if self._failures >= _TRIES:
            self._break(Unusable("the process that starts workers died twice", self._launcher.last_words()))
        else:
            self.notes.append("the process that starts workers died; it is started again")
            self._open_zygote()

    def _break(self, what: Unusable) -> None:
        if not self._broken:
            self._broken = True
            self._events.append(Broken(self._now, what.message, what.detail))

    def _order(self, message: Any, fds: Sequence[int] = ()) -> None:
        control = self._control
        if control is None:
            return
        try:
            if not control.post(encode(message), fds):
                self._reactor.also_for_room(control.sock, True)
        except Gone:
            return  # its end of file is read like any other

    # --- workers ---

    def _make_worker(self, slot: Slot) -> None:
        if self._broken or self._control is None:
            return
        line = slot.line = Line(next(self._generations))
        self._reactor.watch(line.talk.sock, partial(self._read_talk, slot, line))
        if self._prepared is not None:
            self._post(slot, self._prepared)
        fork = Fork(slot.spec.slot, line.generation, slot.spec.mode)
        self._order(fork, (line.unread.fileno(), line.workers_talk.fileno()))
        line.workers_talk.close()

    def _read_talk(self, slot: Slot, line: Line) -> None:
        try:
            if line.talk and line.talk.flush():
                self._reactor.also_for_room(line.talk.sock, False)
        except Gone:
            line.ended = True
        line.hear(partial(self._hear, slot), _BATCH)
        if line.ended:  # the zygote's report follows; until then an ended socket would keep us awake
            self._reactor.unwatch(line.talk.sock)

    def _hear(self, slot: Slot, message: Any) -> None:
        if type(message) is list:  # of the jobs of one loop
            for one in message:
                self._hear(slot, one)
        elif type(message) is tuple:
            ended = unpack_end(self._now, slot.spec.slot, message)
            slot.flying.pop(ended.job, None)
            slot.cancels.pop(ended.job, None)
            self._failures = 0
            self._events.append(ended)
        elif isinstance(message, Unusable):
            self._break(message)
        else:
            self._events.append(message)  # the clock of all processes is the same
            if isinstance(message, Ready) and slot.line is not None:
                slot.line.pid, slot.stillborn = message.pid, 0
                self._check_memory(slot, message.rss)

    def _check_memory(self, slot: Slot, rss: int) -> None:
        limit = self._settings.memory
        if limit is not None and rss > limit and slot.spec.mode is Mode.PROCESS:
            room = f"a worker takes {size_text(rss)} before it starts any job"
            self._break(Unusable(f"the memory limit of {size_text(limit)} is too low: {room}", ""))

    def _bury(self, death: Reaped) -> None:
        """A worker is dead: first what it said last, then the jobs it never read, then its death."""
        slot = self._slots[death.slot]
        line = slot.line
        if line is None or line.generation != death.generation:
            return
        self._last_words(death.slot, slot)
        self._events.append(self._obituary(slot, death))
        slot.stillborn += line.pid == 0 and not line.killed
        self._close_line(slot)
        slot.flying.clear()
        slot.cancels.clear()
        if slot.stillborn > _TRIES:
            self._break(Unusable("workers die as soon as they are started", self._launcher.last_words()))
        elif slot.respawn:
            self._make_worker(slot)

    def _last_words(self, number: int, slot: Slot) -> None:
        """What a dead worker said last, and the jobs it never read."""
        if slot.line is None:
            return
        slot.line.hear(partial(self._hear, slot))
        if jobs := self._take_back(slot):
            self._events.append(Recalled(self._now, number, jobs))

    def _obituary(self, slot: Slot, death: Reaped) -> Died:
        if death.reason:
            self.notes.append(f"the worker of slot {death.slot} was killed: a job {death.reason}")
        culprit = death.head if slot.spec.mode is Mode.ASYNC and death.head in slot.flying else 0
        return Died(
            self._now,
            death.slot,
            death.signal,
            death.exit_code,
            death.cpu,
            death.peak_rss,
            death.log,
            culprit,
            death.shared,
            death.reason,
        )

    def _enforce_cancels(self, now: float) -> None:
        """An async job that ignores its cancellation costs its worker."""
        for slot in self._async:
            if slot.cancels and slot.line is not None and min(slot.cancels.values()) <= now:
                slot.cancels.clear()
                self._kill(slot.line, slot.spec.slot, 0.0)

    def _kill(self, line: Line, slot: int, grace: float) -> None:
        line.killed = True
        self._order(Kill(slot, line.generation, grace))

    def _take_back(self, slot: Slot) -> tuple[int, ...]:
        """Jobs that the worker has not read, in the order sent; other messages among them are sent again."""
        if slot.line is None:
            return ()
        jobs, others = slot.line.take_back()
        for job in jobs:
            slot.flying.pop(job, None)
        for data in others:
            self._post(slot, data)
        return tuple(jobs)

    def _close_line(self, slot: Slot) -> None:
        if slot.line is not None:
            self._reactor.unwatch(slot.line.talk.sock)
            self._reactor.unwatch(slot.line.jobs.sock)
            slot.line.close()
            slot.line = None

    def _post(self, slot: Slot, data: bytes) -> None:
        """Send to a worker's jobs socket, now or when it has room."""
        line = slot.line
        if line is not None and not line.jobs.post(data):
            self._reactor.watch(line.jobs.sock, partial(self._flush_jobs, line), for_room=True)

    def _flush_jobs(self, line: Line) -> None:
        if line.jobs.flush():
            self._reactor.unwatch(line.jobs.sock)

    def _say(self, line: Line, data: bytes) -> None:
        """Send to a worker's talk socket; what a dead one does not hear is lost."""
        if line.ended:
            return
        try:
            if not line.talk.post(data):
                self._reactor.also_for_room(line.talk.sock, True)
        except Gone:
            return  # its end of file is read like any other
