"""The embedded chat server as its users see it: one process a machine and set of options, found or started.

Whoever finds no living server starts one. The server holds an exclusive lock on its file, which also says where it
listens, so that the kernel tells whether it lives. One that a job starts dies with the job's run, any other with the
process that started it, and the next who asks starts another. What runs in that process is in `child`.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from batchmill import UsageError, _helpers
from batchmill.llm.cache import state_folder
from batchmill.llm.local import cores, weights
from batchmill.llm.secrets import remember

_LOOK_EVERY = 0.05  # seconds, while a server loads: it takes about one
_LAST_WORDS = 2000
_MOST_SLOTS = 4  # unless more are asked for: each holds 90 MB at the default context
# Ctrl-C is for those who ask, not for the server that they share
_AWAY: dict[str, Any] = {"stdin": subprocess.DEVNULL, "start_new_session": True}
_children: dict[Path, tuple[subprocess.Popen[bytes], int]] = {}  # with the process that started each


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`context`: tokens of question and answer together, in each slot. `slots`: requests that are answered at once.

    `projector` is the file that turns pictures into tokens, for a model that sees; `weights` replaces the model's own
    file; `start_timeout` is in seconds.
    """

    context: int = 4096
    slots: int = 0  # 0: one a core, four at most
    threads: int = 0  # 0: all cores
    projector: str = ""
    weights: str = ""
    start_timeout: float = 120.0

    @property
    def parallel(self) -> int:
        """The slots that there are in fact."""
        return self.slots or min(_MOST_SLOTS, cores())


class Running(NamedTuple):
    """A server that takes requests: `key` is its bearer token."""

    url: str
    key: str
    pid: int


async def running(model: str, options: ServerOptions = ServerOptions()) -> Running:
    """The server of `local/NAME`, started if none lives. Cheap to ask before every request.

    Raises UsageError when the weights or the library are missing, or the server does not start.
    """
    search = _Search(model, options)
    while (found := search.look()) is None:
        await asyncio.sleep(_LOOK_EVERY)
    return found


def start(model: str, options: ServerOptions = ServerOptions()) -> Running:
    """What `running` returns, for code without an event loop, such as the `setup` of a process task."""
    search = _Search(model, options)
    while (found := search.look()) is None:
        time.sleep(_LOOK_EVERY)
    return found


def check(model: str) -> Path:
    """The weights that a server of this model would load. Raises UsageError for what is missing on this machine."""
    if find_spec("xllamacpp") is None:
        raise UsageError(
            f"`{model}` needs the library `xllamacpp`",
            hint="`pip install 'batchmill[local]'`",
            code="local/missing",
        )
    return weights.require(model)


def stop() -> None:
    """End the servers that this process started; they end with it anyway."""
    for child, parent in _children.values():
        if parent == os.getpid():
            child.kill()
            child.wait()
    _children.clear()


class _Search:
    """One look after another for a server, until there is one."""

    def __init__(self, model: str, options: ServerOptions) -> None:
        self._model, self._options = model, options
        self._file = state_folder() / "servers" / _file_name(model, options)
        self._begun = time.monotonic()
        self._started = 0  # the process that was started here

    def look(self) -> Running | None:
        """The living server, if it is ready. Starts one if there is none."""
        fd = self._open()
        try:
            if not _held_by_another(fd):
                if self._started:
                    raise self._failure("ended")
                self._start(fd)
            elif (found := _read(fd)) is not None:
                return found
            if time.monotonic() - self._begun > self._options.start_timeout:
                if self._started:
                    os.kill(self._started, signal.SIGKILL)  # it holds the lock, so it lives
                raise self._failure(f"was not ready within {self._options.start_timeout:g} s")
            return None
        finally:
            os.close(fd)

    def _open(self) -> int:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _start(self, lock: int) -> None:
        """Start a server that inherits the lock. This process keeps nothing of it."""
        keeper = _helpers.keeper
        parent = os.getpid() if keeper is None else keeper.pid
        told = {**_child_options(self._model, self._options), "lock": lock, "parent": parent}
        os.ftruncate(lock, 0)
        command = [sys.executable, "-P", "-m", "batchmill.llm.local.child", json.dumps(told)]
        if keeper is not None:
            self._started = keeper.adopt(lambda: _start_apart(command, self._log, lock))
            return
        with open(self._log, "wb") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=[lock], **_AWAY)
        self._started = child.pid
        _keep(self._file, child)

    @property
    def _log(self) -> Path:
        return self._file.with_suffix(".log")

    def _failure(self, what: str) -> UsageError:
        said = ""
        with suppress(OSError):
            said = self._log.read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace").strip()
        last = said.splitlines()[-1] if said else ""
        return UsageError(
            f"the server of `{self._model}` {what}" + (f": {last}" if last else ""),
            hint=f"`{self._log}` has what it said; another model, such as `extractive/lead`, needs no server",
            code="local/server",
        )


def _start_apart(command: list[str], log: Path, lock: int) -> int:
    """Start a process that is nobody's child here; returns its id."""
    words = ["/bin/sh", "-c", '"$@" >"$0" 2>&1 & echo $!', str(log), *command]
    return int(subprocess.run(words, stdout=subprocess.PIPE, pass_fds=[lock], check=True, **_AWAY).stdout)


@lru_cache
def _file_name(model: str, options: ServerOptions) -> str:
    """Another server for other options, except for the patience of who asks."""
    content = json.dumps({**asdict(options), "start_timeout": 0}).encode()
    return f"{weights.named(model).name}-{hashlib.blake2b(content, digest_size=6).hexdigest()}.json"


def _keep(file: Path, child: subprocess.Popen[bytes]) -> None:
    """Remember a child of this process, and reap the dead one in whose place it stands."""
    if not _children:
        atexit.register(stop)
    dead, parent = _children.get(file, (None, 0))
    if dead is not None and parent == os.getpid():
        dead.wait()
    _children[file] = child, os.getpid()


def _child_options(model: str, options: ServerOptions) -> dict[str, object]:
    """What `child` is told. Raises UsageError for what is missing on this machine."""
    path = check(model) if not options.weights else options.weights
    given = asdict(options)
    del given["start_timeout"]
    given["name"] = weights.named(model).name
    given["threads"] = options.threads or cores()
    given["slots"] = options.parallel
    given["weights"] = str(path)
    return given


def _held_by_another(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _read(fd: int) -> Running | None:
    """What the holder of the lock wrote; None while it loads."""
    try:
        found = Running(**json.loads(os.pread(fd, 4096, 0)))
    except (ValueError, TypeError):
        return None
    remember(found.key)
    return found
