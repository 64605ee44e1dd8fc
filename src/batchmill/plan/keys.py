"""Canonical parameters, keys of jobs, and the identity and digest of input files.

A key is the BLAKE2b-128 of the task's name, its version, the canonical parameters and the digests of the input files,
each with its length before it, so that no two different jobs spell the same bytes. `ENCODING_VERSION` is part of it:
whatever changes a key of an unchanged job must raise that number.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b, file_digest
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from batchmill.model.jobs import FileIdentity, PlannedJob, Row

ENCODING_VERSION = 1


def canonical(value: Any) -> str:
    """JSON with sorted keys and without blanks: integers exact, floats in their shortest form that reads back
    (`-0.0` stays), non-finite ones as JavaScript's words `NaN`, `Infinity`, `-Infinity` (a task that declares no type
    must get the number, not its name), sets in order.

    Raises TypeError or ValueError for what JSON cannot hold.
    """
    text = _encode(value)
    text.encode()  # a lone surrogate is no text: UnicodeEncodeError
    return text


def digest(value: Any) -> str:
    """The BLAKE2b-128 of a value's canonical JSON, 32 hex digits."""
    return blake2b(canonical(value).encode(), digest_size=16).hexdigest()


def canonical_params(params: BaseModel) -> str:
    """The canonical JSON of validated parameters, by the names that a manifest uses."""
    serializer = type(params).__pydantic_serializer__
    try:
        return canonical(serializer.to_python(params, by_alias=True, round_trip=True))
    except TypeError:  # keys that are no text: pydantic knows how to spell them
        return canonical(serializer.to_python(params, mode="json", by_alias=True, round_trip=True))


def _fallback(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted((to_jsonable_python(item) for item in value), key=canonical)
    return to_jsonable_python(value)


_encode: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_fallback
).encode


def job_key(task: str, version: str, params: str, digests: Sequence[str] = ()) -> str:
    """The key of a job, 32 hex digits. `digests` are those of its input files, in the order of `PlannedJob.inputs`."""
    state = _begun(task, version).copy()
    encoded = params.encode()
    state.update(b"%d:" % len(encoded) + encoded)
    for digest in digests:
        state.update(f"{len(digest)}:{digest}".encode())
    return state.hexdigest()


@lru_cache(maxsize=256)
def _begun(task: str, version: str) -> blake2b:
    state = blake2b(b"batchmill key %d\n" % ENCODING_VERSION, digest_size=16)
    for part in (task.encode(), version.encode()):
        state.update(b"%d:" % len(part) + part)
    return state


def finish_key(job: PlannedJob | Row, digests: Sequence[str]) -> str:
    """The key of a planned job whose input files are digested now, in the order of its `inputs`."""
    return job_key(job.task, job.version, job.params, digests)


def identity(path: str | os.PathLike[str]) -> FileIdentity:
    """What tells that a file is still the same, without reading it. Raises OSError; a folder is IsADirectoryError."""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    return FileIdentity(os.path.abspath(path), found.st_size, found.st_mtime_ns, found.st_ino)


def digest_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, in hex. Raises OSError, and ValueError when it changed while it was read."""
    before = identity(path)
    with open(path, "rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if identity(path) != before:
        raise ValueError(f"`{os.fspath(path)}` changed while it was read")
    return found
