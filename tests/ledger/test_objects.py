"""Immutable files by digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from batchmill.errors import LedgerError
from batchmill.ledger.objects import ObjectStore
from batchmill.model.outcomes import Blob


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    (tmp_path / "objects").mkdir()
    (tmp_path / "tmp").mkdir()
    return ObjectStore(tmp_path / "objects")


def pinned(store: ObjectStore, data: bytes, name: str = "pin") -> tuple[Path, Blob]:
    pin = store.folder.parent / "tmp" / name
    pin.write_bytes(data)
    return pin, Blob(hashlib.sha256(data).hexdigest(), len(data), name)


def test_an_adopted_file_is_read_by_its_digest_and_cannot_be_written(store: ObjectStore) -> None:
    pin, blob = pinned(store, b"data")
    store.adopt(pin, blob)
    assert store.read(blob.digest) == b"data"
    assert store.path(blob.digest).stat().st_mode & 0o222 == 0
    assert pin.samefile(store.path(blob.digest))


def test_adopting_again_or_the_same_content_changes_nothing(store: ObjectStore) -> None:
    pin, blob = pinned(store, b"data")
    store.adopt(pin, blob)
    inode = store.path(blob.digest).stat().st_ino
    store.adopt(pin, blob)
    other, _ = pinned(store, b"data", "other")
    store.adopt(other, blob)
    pin.unlink()
    store.adopt(pin, blob)
    assert store.path(blob.digest).stat().st_ino == pin.stat().st_ino == other.stat().st_ino == inode


def test_a_file_of_another_size_is_refused(store: ObjectStore) -> None:
    pin, blob = pinned(store, b"data")
    pin.write_bytes(b"dat")
    with pytest.raises(LedgerError, match="4 bytes and holds 3"):
        store.adopt(pin, blob)
    assert not store.has(blob.digest)


def test_a_truncated_object_is_replaced_by_the_next_one_of_its_content(store: ObjectStore) -> None:
    digest, _ = store.put(b"data", store.folder.parent / "tmp")
    store.path(digest).unlink()
    store.path(digest).write_bytes(b"da")
    pin, blob = pinned(store, b"data")
    store.adopt(pin, blob)
    assert store.read(digest) == b"data"


def test_damage_is_noticed_on_reading(store: ObjectStore) -> None:
    digest, _ = store.put(b"data", store.folder.parent / "tmp")
    store.path(digest).unlink()
    store.path(digest).write_bytes(b"dada")
    with pytest.raises(LedgerError, match="damaged"):
        store.read(digest)
    assert not store.intact(digest)
    with pytest.raises(LedgerError, match="cannot be read"):
        store.read("ab" * 32)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "AB" * 32, "ab" * 31 + "/x"])
def test_what_is_no_digest_is_no_path(store: ObjectStore, digest: str) -> None:
    with pytest.raises(LedgerError, match="not a digest"):
        store.path(digest)
