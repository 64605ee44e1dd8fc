"""The zygote: imports the tasks once, forks workers, and alone kills, reaps and watches them.

It has no thread, takes no decision, and ends with everything below it when the driver's socket closes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchmill import _leaving
from batchmill.executors import linux, logs, worker
from batchmill.executors.channel import DONT_WAIT, Gone, Outbox, encode, memfd_of, receive_bytes
from batchmill.executors.messages import CELLS, Board, Cell, Fork, Kill, Reaped, Sampled, Setting, Unusable, Up
from batchmill.executors.runner import Runner
from batchmill.model.outcomes import LogSlice
from batchmill.model.states import Mode

_STRAYS_FOR = 2.0  # seconds that a death report waits for the dead worker's descendants to be gone
_SOON = 0.01


@dataclass
class _Child:
    """A living worker."""

    order: Fork
    row: memoryview[float]
    puncher: logs.Puncher
    kill_at: float | None = None
    beat: float = 0.0
    stale: float = 0.0  # seconds that its loop has stood still
    reason: str = ""

    @property
    def busy(self) -> bool:
        """Whether it may hold a job: an async worker's board is empty whenever its jobs only wait."""
        return bool(self.row[Cell.JOB]) or self.order.mode is Mode.ASYNC


@dataclass
class _Deaths:
    """Reports that wait until what the dead left behind is gone too."""

    reports: list[Reaped] = field(default_factory=list)
    until: float = 0.0


class Zygote:
    """The one loop: orders of the driver, deaths of children, and a look at everyone every so often."""

    def __init__(self, control: socket.socket, setting: Setting) -> None:
        self._control, self._setting = control, setting
        self._outbox = Outbox(control)
        self._board = Board.create(setting.slots)
        self._logs = Path(setting.run_folder) / "logs"
        self._children: dict[int, _Child] = {}
        self._deaths = _Deaths()
        self._look_at = self._looked = time.monotonic()
        self._runners: dict[str, Runner] = {}
        self._threads = 1
        self._helpers: set[int] = set()  # processes that `setup`, or a job for the run, started: not strays
        self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def prepare(self) -> bool:
        """Import the tasks; False when they cannot be used (the driver is told)."""
        sys.path[:] = self._setting.path
        loaded = worker.load_runners(self._setting.tasks)
        if isinstance(loaded, Unusable):
            self._outbox.post(encode(loaded))
            return False
        self._runners, self._threads = loaded, linux.thread_count()
        self._helpers = set(linux.children("self"))
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()
        gc.freeze()
        linux.outlive_parent()
        self._watch_signals()
        self._outbox.post(encode(Up(self._note())))
        return True

    def _note(self) -> str:
        if self._threads == 1:
            return ""
        return (
            f"workers are started afresh instead of forked: importing the tasks left {self._threads} threads running,"
            " and a fork would copy their locks"
        )

    def _watch_signals(self) -> None:
        """A child's death wakes the loop. SIGINT and SIGTERM are for the driver, also when a whole group gets them."""
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the driver is gone."""
        poll = select.poll()
        poll.register(self._pipe[0], select.POLLIN)
        while True:
            poll.register(self._control, select.POLLIN | (select.POLLOUT if self._outbox else 0))
            ready = dict(poll.poll(1000 * self._patience()))
            if self._pipe[0] in ready:
                os.read(self._pipe[0], 4096)
            self._turn(self._control.fileno() in ready)

    def _patience(self) -> float:
        """Seconds until something is due."""
        due = [c.kill_at for c in self._children.values() if c.kill_at is not None]
        if self._deaths.reports:
            return _SOON
        return max(0.0, min([self._look_at, *due]) - time.monotonic())

    def _turn(self, spoken: bool) -> None:
        self._outbox.flush()
        if spoken:
            self._obey()
        now = time.monotonic()
        for pid, child in self._children.items():
            if child.kill_at is not None and child.kill_at <= now:
                child.kill_at = None
                linux.signal_tree(pid, signal.SIGKILL)
        self._reap()
        self._report_deaths(now)
        if now >= self._look_at:
            self._look(now)

    # --- orders ---

    def _obey(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, fds = receive_bytes(self._control, DONT_WAIT)
                order = pickle.loads(data)
                if isinstance(order, Fork):
                    self._make_worker(order, fds)
                elif isinstance(order, Kill):
                    self._kill(order)

    def _make_worker(self, order: Fork, fds: list[int]) -> None:
        puncher = logs.Puncher(self._logs, order.slot)
        row = self._board.row(order.slot)
        for cell in range(CELLS):
            row[cell] = 0.0
        row[Cell.LOG] = (self._logs / logs.file_name(order.slot)).stat().st_size
        pid = self._fork(order, fds) if self._threads == 1 else self._spawn(order, fds)
        for fd in fds:
            os.close(fd)
        self._children[pid] = _Child(order, row, puncher)

    def _fork(self, order: Fork, fds: list[int]) -> int:
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            worker.run_and_exit(self._become_worker, zygote, order, fds)
        return pid

    def _become_worker(self, zygote: int, order: Fork, fds: list[int]) -> None:
        signal.set_wakeup_fd(-1)
        worker.settle_in(zygote)
        self._control.close()
        for fd in self._pipe:
            os.close(fd)
        for child in self._children.values():
            child.puncher.close()
        jobs, talk = (socket.socket(fileno=fd) for fd in fds)
        gc.enable()
        worker.start(worker.Place(*order, jobs, talk, self._board), self._setting, self._runners)

    def _spawn(self, order: Fork, fds: list[int]) -> int:
        passed = [*fds, self._board.memfd, memfd_of(encode(self._setting))]
        for fd in passed:
            os.set_inheritable(fd, True)
        words = [os.getpid(), order.slot, order.generation, order.mode.value, *passed]
        command = [sys.executable, "-P", "-m", "batchmill.executors.worker", *map(str, words)]
        pid = os.posix_spawn(sys.executable, command, os.environ)
        os.set_inheritable(self._board.memfd, False)
        os.close(passed[-1])
        return pid

    def _kill(self, order: Kill) -> None:
        for pid, child in self._children.items():
            if child.order.generation == order.generation:
                if order.grace > 0:
                    linux.signal_tree(pid, signal.SIGTERM)
                child.kill_at = time.monotonic() + order.grace

    # --- deaths ---

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if (child := self._children.pop(pid, None)) is not None:
                    self._deaths.reports.append(self._obituary(child, status, usage))
                    self._deaths.until = time.monotonic() + _STRAYS_FOR

    def _obituary(self, child: _Child, status: int, usage: Any) -> Reaped:
        child.puncher.close()
        row, slot = child.row, child.order.slot
        code = os.waitstatus_to_exitcode(status)
        path, start = self._logs / logs.file_name(slot), int(row[Cell.LOG])
        end = logs.compact(path, start, path.stat().st_size)
        return Reaped(
            slot,
            child.order.generation,
            -code if code < 0 else None,
            code if code >= 0 else None,
            max(0.0, usage.ru_utime + usage.ru_stime - row[Cell.CPU]),
            usage.ru_maxrss * 1024,
            int(row[Cell.JOB]),
            LogSlice(path.name, start, end) if end > start else None,
            child.reason,
        )

    def _report_deaths(self, now: float) -> None:
        """Kill what came to us from dead workers, and report them once nothing of it is left."""
        if not self._deaths.reports:
            return
        self._helpers |= {int(self._board.row(slot)[Cell.HELPER]) for slot in range(self._setting.slots)}
        strays = [pid for pid in linux.children("self") if pid not in self._children and pid not in self._helpers]
        for pid in strays:
            linux.signal_tree(pid, signal.SIGKILL)
        if strays:
            self._reap()
        if not strays or now > self._deaths.until:
            for report in self._deaths.reports:
                self._outbox.post(encode(report))
            self._deaths.reports.clear()

    # --- watching ---

    def _look(self, now: float) -> None:
        """Sample memory, free disk under endless output, and find async workers whose loop stands still."""
        waited, self._looked = now - self._looked, now
        self._look_at = now + self._setting.sample_interval
        for pid, child in self._children.items():
            child.puncher.look(int(child.row[Cell.LOG]))
            if child.order.mode is Mode.ASYNC:
                self._feel_pulse(pid, child, min(waited, 1.0))
        # a driver that does not read misses samples, not memory
        if not self._outbox:
            rss = tuple((c.order.slot, linux.resident_tree(pid)) for pid, c in self._children.items() if c.busy)
            self._outbox.post(encode(Sampled(rss, linux.available_memory())))

    def _feel_pulse(self, pid: int, child: _Child, waited: float) -> None:
        beat = child.row[Cell.BEAT]
        # our own looks are counted, not the clock: a suspended machine must not look like a hung loop
        child.stale = child.stale + waited if beat == child.beat else 0.0
        child.beat = beat
        if child.stale >= self._setting.hung_after and not child.reason:
            blocked = f"blocked the event loop of all async jobs for {self._setting.hung_after:g} s"
            child.reason = f"{blocked}; `await ctx.offload(fn, *args)` runs such code elsewhere"
            linux.signal_tree(pid, signal.SIGKILL)

    def end_all(self) -> None:
        """Kill and reap everything below this process."""
        deadline = time.monotonic() + 10.0
        while (left := linux.children("self")) and time.monotonic() < deadline:
            for pid in left:
                linux.signal_tree(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(0.002)


def _preload(name: str) -> None:
    """Call the `module:function` that imports what a task will need. What it needs is missing: loading will tell."""
    module, _, function = name.partition(":")
    with contextlib.suppress(ImportError):
        getattr(importlib.import_module(module), function)()


def _move_in(setting: Setting) -> None:
    """Take the place of a run: this process may have been started before anybody knew of one."""
    os.environ.clear()
    os.environ.update(setting.environment)
    os.chdir(setting.folder)
    log = os.open(Path(setting.run_folder) / "logs" / "zygote.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def main(control_fd: int, preload: str = "") -> None:
    """Serve a driver over an inherited socket, until it closes."""
    _leaving.prepare()
    linux.die_with_parent()  # until the loop runs, nobody watches the socket
    linux.adopt_orphans()
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    worker.hide_own_imports()
    if preload:
        _preload(preload)
    with contextlib.suppress(Gone):
        setting: Setting = pickle.loads(receive_bytes(control)[0])
        _move_in(setting)
        zygote = Zygote(control, setting)
        try:
            if zygote.prepare():
                zygote.run()
        finally:
            zygote.end_all()
    _leaving.end(0)  # for which the driver waits
