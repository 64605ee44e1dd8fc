"""The home's index: derived, shared, and allowed to vanish."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from batchmill.ledger.home import Home
from batchmill.ledger.index import HomeIndex
from batchmill.ledger.paths import RunPaths
from batchmill.model.jobs import FileIdentity, Source
from tests.ledger.conftest import ending, failure, key_of, planned, writing

KEYS = [key_of(n) for n in range(1, 4)]


def fill(paths: RunPaths, *numbers: int) -> None:
    """Run jobs 1 to 3; those named succeed."""
    with writing(paths) as written:
        if not written.ask("SELECT 1 FROM jobs"):
            written.plan(*[planned(n) for n in range(1, 4)])
        for n in numbers:
            written.write(*ending(n))


def test_results_are_found_by_key_newest_run_first(home: Home, new_run: Callable[..., RunPaths]) -> None:
    fill(new_run("a"), 1, 2)
    fill(new_run("b"), 2)
    with HomeIndex(home.path) as index:
        assert index.lookup(KEYS) == {KEYS[0]: Source("a-1", 1), KEYS[1]: Source("b-1", 2)}
        assert index.lookup(KEYS, "a") == {KEYS[0]: Source("a-1", 1), KEYS[1]: Source("a-1", 2)}
        assert index.lookup([], "a") == index.lookup(KEYS, "c") == {}


def test_failed_jobs_have_no_result(home: Home, paths: RunPaths) -> None:
    with writing(paths) as written:
        written.plan(planned(1))
        written.write(*ending(1, failure()))
    with HomeIndex(home.path) as index:
        assert index.lookup(KEYS) == {}


def test_a_run_that_went_on_is_taken_in_again(home: Home, paths: RunPaths) -> None:
    fill(paths, 1)
    with HomeIndex(home.path) as index:
        assert list(index.lookup(KEYS)) == [KEYS[0]]
    fill(paths, 2)
    with HomeIndex(home.path) as index:
        assert set(index.lookup(KEYS)) == {KEYS[0], KEYS[1]}
        fill(paths, 3)
        assert len(index.lookup(KEYS)) == 2
        index.index_run(paths)
        assert len(index.lookup(KEYS)) == 3


def test_a_removed_run_is_no_source(home: Home, new_run: Callable[..., RunPaths]) -> None:
    first, second = new_run(), new_run()
    fill(first, 1)
    fill(second, 1)
    with HomeIndex(home.path) as index:
        assert index.lookup(KEYS)[KEYS[0]].run == "sweep-2"
        second.ledger.rename(second.folder / "moved")
        assert index.lookup(KEYS)[KEYS[0]].run == "sweep-1"
        home.remove(first)
        index.refresh()
    fill(new_run(), 2)
    with HomeIndex(home.path) as index:
        assert list(index.lookup(KEYS)) == [KEYS[1]]


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_lost_or_damaged_index_is_rebuilt(home: Home, paths: RunPaths, content: bytes) -> None:
    fill(paths, 1)
    with HomeIndex(home.path) as index:
        index.lookup(KEYS)
    for file in home.path.glob("home.db*"):
        file.unlink()
    (home.path / "home.db").write_bytes(content)
    with HomeIndex(home.path) as index:
        assert list(index.lookup(KEYS)) == [KEYS[0]]


def test_damage_while_it_is_open_is_survived(home: Home, paths: RunPaths) -> None:
    fill(paths, 1)
    with HomeIndex(home.path) as index:
        index.lookup(KEYS)
    data = bytearray((home.path / "home.db").read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (home.path / "home.db").write_bytes(data)
    with HomeIndex(home.path) as index:
        assert list(index.lookup(KEYS)) == [KEYS[0]]


def test_an_index_that_cannot_be_made_is_done_without(home: Home, paths: RunPaths) -> None:
    fill(paths, 1)
    (home.path / "home.db").mkdir()
    with HomeIndex(home.path) as index:
        assert index.lookup(KEYS) == {}
        index.remember_digest(FileIdentity("/a", 1, 2, 3), "ab")
        assert index.digest_of(FileIdentity("/a", 1, 2, 3)) is None


def test_digests_are_known_for_one_identity_only(home: Home) -> None:
    identity = FileIdentity("/data/\udcff.csv", 10, 2**60, 2**64 - 1)
    with HomeIndex(home.path) as index:
        assert index.digest_of(identity) is None
        index.remember_digest(identity, "first")
        index.remember_digest(identity._replace(size=11), "second")
        assert index.digest_of(identity) is None
        assert index.digest_of(identity._replace(size=11)) == "second"


def test_many_may_use_it_at_once(home: Home, new_run: Callable[..., RunPaths], tmp_path: Path) -> None:
    runs = [new_run(name) for name in "abcd"]
    for paths in runs:
        fill(paths, 1)
    found: list[int] = []

    def use() -> None:
        with HomeIndex(home.path) as index:
            for paths in runs:
                index.index_run(paths)
                index.remember_digest(FileIdentity(paths.id, 1, 2, 3), "d")
            found.append(len([run for run in "abcd" if index.lookup(KEYS, run)]))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [4, 4, 4, 4]
