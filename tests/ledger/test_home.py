"""The home: where it may be, its runs, and what it throws away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchmill.errors import HomeError, LedgerError, RunHeld, RunNotFound, UsageError
from batchmill.ledger.filesystems import file_system_of, is_network, refuse_network
from batchmill.ledger.home import Home, NewRun
from batchmill.ledger.lease import acquire
from batchmill.ledger.paths import RunPaths, safe_file_name
from batchmill.model.facts import RunSet
from batchmill.model.states import RunState
from tests.ledger.conftest import Written, artifact, ending, planned, success, waiting, writing

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /home/me/net rw shared:2 - nfs4 server:/export rw,vers=4.2
41 22 0:41 / /mnt/my\040share rw - cifs //server/share rw
42 22 0:42 / /mnt/ssh rw - fuse.sshfs me@host: rw
43 40 0:43 / /home/me/net/local rw - xfs /dev/sdb1 rw
44 22 0:44 / /mnt/ntfs rw - fuseblk /dev/sdc1 rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/work", "ext4", False),
        ("/home/me/net", "nfs4", True),
        ("/home/me/net/project/.batchmill", "nfs4", True),
        ("/home/me/network", "ext4", False),
        ("/home/me/net/local/x", "xfs", False),
        ("/mnt/my share/x", "cifs", True),
        ("/mnt/ssh/x", "fuse.sshfs", True),
        ("/mnt/ntfs/x", "fuseblk", False),
    ],
)
def test_network_file_systems_are_known_by_their_mounts(path: str, kind: str, network: bool) -> None:
    found = file_system_of(Path(path), MOUNTS)
    assert (found, is_network(found)) == (kind, network)


@pytest.mark.parametrize(
    "kind", ["nfs", "smb3", "9p", "lustre", "gpfs", "ceph", "glusterfs", "fuse.glusterfs", "beegfs"]
)
def test_a_home_on_a_network_file_system_is_refused_with_a_hint(tmp_path: Path, kind: str) -> None:
    mounts = f"1 1 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:2 / {tmp_path.resolve()} rw - {kind} x rw"
    with pytest.raises(HomeError, match=kind) as refused:
        refuse_network(tmp_path / "project" / ".batchmill", mounts)
    assert "local disk" in str(refused.value.hint)


def test_a_new_home_is_ignored_by_git(home: Home) -> None:
    assert (home.path / ".gitignore").read_text() == "*\n"
    assert Home(home.path).runs() == []


def test_a_home_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="cannot be used"):
        Home(tmp_path / "file" / "home")


def test_runs_of_a_name_are_numbered(home: Home, new_run: Callable[..., RunPaths]) -> None:
    assert [new_run("a").id, new_run("b").id, new_run("a").id] == ["a-1", "b-1", "a-2"]
    infos = {info.id: info for info in home.runs()}
    assert (infos["a-2"].name, infos["a-2"].ordinal, infos["a-2"].task) == ("a", 2, "noop")


def test_racing_callers_get_a_run_each(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: home.create_run(NewRun("a", "noop", "d", "/")).id, range(16)))
    assert sorted(made) == sorted(f"a-{n}" for n in range(1, 17))


@pytest.mark.parametrize("name", ["my sweep", "a/b", "../../x", ".hidden", "-rf", "é" * 150, "tab\t"])
def test_any_name_gives_a_run_in_the_home(home: Home, name: str) -> None:
    paths = home.create_run(NewRun(name, "noop", "d", "/"))
    assert paths.folder.parent == home.path / "runs"
    assert home.find(name) == paths
    assert home.runs()[0].name == name


def test_names_that_are_safe_are_kept_and_others_do_not_collide() -> None:
    assert safe_file_name("plot (1).png") == "plot (1).png"
    made = {safe_file_name(name) for name in ("a/b.png", "a_b.png", "a\\b.png", "../a_b.png")}
    assert len(made) == 4
    assert all(name.endswith(".png") for name in made)


def test_finding_by_id_name_and_last(home: Home, new_run: Callable[..., RunPaths]) -> None:
    for name in ("a", "a", "b", "a-1"):
        new_run(name)
    assert home.find("a-1").id == "a-1"
    assert home.find("a").id == "a-2"
    assert home.find("last").id == "a-1-1"
    with pytest.raises(RunNotFound) as missing:
        home.find("a-21")
    assert missing.value.hint == "did you mean `a-2`?"


def test_an_empty_home_has_no_last_run(home: Home) -> None:
    with pytest.raises(RunNotFound, match="no run `last`"):
        home.find("last")


def test_a_name_stays_with_its_task(home: Home, new_run: Callable[..., RunPaths]) -> None:
    new_run("a", task="one")
    with pytest.raises(UsageError, match="`one`, not `two`"):
        new_run("a", task="two")


def test_a_run_whose_driver_died_is_shown_interrupted(home: Home, paths: RunPaths) -> None:
    with writing(paths) as written:
        written.plan(planned(1), planned(2))
        written.write(RunSet(1.0, RunState.RUNNING), *ending(1))
        (live,) = home.runs()
    (dead,) = home.runs()
    assert (live.state, dead.state) == (RunState.RUNNING, RunState.INTERRUPTED)
    assert (dead.counts["pending"], dead.counts["succeeded"]) == (1, 1)


def test_a_damaged_run_is_left_out_of_lists_and_can_be_removed(home: Home, new_run: Callable[..., RunPaths]) -> None:
    new_run("a")
    damaged = new_run("b")
    damaged.ledger.write_bytes(b"x" * 5000)
    assert [info.id for info in home.runs()] == ["a-1"]
    home.remove(home.find("b"))
    assert not damaged.folder.exists()


def test_a_live_run_cannot_be_removed(home: Home, paths: RunPaths) -> None:
    with acquire(paths), pytest.raises(RunHeld):
        home.remove(paths)
    assert paths.ledger.exists()


# --- garbage


def test_objects_of_a_removed_run_are_collected_and_others_kept(home: Home, new_run: Callable[..., RunPaths]) -> None:
    keep, drop = new_run(), new_run()
    for paths, data in ((keep, b"keep"), (keep, b"both"), (drop, b"drop"), (drop, b"both")):
        with writing(paths) as written:
            number = written.ask("SELECT planned FROM run")[0][0] + 1
            written.plan(planned(number))
            written.write(*ending(number, success(artifacts=(artifact(paths, "a", data),))))
    assert home.gc() == 0
    home.remove(drop)
    assert home.gc() == 4
    assert sorted(file.read_bytes() for file in home.objects.all()) == [b"both", b"keep"]
    assert (keep.out / "1" / "a").read_bytes() == b"keep"


def test_what_a_live_run_is_about_to_name_is_kept(home: Home, written: Written) -> None:
    blob = waiting(written.paths, b"adopted, not committed", "blob-1")
    home.objects.adopt(written.paths.tmp / blob.waiting, blob)
    waiting(written.paths, b"not adopted", "blob-2")
    assert home.gc() == 0
    assert home.objects.has(blob.digest)
    assert (written.paths.tmp / "blob-2").exists()


def test_what_a_dead_run_was_about_to_name_is_collected(home: Home, paths: RunPaths) -> None:
    blob = waiting(paths, b"adopted, not committed", "blob-1")
    home.objects.adopt(paths.tmp / blob.waiting, blob)
    assert home.gc() == len(b"adopted, not committed")
    assert list(paths.tmp.iterdir()) == list(home.objects.all()) == []


def test_nothing_is_collected_while_a_ledger_cannot_be_read(home: Home, new_run: Callable[..., RunPaths]) -> None:
    paths, damaged = new_run("a"), new_run("b")
    digest, pin = home.objects.put(b"data", paths.tmp)
    pin.unlink()
    damaged.ledger.write_bytes(b"x" * 5000)
    with pytest.raises(LedgerError, match="`b-1` cannot be read"):
        home.gc()
    assert home.objects.has(digest)


def test_half_deleted_and_half_made_runs_are_swept(home: Home) -> None:
    runs = home.path / "runs"
    for name, age in ((".a-1.77.trash", 0.0), ("b-1", 7200.0), ("c-1", 0.0)):
        (runs / name).mkdir()
        (runs / name / "file").write_text("12345")
        os.utime(runs / name, (time.time() - age, time.time() - age))
    assert home.gc() == 10
    assert [folder.name for folder in runs.iterdir()] == ["c-1"]
