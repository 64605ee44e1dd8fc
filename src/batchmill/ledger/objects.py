"""Immutable files under the hex SHA-256 of their content: results and parameters over 64 KB, artifacts.

A file that a transaction is going to name is *pinned*: until the commit it also has a name in the run's `tmp/`, by
which the garbage collector knows it. What is referenced is the ledgers' affair (`garbage`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchmill.errors import LedgerError
from batchmill.model.outcomes import Blob

PREFIX = "object:"
LARGEST_INLINE = 65_536  # bytes of JSON kept in the ledger itself
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20


class ObjectStore:
    """The `objects/` folder of a home. `durable` syncs what it writes before it returns."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder
        self.durable = durable

    def path(self, digest: str) -> Path:
        """Where the object lies, if it exists. Raises LedgerError on what is no digest."""
        if _DIGEST.fullmatch(digest) is None:
            raise LedgerError(f"`{digest[:80]}` is not a digest of an object")
        return self.folder / digest[:2] / digest[2:]

    def has(self, digest: str) -> bool:
        """Whether the object exists."""
        return self.path(digest).is_file()

    def adopt(self, pin: Path, blob: Blob) -> None:
        """Make the synced file `pin` an object; `pin` stays, as its second name, until the caller removes it.

        May be repeated. Raises LedgerError when the file is absent or has another size than `blob`.
        """
        target = self.path(blob.digest)
        with self._shared():
            if _size(target) == blob.size:
                _link_over(target, pin, pin)
                return
            if _size(pin) != blob.size:
                raise LedgerError(f"`{pin.name}` should hold {blob.size} bytes and holds {_size(pin)}")
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                self._sync(target.parent.parent)
            pin.chmod(0o444)  # a name under `out/` is in a user's reach
            _link_over(pin, target, pin)
            self._sync(target.parent)

    def put(self, data: bytes, tmp: Path) -> tuple[str, Path]:
        """Store bytes; returns their digest and the pin made in the folder `tmp`."""
        digest = hashlib.sha256(data).hexdigest()
        pin = tmp / f"put-{digest}"
        if _size(pin) != len(data):
            with open(pin, "wb") as file:
                file.write(data)
                file.flush()
                if self.durable:
                    os.fsync(file.fileno())
        self.adopt(pin, Blob(digest, len(data)))
        return digest, pin

    def pin(self, digest: str, tmp: Path) -> Path | None:
        """Pin an object that exists; None when it does not."""
        pin = tmp / f"pin-{digest}"
        with self._shared():
            if not self.has(digest):
                return None
            _link_over(self.path(digest), pin, pin)
        return pin

    def read(self, digest: str) -> bytes:
        """The content. Raises LedgerError when it is absent or is not what it was."""
        try:
            data = self.path(digest).read_bytes()
        except OSError as error:
            raise LedgerError(f"the object `{digest}` cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise LedgerError(
                f"the object `{digest}` is damaged: its content has another digest",
                hint="`batchmill verify` lists the jobs that use it",
            )
        return data

    def text(self, stored: str) -> str:
        """Text as it was before it was stored: itself, or the content of the object that `object:DIGEST` names."""
        return self.read(stored.removeprefix(PREFIX)).decode() if stored.startswith(PREFIX) else stored

    def intact(self, digest: str) -> bool:
        """Whether the object's content has its digest. Raises OSError when it cannot be read."""
        with open(self.path(digest), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest

    def all(self) -> Iterator[Path]:
        """Every object's file."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            yield from folder.iterdir()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """While it lasts nobody adopts or pins: for the garbage collector."""
        with self._lock(fcntl.LOCK_EX):
            yield

    def _shared(self) -> FileLock:
        return self._lock(fcntl.LOCK_SH)

    def _lock(self, how: int) -> FileLock:
        return FileLock(self.folder / ".lock", how)

    def _sync(self, folder: Path) -> None:
        if self.durable:
            sync_folder(folder)


class FileLock:
    """A lock on a file of its own, as a context manager."""

    def __init__(self, path: Path, how: int) -> None:
        self._path, self._how = path, how

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, self._how)

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the file system has no hard links. Raises FileExistsError."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        with open(source, "rb") as reader, open(target, "xb") as writer:
            shutil.copyfileobj(reader, writer, _CHUNK)


def _link_over(source: Path, target: Path, pin: Path) -> None:
    """Make `target` a name of `source`, whatever it named before. What is half done lies beside `pin`."""
    if target.exists() and source.samefile(target):
        return
    beside = pin.with_name(pin.name + ".new")
    beside.unlink(missing_ok=True)
    link_or_copy(source, beside)
    beside.replace(target)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
