"""Starts the zygote as a program of its own, and makes sure that it and all below it are gone at the end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time

from batchmill.executors import early, linux
from batchmill.executors.base import ExecutorSettings
from batchmill.executors.messages import Setting

_END_WITHIN = 15.0  # seconds for the zygote to end everything; it takes milliseconds unless a process is in the disk
_LAST_WORDS = 4096


class Launcher:
    """Launches one zygote after another for a run."""

    hung_after = 10.0  # seconds for which the code of one async job may hold the loop of all

    def __init__(self, settings: ExecutorSettings) -> None:
        self._settings = settings
        self._log = settings.run_folder / "logs" / "zygote.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""

    def launch(self) -> socket.socket:
        """A new zygote's control socket; of the one that the command line started early, if there is one."""
        zygote = early.take()
        if zygote is None:
            with open(self._log, "ab") as log:
                zygote = early.spawn(str(self._settings.folder), log)
        self._process, self._token = zygote.process, zygote.token
        return zygote.control

    def setting(self) -> Setting:
        """What the zygote has to know."""
        s = self._settings
        return Setting(
            s.run,
            str(s.run_folder.absolute()),
            str(s.folder),
            s.seed,
            dict(s.tasks),
            s.jobs_reader,
            s.results_reader,
            s.sample_interval,
            max((spec.slot for spec in s.slots), default=0) + 1,
            tuple(os.path.abspath(p) for p in sys.path),
            self.hung_after,
            early.environment(self._token),
        )

    def wait(self, groups: list[int], *, listening: bool) -> None:
        """Wait for the zygote's end; kill it, and the workers' process groups, if it does not come.

        One that is not `listening`, because it still imports, is not waited for.
        """
        if self._process is None:
            return
        try:
            code = _waited_for(self._process, _END_WITHIN if listening else 0.01)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process = None
        if code != 0:
            _kill_groups(groups)
            _kill_marked(f"{early.MARK}={self._token}".encode())

    def last_words(self) -> str:
        """The end of the zygote's log."""
        with contextlib.suppress(OSError), open(self._log, "rb") as file:
            file.seek(max(0, os.path.getsize(self._log) - _LAST_WORDS))
            return file.read().decode("utf-8", "replace")
        return ""


def _waited_for(process: subprocess.Popen[bytes], seconds: float) -> int:
    """The exit code. `Popen.wait` alone looks every so often. Raises TimeoutExpired."""
    with contextlib.suppress(OSError):  # an old kernel
        fd = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(1000 * seconds)
            seconds = 0.0
        finally:
            os.close(fd)
    return process.wait(seconds)


def _kill_groups(groups: list[int]) -> None:
    """Kill what a killed zygote cannot: its workers die by the kernel's hand, the processes of their jobs do not."""
    for leader in filter(None, groups):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def _kill_marked(mark: bytes) -> None:
    """Kill what has left its process group, too: it is known by its environment."""
    deadline = time.monotonic() + 1.0
    while (found := linux.with_environment(mark)) and time.monotonic() < deadline:
        linux.send_signal(found, signal.SIGKILL)
