"""What the executors ask of the Linux kernel beyond the standard library: prctl, holes in files, /proc.

Process ids that end while they are looked at count as absent: a race with death is no error here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator

from batchmill.errors import UsageError

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PUNCH_HOLE_KEEP_SIZE = 0x03
_PAGE = os.sysconf("SC_PAGE_SIZE")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]
_libc.waitpid.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]


def require() -> None:
    """Raise UsageError where the watchdog cannot work."""
    if not sys.platform.startswith("linux"):
        raise UsageError("process and async tasks need Linux", hint="give the task the mode `inline`")


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when the thread that made it ends. `parent`: exit if it is gone already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(0)


def outlive_parent() -> None:
    """Take back `die_with_parent`."""
    _libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none can slip away."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextlib.contextmanager
def leaving_orphans() -> Iterator[None]:
    """What loses its parent meanwhile goes to the next process above that adopts orphans."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        yield
    finally:
        adopt_orphans()


def has_children() -> bool:
    """Whether this process has children, dead or alive: one call without an exception (0.9 us)."""
    return bool(_libc.waitpid(-1, None, os.WNOHANG) >= 0)


def punch_hole(fd: int, start: int, end: int) -> bool:
    """Free the disk blocks of `start..end` of a file, keeping its size. False where the file system cannot."""
    first, last = -(-start // _PAGE) * _PAGE, end // _PAGE * _PAGE
    return first < last and _libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, first, last - first) == 0


def thread_count() -> int:
    """Kernel threads of this process, also those that Python does not know."""
    return len(os.listdir("/proc/self/task"))


def children(pid: int | str) -> list[int]:
    """Children of a process, of all its threads."""
    found: list[int] = []
    for thread in _listdir(f"/proc/{pid}/task"):
        found.extend(map(int, _read(f"/proc/{pid}/task/{thread}/children").split()))
    return found


def tree(pid: int) -> list[int]:
    """A process and all its descendants, parents first."""
    found = [pid]
    for member in found:
        found.extend(children(member))
    return found


def send_signal(pids: Iterable[int], number: int) -> None:
    """Signal processes, and skip those that are gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # gone, or it changed its user: nothing that we could do


def signal_tree(pid: int, number: int) -> None:
    """Signal a process and all its descendants; SIGKILL goes to its group too, in case one forks just now."""
    members = tree(pid)
    if number == signal.SIGKILL:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it leads no group, perhaps
            os.killpg(pid, number)
    send_signal(members, number)


def with_environment(text: bytes) -> list[int]:
    """Processes of this user whose environment holds this text, this one left out."""
    others = (int(name) for name in _listdir("/proc") if name.isdigit() and int(name) != os.getpid())
    return [pid for pid in others if text in os.fsencode(_read(f"/proc/{pid}/environ"))]


def resident(pid: int | str) -> int:
    """Resident bytes of one process; 0 when it is gone."""
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def resident_tree(pid: int) -> int:
    """Resident bytes of a process and its descendants. Pages that they share count for each of them."""
    return sum(map(resident, tree(pid)))


def data_size() -> int:
    """Bytes that count against RLIMIT_DATA in this process now."""
    return int(_read("/proc/self/statm").split()[5]) * _PAGE


def available_memory() -> int:
    """What the kernel says can be given out without swapping, in bytes."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, ProcessLookupError, PermissionError, NotADirectoryError):
        return []
