"""Files that a worker leaves under the run's `tmp/` for the driver to adopt: large results, artifacts, replies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from batchmill.model.outcomes import Blob

_PIECE = 1024 * 1024


def store_bytes(tmp: Path, data: bytes) -> Blob:
    """Write `data` to a new file, durably."""
    return _store(tmp, (data,))


def store_file(tmp: Path, source: Path) -> Blob:
    """Copy a file to a new one, durably. Raises OSError."""
    return _store(tmp, _pieces(source))


def _pieces(source: Path) -> Iterator[bytes]:
    with open(source, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _store(tmp: Path, pieces: Iterable[bytes]) -> Blob:
    digest, size, name = hashlib.sha256(), 0, f"blob-{os.urandom(12).hex()}"
    tmp.mkdir(exist_ok=True)  # a job may have removed it
    with open(tmp / name, "xb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return Blob(digest.hexdigest(), size, name)
