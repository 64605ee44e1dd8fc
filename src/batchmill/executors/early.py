"""The process that will fork workers, started before anything is known of the run: it imports while the driver does.

Light, because it is imported before anything else. `launcher` takes the process over, or starts one of its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import IO, NamedTuple

# one thread each, unless the user says otherwise: as many workers as cores would fight over the cores, and threads
# that exist at a fork are lost in the child. A fixed hash seed gives sets of strings the same order in every run
_DEFAULTS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
MARK = "BATCHMILL_WORKERS_OF"  # in the environment of everything below the zygote


class Zygote(NamedTuple):
    """A started process, the driver's end of its control socket, and what its descendants are known by."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    token: str


_waiting: list[Zygote] = []


def begin(preload: str = "") -> None:
    """Start a process for whoever calls `take` first. `preload` is the `module:function` that it calls meanwhile."""
    _waiting.append(spawn(preload=preload))


def take() -> Zygote | None:
    """The process that was started early, if there is one and it still lives."""
    while _waiting:
        zygote = _waiting.pop()
        if zygote.process.poll() is None:
            return zygote
        zygote.control.close()
    return None


def drop() -> None:
    """End the process that was started early, if nobody has taken it. It holds nothing yet."""
    if (zygote := take()) is not None:
        zygote.control.close()
        zygote.process.kill()
        zygote.process.wait()


def spawn(folder: str | None = None, log: IO[bytes] | None = None, preload: str = "") -> Zygote:
    """A process that waits for its Setting, in a session of its own."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    token = os.urandom(12).hex()
    said = subprocess.DEVNULL if log is None else log
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "batchmill.executors", str(theirs.fileno()), preload],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        pass_fds=[theirs.fileno()],
        cwd=folder,
        env=environment(token),
        start_new_session=True,
    )
    theirs.close()
    return Zygote(process, ours, token)


def environment(token: str) -> dict[str, str]:
    """The environment of everything below the zygote, as this process's is now."""
    return {**_DEFAULTS, **os.environ, **_python_path(), MARK: token}


def _python_path() -> dict[str, str]:
    """`PYTHONPATH` with absolute entries: jobs run in another folder."""
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    found = os.pathsep.join(map(os.path.abspath, entries))
    return {"PYTHONPATH": found} if found else {}
