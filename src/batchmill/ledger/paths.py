"""Where everything of a run lies, and names that are safe as file names. Nothing here touches the disk."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNSAFE = re.compile(r"[^\w.,=+@()~ -]")
_LONGEST = 200  # bytes; a file name may have 255, and temporary names add to it


def safe_file_name(name: str) -> str:
    """A file name of at most 200 bytes for any text: the text itself where that is safe, else with a hash.

    Two texts never share a name; the suffix (`.png`) stays.
    """
    safe = _UNSAFE.sub("_", name).strip(" ")
    if safe.startswith((".", "-")) or not safe:
        safe = "_" + safe
    if safe == name and len(safe.encode()) <= _LONGEST:
        return safe
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    suffix = PurePosixPath(safe).suffix
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    stem = safe.removesuffix(suffix).encode()[: _LONGEST - 32].decode("utf-8", "ignore")
    return f"{stem}-{mark}{suffix}"


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The files of one run: `id` is the name of its folder under `home/runs`."""

    home: Path
    id: str

    @property
    def folder(self) -> Path:
        return self.home / "runs" / self.id

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def checksum(self) -> Path:
        """The digest of a ledger that was closed cleanly, in the format of `sha256sum`."""
        return self.folder / "ledger.db.sha256"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def requests(self) -> Path:
        return self.folder / "requests"

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.yaml"

    @property
    def log(self) -> Path:
        """The run's own log."""
        return self.folder / "run.log"

    @property
    def objects(self) -> Path:
        return self.home / "objects"
