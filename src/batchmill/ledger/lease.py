"""Who may write a run: a POSIX record lock on its `lock` file, freed by the kernel at the holder's death.

Such a lock is not inherited by forked children, so that none of them can keep a dead driver's run; but closing any
descriptor of the file would release it, hence the table of what this process holds. Each acquisition also raises the
epoch in the ledger, which every transaction checks.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from batchmill.errors import LedgerError, RunHeld
from batchmill.ledger.closing import make_plain
from batchmill.ledger.database import connect_writer, ledger_errors, transaction
from batchmill.ledger.migrations import migrate
from batchmill.ledger.paths import RunPaths

# struct flock: (type, whence, start, length, pid) on Linux, another order on macOS
_FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi4x"
_held: dict[tuple[int, Path], Lease] = {}  # by process: a forked child finds its parent's leases, which are not its own
_guard = threading.Lock()


class Owner(NamedTuple):
    """The process that runs a run. `since` is wall seconds; 0 when it did not say."""

    pid: int
    host: str = ""
    since: float = 0.0

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since).astimezone().isoformat(" ", "seconds") if self.since else "now"
        return f"process {self.pid} on {self.host or 'this host'} since {since}"


class Lease:
    """The right to write a run, until `release` or death. Made by `acquire`."""

    def __init__(self, paths: RunPaths, descriptor: int, epoch: int, owner: Owner) -> None:
        self.paths = paths
        self.epoch = epoch
        self.owner = owner
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the run up, its ledger one plain file where that can be; may be called twice."""
        with _guard:
            if _held.get((os.getpid(), self.paths.lock)) is self:
                if self.epoch:
                    make_plain(self.paths)
                del _held[os.getpid(), self.paths.lock]
                os.ftruncate(self._descriptor, 0)
                os.close(self._descriptor)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def acquire(paths: RunPaths) -> Lease:
    """Take the run's lease, bring its ledger up to date and raise its epoch.

    Raises RunHeld, naming the owner, while another process (or this one) holds it; LedgerError when the ledger cannot
    be written.
    """
    with _guard:
        descriptor = _lock(paths)
        try:
            owner = _sign(descriptor)
            lease = Lease(paths, descriptor, _raise_epoch(paths), owner)
        except BaseException:
            os.close(descriptor)
            raise
        _held[os.getpid(), paths.lock] = lease
    return lease


@contextmanager
def idle(paths: RunPaths) -> Iterator[None]:
    """Keep everybody from the run without touching its ledger. Raises RunHeld while somebody works on it."""
    with _guard:
        descriptor = _lock(paths)
        try:
            _held[os.getpid(), paths.lock] = lease = Lease(paths, descriptor, 0, _sign(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
    with lease:
        yield


def holder(paths: RunPaths) -> Owner | None:
    """The process that holds the run's lease now, or None."""
    own = _held.get((os.getpid(), paths.lock))
    if own is not None:
        return own.owner
    try:
        descriptor = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"the lock of run `{paths.id}` cannot be read: {error.strerror}") from error
    try:
        return _owner_of(descriptor)
    finally:
        os.close(descriptor)


def _lock(paths: RunPaths) -> int:
    own = _held.get((os.getpid(), paths.lock))
    if own is not None:
        raise _refusal(paths, own.owner)
    try:
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LedgerError(f"run `{paths.id}` cannot be written: {error.strerror}", code="ledger/read-only") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner_of(descriptor) or Owner(0)
        os.close(descriptor)
        raise _refusal(paths, owner) from None
    return descriptor


def _sign(descriptor: int) -> Owner:
    owner = Owner(os.getpid(), socket.gethostname(), time.time())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner._asdict()).encode(), 0)
    return owner


def _raise_epoch(paths: RunPaths) -> int:
    migrate(paths.ledger)
    with ledger_errors(paths.ledger):
        connection = connect_writer(paths.ledger)
        try:
            paths.checksum.unlink(missing_ok=True)
            with transaction(connection):
                rows = connection.execute("UPDATE run SET epoch = epoch + 1 RETURNING epoch").fetchall()
        finally:
            connection.close()
    if len(rows) != 1:
        raise LedgerError(f"the ledger `{paths.ledger}` holds no run", hint="`batchmill verify` says what is damaged")
    return int(rows[0][0])


def _owner_of(descriptor: int) -> Owner | None:
    """The process whose lock stands in the way of one on the whole file, or None (fcntl(2), F_GETLK)."""
    if sys.platform == "darwin":
        found = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET))
        _, _, pid, kind, _ = struct.unpack(_FLOCK, found)
    else:
        found = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        kind, _, _, _, pid = struct.unpack(_FLOCK, found)
    return None if kind == fcntl.F_UNLCK else _signed(descriptor, pid)


def _signed(descriptor: int, pid: int) -> Owner:
    """What the owner wrote about itself; only its number while it is about to write."""
    try:
        owner = Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return Owner(pid)
    return owner if owner.pid == pid else Owner(pid)


def _refusal(paths: RunPaths, owner: Owner) -> RunHeld:
    return RunHeld(
        f"run `{paths.id}` is being run by {owner}",
        hint=f"`batchmill show {paths.id}` follows it; `batchmill cancel {paths.id}` ends it",
    )
