"""Between two jobs a warm worker becomes again what it was: folder, environment, signals, streams, limits, children."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import io
import os
import resource
import signal
import sys

from batchmill.executors.linux import children, has_children, signal_tree

# a handler left on one of these would run, or a default be missing, in the middle of the next job
_WATCHED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGCHLD,
)
_LIMITED = (
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_DATA,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_AS,
    resource.RLIMIT_CORE,
    resource.RLIMIT_STACK,
    resource.RLIMIT_NPROC,
)
_getsignal = _signal.getsignal  # `signal.getsignal` makes an enum member of each: eight of them cost 9 us, not 0.5


def end_children() -> None:
    """Kill and reap every descendant that a job left behind."""
    while has_children():
        for child in children("self"):
            signal_tree(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


class Restorer:
    """Remembers the state of this process and brings it back. What is set without asking costs less than asking."""

    def __init__(self, log: int) -> None:
        self._log = log
        self._folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._environment = dict(_raw_environment())
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._handlers = [_getsignal(s) for s in _WATCHED]
        self._limits = [resource.getrlimit(limit) for limit in _LIMITED]
        self._streams = self._stdout, self._stderr = sys.stdout, sys.stderr

    def flush(self) -> None:
        """Bring what was printed to the log."""
        try:
            self._stdout.flush()
            self._stderr.flush()
            if sys.stdout is not self._stdout or sys.stderr is not self._stderr:
                sys.stdout.flush()
                sys.stderr.flush()
        except (ValueError, OSError, AttributeError):
            # the job closed its streams, or filled the disk: that is no reason to lose its result
            return

    def restore(self) -> bool:
        """Undo what a job changed; False when something stays changed, and the next job needs another process."""
        os.fchdir(self._folder)
        os.umask(self._umask)
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)
        sys.stdout, sys.stderr = self._stdout, self._stderr
        if self._stdout.closed or self._stderr.closed:
            self._reopen_streams()
        if _raw_environment() != self._environment:
            self._restore_environment()
        if [_getsignal(s) for s in _WATCHED] != self._handlers:
            self._restore_handlers()
        signal.alarm(0)  # set by any job, it would end another one; costs less than asking whether one is
        # asking for eight limits costs 5 us, so it is done only where a task's code imported the module
        return "resource" not in sys.modules or self._restore_limits()

    def _reopen_streams(self) -> None:
        self._streams = self._stdout, self._stderr = open_streams()
        sys.stdout, sys.stderr = self._streams

    def _restore_environment(self) -> None:
        os.environ.clear()
        os.environb.update(self._environment)

    def _restore_handlers(self) -> None:
        for number, handler in zip(_WATCHED, self._handlers, strict=True):
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _restore_limits(self) -> bool:
        """False for a hard limit that was lowered: it cannot be raised again without privileges."""
        changed = [
            (one, old) for one, old in zip(_LIMITED, self._limits, strict=True) if resource.getrlimit(one) != old
        ]
        try:
            for limit, before in changed:
                resource.setrlimit(limit, before)
        except (ValueError, OSError):
            return False
        return True


def open_streams() -> tuple[io.TextIOWrapper, io.TextIOWrapper]:
    """Text streams on descriptors 1 and 2 that write whole lines, so that a crash loses none."""
    return _stream(1), _stream(2)


def _stream(fd: int) -> io.TextIOWrapper:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _raw_environment() -> dict[bytes, bytes]:
    """The environment without decoding it: half a microsecond."""
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    return data
