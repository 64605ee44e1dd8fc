"""What survives a kill: batches and lines on disk, each line in one batch at a time, each batch with one keeper."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.llm.lanes.store import KEPT, Batch, LaneStore, Line, read_batches

A, B, C = (Line(bytes([n]) * 20, bytes([n]) * 20, bytes([9]) * 16) for n in (1, 2, 3))


def batch(id: str, at: float = 0.0) -> Batch:
    return Batch(id, "place", "openai/m", "intended", "", at or time.time(), 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LaneStore]:
    opened = LaneStore(tmp_path)
    yield opened
    opened.close()


def test_a_line_is_in_one_open_batch_at_a_time(store: LaneStore) -> None:
    assert store.intend(batch("one"), [A, B]) == {A.id, B.id}
    assert store.intend(batch("two"), [B, C]) == {C.id}
    assert store.intend(batch("three"), [A, B, C]) == set()
    assert [found.lines for found in store.batches()] == [1, 2]
    store.end("one", status="expired")
    assert store.intend(batch("four"), [A, B]) == {A.id, B.id}
    found = store.find(A.id)
    assert found is not None
    assert (found.batch.id, found.state, found.owner) == ("four", "open", A.owner)


def test_an_open_line_is_found_before_a_closed_one_and_the_last_of_closed_ones(store: LaneStore) -> None:
    store.intend(batch("old", 1e9 * 2), [A])
    store.close_lines("old", [A.id], "done")
    store.intend(batch("new", 3e9), [A])
    store.close_lines("new", [A.id], "failed")
    assert (found := store.find(A.id)) is not None
    assert (found.batch.id, found.state) == ("new", "failed")
    store.intend(batch("open", 1.5e9 + 1e9), [A])
    assert (found := store.find(A.id)) is not None
    assert found.batch.id == "open"


def test_what_never_came_to_the_provider_is_forgotten(store: LaneStore) -> None:
    store.intend(batch("one"), [A, B])
    store.forget("one")
    assert store.find(A.id) is None
    assert store.batches() == []


def test_a_batch_has_one_living_keeper(store: LaneStore, tmp_path: Path) -> None:
    store.intend(batch("one"), [A])
    other = LaneStore(tmp_path)
    assert not other.take("one")
    store.leave("one")
    assert other.take("one")
    assert not store.take("one")
    other.close()
    assert store.take("one")
    assert (kept := store.batch("one")) is not None
    assert kept.keeper == store.keeper


def test_the_batch_of_a_killed_process_can_be_taken(store: LaneStore, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from batchmill.llm.lanes.store import Batch, LaneStore, Line
store = LaneStore(Path({str(tmp_path)!r}))
store.intend(Batch("one", "p", "m/m", "intended", "", 2e9, 0), [Line(b"k" * 20, b"k" * 20, b"o" * 16)])
print("there", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not store.take("one")
        process.kill()
        process.wait()
    assert store.take("one")
    assert os.listdir(tmp_path / "lanes") == [store.keeper]


def test_locks_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "lanes"
    folder.mkdir()
    (folder / "dead.lock").touch()
    living = os.open(folder / "living.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(living, fcntl.LOCK_EX)
    store = LaneStore(tmp_path)
    assert sorted(os.listdir(folder)) == sorted(["living.lock", store.keeper])
    os.close(living)
    store.close()


def test_old_batches_are_forgotten_and_reading_keeps_none(tmp_path: Path) -> None:
    assert read_batches(tmp_path) == []
    store = LaneStore(tmp_path)
    store.intend(batch("old", time.time() - KEPT - 60), [A])
    store.intend(batch("new"), [B])
    store.close()
    assert [found.id for found in read_batches(tmp_path)] == ["new", "old"]
    LaneStore(tmp_path).close()
    assert [found.id for found in read_batches(tmp_path)] == ["new"]


def test_nobody_else_can_read_what_was_asked(store: LaneStore, tmp_path: Path) -> None:
    assert (tmp_path / "lanes.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "lanes").stat().st_mode & 0o077 == 0
