"""The driver's side of process and async workers: sockets, windows, and the zygote that makes and ends workers.

Nothing here decides anything: what a death or a timeout means is the scheduler's business.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchmill.executors import linux
from batchmill.executors.base import ExecutorSettings, SlotSpec
from batchmill.executors.channel import Gone, Outbox, encode, pair, receive_bytes, unread
from batchmill.executors.launcher import Launcher
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
from batchmill.model.events import (
    Ack,
    Broken,
    Died,
    Event,
    Ready,
    Recall,
    Recalled,
    Sample,
    Start,
    Stop,
)
from batchmill.model.states import Mode

_BATCH = 64  # messages read from one socket before the next one has its turn
_TRIES = 2  # deaths in a row, of the zygote or of a slot's workers, without a success between
_RETIRE = encode(None)


@dataclass
class _Line:
    """The driver's ends of one worker's sockets."""

    generation: int
    jobs: Outbox
    unread: socket.socket  # the worker's end of `jobs`: what it has not read can be taken back
    talk: Outbox
    pid: int = 0
    ended: bool = False  # the talk socket said end of file


@dataclass
class _Slot:
    """One slot and its present worker."""

    spec: SlotSpec
    line: _Line | None = None
    flying: dict[int, None] = field(default_factory=dict)  # jobs sent and not ended, in order
    cancels: dict[int, float] = field(default_factory=dict)  # job -> when it must be over
    respawn: bool = True
    stillborn: int = 0  # workers in a row that died before they were ready


class ProcessExecutor:
    """Runs process and async slots (see `base.Executor`). `notes` holds lines for the run's log."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self.notes: list[str] = []
        self._settings = settings
        self._slots = {spec.slot: _Slot(spec) for spec in settings.slots}
        self._launcher = Launcher(settings)
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._readers: dict[int, Callable[[int], None]] = {}
        self._events: deque[Event] = deque()
        self._generations = itertools.count(1)
        self._prepared: bytes | None = None
        self._control: Outbox | None = None
        self._failures = 0  # deaths of the zygote since the last success
        self._broken = False
        self._now = 0.0

    # --- the contract ---

    def open(self) -> None:
        """Start the zygote and ask it for a worker in every slot."""
        linux.require()
        for folder in ("logs", "tmp"):
            (self._settings.run_folder / folder).mkdir(parents=True, exist_ok=True)
        self._open_zygote()

    def fileno(self) -> int:
        """The executor's epoll."""
        return self._epoll.fileno()

    def receive(self, now: float, most: int) -> list[Event]:
        """See `base.Executor`."""
        self._now = now
        while len(self._events) < most:
            ready = [fd for fd, _ in self._epoll.poll(0) if fd != self._wake]
            if not ready:
                break
            for fd in ready:
                # closed meanwhile by an earlier one of this round, perhaps
                if (reader := self._readers.get(fd)) is not None:
                    reader(fd)
        self._enforce_cancels(now)
        taken = [self._events.popleft() for _ in range(min(most, len(self._events)))]
        self._signal_rest()
        return taken

    def start(self, starts: Sequence[Start]) -> None:
        """See `base.Executor`. A slot without a worker gets one."""
        for start in starts:
            slot = self._slots[start.slot]
            if slot.line is None:
                slot.respawn = True
                self._make_worker(slot)
            slot.flying[start.row.job] = None
            self._post(slot, encode(work_of(start)))

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
                self._order(Kill(stop.slot, slot.line.generation, stop.grace))

    def recall(self, recalls: Sequence[Recall]) -> None:
        """See `base.Executor`."""
        for recall in recalls:
            slot = self._slots[recall.slot]
            self._events.append(Recalled(time.monotonic(), recall.slot, self._take_back(slot)))
        self._signal_rest()

    def ack(self, acks: Sequence[Ack]) -> None:
        """See `base.Executor`. An answer to a worker that is gone is dropped."""
        for ack in acks:
            line = self._slots[ack.slot].line
            if line is not None:
                self._say(line, encode(ack))

    def set_prepared(self, prepared: Mapping[str, Mapping[str, str]]) -> None:
        """See `base.Executor`."""
        self._prepared = encode(PreparedPaths({task: dict(paths) for task, paths in prepared.items()}))
        for slot in self._slots.values():
            if slot.line is not None:
                self._post(slot, self._prepared)

    def close(self) -> None:
        """See `base.Executor`. Safe to call twice."""
        if self._epoll.closed:
            return
        pids = [slot.line.pid for slot in self._slots.values() if slot.line is not None]
        self._close_zygote(pids)
        for slot in self._slots.values():
            self._close_line(slot)
        os.close(self._wake)
        self._epoll.close()

    # --- the zygote ---

    def _open_zygote(self) -> None:
        self._control = Outbox(self._launcher.launch())
        self._watch(self._control.sock, self._read_control)
        self._post_control(encode(self._launcher.setting()))
        for slot in self._slots.values():
            if slot.respawn:
                self._make_worker(slot)

    def _close_zygote(self, pids: list[int]) -> None:
        """End the zygote, which ends everything below it."""
        if self._control is not None:
            self._unwatch(self._control.sock)
            self._control.close()
            self._control = None
        self._launcher.wait(pids)

    def _read_control(self, fd: int) -> None:
        control = self._control
        if control is None or control.sock.fileno() != fd:
            return
        try:
            control.flush()
            self._flow(control, self._hear_zygote)
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
        elif isinstance(message, Up) and message.note:
            self.notes.append(message.note)

    def _bury_zygote(self) -> None:
        """The zygote is gone, and all workers with it: say so for each slot, and start over unless that is vain."""
        lines = {number: slot.line for number, slot in self._slots.items() if slot.line is not None}
        self._close_zygote([line.pid for line in lines.values()])
        if self._broken:
            return
        self._failures += 1
        for number, line in lines.items():
            self._bury(Reaped(number, line.generation, signal.SIGKILL, None, 0.0, 0, 0, None), alone=False)
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
        self._post_control(encode(message), fds)

    def _post_control(self, data: bytes, fds: Sequence[int] = ()) -> None:
        if self._control is None:
            return
        try:
            if not self._control.post(data, fds):
                self._epoll.modify(self._control.sock, select.EPOLLIN | select.EPOLLOUT)
        except Gone:
            return  # its end of file is read like any other

    # --- workers ---

    def _make_worker(self, slot: _Slot) -> None:
        if self._broken or self._control is None:
            return
        jobs, unread_end = pair()
        talk, worker_talk = pair()
        generation = next(self._generations)
        slot.line = _Line(generation, Outbox(jobs), unread_end, Outbox(talk))
        self._watch(talk, lambda _: self._read_talk(slot))
        if self._prepared is not None:
            self._post(slot, self._prepared)
        fork = Fork(slot.spec.slot, generation, slot.spec.mode)
        self._order(fork, (unread_end.fileno(), worker_talk.fileno()))
        worker_talk.close()

    def _read_talk(self, slot: _Slot) -> None:
        line = slot.line
        if line is None:
            return
        try:
            if line.talk:
                self._flush_talk(line)
            self._flow(line.talk, lambda message: self._hear(slot, message), most=_BATCH)
        except Gone:
            # the zygote's report follows; until then an ended socket would keep us awake
            line.ended = True
            self._unwatch(line.talk.sock)

    def _hear(self, slot: _Slot, message: Any) -> None:
        if type(message) is tuple:
            ended = unpack_end(self._now, slot.spec.slot, message)
            slot.flying.pop(ended.job, None)
            if slot.cancels:
                slot.cancels.pop(ended.job, None)
            self._failures = 0
            self._events.append(ended)
        elif isinstance(message, Unusable):
            self._break(message)
        else:
            self._events.append(message._replace(at=self._now))
            if isinstance(message, Ready) and slot.line is not None:
                slot.line.pid, slot.stillborn = message.pid, 0

    def _bury(self, death: Reaped, *, alone: bool = True) -> None:
        """A worker is dead: first what it said last, then the jobs it never read, then its death."""
        slot = self._slots[death.slot]
        line = slot.line
        if line is None or line.generation != death.generation:
            return
        if not line.ended:
            try:
                self._flow(line.talk, lambda message: self._hear(slot, message))
            except Gone:
                line.ended = True
        if jobs := self._take_back(slot):
            self._events.append(Recalled(self._now, death.slot, jobs))
        self._events.append(self._obituary(slot, death))
        slot.stillborn += line.pid == 0
        self._close_line(slot)
        slot.flying.clear()
        slot.cancels.clear()
        if slot.stillborn > _TRIES:
            self._break(Unusable("workers die as soon as they are started", self._launcher.last_words()))
        elif alone and slot.respawn:
            self._make_worker(slot)

    def _obituary(self, slot: _Slot, death: Reaped) -> Died:
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
        )

    def _enforce_cancels(self, now: float) -> None:
        """An async job that ignores its cancellation costs its worker."""
        for slot in self._slots.values():
            if slot.cancels and slot.line is not None and min(slot.cancels.values()) <= now:
                slot.cancels.clear()
                self._order(Kill(slot.spec.slot, slot.line.generation, 0.0))

    def _take_back(self, slot: _Slot) -> tuple[int, ...]:
        """Jobs that the worker has not read, in the order sent; other messages among them are sent again."""
        if slot.line is None:
            return ()
        jobs, others = [], []
        for data in itertools.chain(list(unread(slot.line.unread)), list(slot.line.jobs.take_back())):
            message = pickle.loads(data)
            if type(message) is tuple:
                jobs.append(message[0])
                slot.flying.pop(message[0], None)
            else:
                others.append(data)
        for data in others:
            self._post(slot, data)
        return tuple(jobs)

    def _close_line(self, slot: _Slot) -> None:
        if slot.line is not None:
            self._unwatch(slot.line.talk.sock)
            self._unwatch(slot.line.jobs.sock)
            slot.line.talk.close()
            slot.line.jobs.close()
            slot.line.unread.close()
            slot.line = None

    # --- sockets ---

    def _post(self, slot: _Slot, data: bytes) -> None:
        """Send to a worker's jobs socket, now or when it has room."""
        line = slot.line
        if line is not None and not line.jobs.post(data) and line.jobs.sock.fileno() not in self._readers:
            self._watch(line.jobs.sock, lambda _: self._flush_jobs(line), select.EPOLLOUT)

    def _flush_jobs(self, line: _Line) -> None:
        if line.jobs.flush():
            self._unwatch(line.jobs.sock)

    def _say(self, line: _Line, data: bytes) -> None:
        """Send to a worker's talk socket; what a dead one does not hear is lost."""
        if line.ended:
            return
        try:
            if not line.talk.post(data):
                self._epoll.modify(line.talk.sock, select.EPOLLIN | select.EPOLLOUT)
        except Gone:
            return  # its end of file is read like any other

    def _flush_talk(self, line: _Line) -> None:
        if line.talk.flush():
            self._epoll.modify(line.talk.sock, select.EPOLLIN)

    def _flow(self, box: Outbox, hear: Callable[[Any], None], most: int = 1 << 30) -> None:
        """Hear what is readable. Raises Gone after the last message of a closed socket."""
        sock = box.sock
        for _ in range(most):
            try:
                data, _ = receive_bytes(sock, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            hear(pickle.loads(data))

    def _watch(self, sock: socket.socket, reader: Callable[[int], None], mask: int = select.EPOLLIN) -> None:
        self._readers[sock.fileno()] = reader
        self._epoll.register(sock, mask)

    def _unwatch(self, sock: socket.socket) -> None:
        if self._readers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def _signal_rest(self) -> None:
        """Keep `fileno` readable exactly while events are left."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._events:
            os.eventfd_write(self._wake, 1)
