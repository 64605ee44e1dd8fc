"""How reports and exports reach the disk: whole or not at all, and never outside the folder they belong to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from batchmill.errors import HomeError, UsageError


@contextmanager
def written_whole(path: Path, within: Path | None = None) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when the block ends well, and leaves no trace when it does not.

    A pipe or a device is written to as it is.

    With `within`, a path that leads out of that folder (by `..` or a symbolic link) raises UsageError. HomeError
    when the disk refuses.
    """
    path = Path(path)
    if within is not None:
        _check_inside(path, within)
    if _takes_writes_only(path):
        with _as_it_is(path) as out:
            yield out
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, waiting = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        with open(handle, "w", encoding="utf-8", errors="replace", newline="") as out:
            yield out
            out.flush()
            os.fchmod(handle, 0o666 & ~_umask())
            os.fsync(handle)
        os.replace(waiting, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        Path(waiting).unlink(missing_ok=True)


def _takes_writes_only(path: Path) -> bool:
    """Whether this is a pipe, a terminal or a device, such as `/dev/stdout`: nothing may take its place."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def _as_it_is(path: Path) -> Iterator[TextIO]:
    try:
        with open(path, "w", encoding="utf-8", errors="replace", newline="") as out:
            yield out
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _refused(path, error) from error


def _check_inside(path: Path, within: Path) -> None:
    if path.is_symlink() or not path.resolve().is_relative_to(within.resolve()):
        raise UsageError(
            f"`{path}` leads out of `{within}`",
            hint="write to a plain path inside that folder, without `..` and symbolic links",
            code="export/outside",
        )


def _refused(path: Path, error: OSError) -> HomeError:
    return HomeError(f"`{path}` cannot be written: {error.strerror or error}", code="export/unwritable")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
