"""The files that go with a transaction: objects that must lie in place before it, links and pins after it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from batchmill.errors import LedgerError
from batchmill.ledger.facts import Batch, Linked
from batchmill.ledger.objects import ObjectStore, link_or_copy
from batchmill.ledger.paths import RunPaths, safe_file_name
from batchmill.model.outcomes import Blob


class RunFiles:
    """The object files of one run's transactions."""

    def __init__(self, paths: RunPaths, *, durable: bool) -> None:
        self.paths = paths
        self.objects = ObjectStore(paths.objects, durable=durable)
        self._pins: set[Path] = set()

    def secure(self, batch: Batch) -> None:
        """Put in place what the batch names; may be repeated. A job whose file is lost is marked in the batch."""
        for digest, data in batch.contents.items():
            stored, pin = self.objects.put(data, self.paths.tmp)
            assert stored == digest
            self._pins.add(pin)
        for job, blob in batch.blobs:
            try:
                self._adopt(blob)
            except LedgerError as error:
                if job == 0:
                    raise
                batch.lose(job, f"a file of its result is lost: {error.message}")

    def _adopt(self, blob: Blob) -> None:
        if blob.waiting:
            pin = self.paths.tmp / Path(blob.waiting).name
            self.objects.adopt(pin, blob)
            self._pins.add(pin)
        elif not self.pin(blob.digest):
            raise LedgerError(f"there is no object `{blob.digest}`")

    def pin(self, digest: str) -> bool:
        """Keep an object that exists until `settle`; False when it does not exist."""
        pin = self.objects.pin(digest, self.paths.tmp)
        if pin is not None:
            self._pins.add(pin)
        return pin is not None

    def settle(self, batch: Batch) -> list[str]:
        """After the commit: link artifacts under `out/`, remove pins; returns what went wrong, in words."""
        problems = [problem for linked in batch.links if (problem := self.link(linked))]
        discarded = {self.paths.tmp / Path(blob.waiting).name for blob in batch.discarded if blob.waiting}
        for pin in self._pins | discarded:
            pin.unlink(missing_ok=True)
        self._pins.clear()
        return problems

    def link(self, linked: Linked) -> str:
        """Give an artifact its name under `out/`; returns what went wrong (nothing that matters to the ledger)."""
        try:
            link_artifact(self.objects, self.paths.out, linked)
        except (OSError, LedgerError) as error:
            return f"artifact `{linked.name}` of `{linked.owner}` could not be linked: {error}"
        return ""


def link_artifact(objects: ObjectStore, out: Path, linked: Linked) -> Path:
    """`out/OWNER/NAME` becomes a name of the artifact's object; returns it. Never leaves `out`, follows no link."""
    *folders, name = (safe_file_name(part) for part in (linked.owner, *PurePosixPath(linked.name).parts))
    folder = out
    for part in folders:
        folder = folder / part
        folder.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or not folder.is_dir():
            raise LedgerError(f"`{folder}` is not a folder")
    target = folder / name
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    link_or_copy(objects.path(linked.digest), beside)
    beside.replace(target)
    if beside.exists():  # rename(2) does nothing when both are names of one file
        beside.unlink()
    return target
