"""Who may write a run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection

import pytest

from batchmill.errors import LedgerError, RunHeld
from batchmill.ledger.lease import acquire, holder, idle
from batchmill.ledger.paths import RunPaths
from tests.ledger.conftest import ask

HOLDER = """
import sys
from pathlib import Path
from batchmill.errors import RunHeld
from batchmill.ledger.lease import acquire
from batchmill.ledger.paths import RunPaths
paths = RunPaths(Path(sys.argv[1]), sys.argv[2])
sys.stdin.readline()
try:
    with acquire(paths) as lease:
        print("won", lease.epoch, flush=True)
        sys.stdin.readline()
except RunHeld as held:
    print("lost", held.message, flush=True)
"""


def start(paths: RunPaths) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(paths.home), paths.id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_of_two_drivers_one_wins_and_the_other_is_told_who(paths: RunPaths) -> None:
    both = [start(paths), start(paths)]
    try:
        for process in both:
            say(process)
        answers = {process.pid: hear(process) for process in both}
        winner = next(pid for pid, answer in answers.items() if answer.startswith("won"))
        (lost,) = [answer for answer in answers.values() if answer.startswith("lost")]
        assert f"run `sweep-1` is being run by process {winner} on " in lost
        assert " since " in lost
    finally:
        for process in both:
            end(process)


def test_a_stopped_owner_keeps_the_lease_and_a_dead_one_has_lost_it(paths: RunPaths) -> None:
    owner = start(paths)
    try:
        say(owner)
        assert hear(owner).startswith("won")
        os.kill(owner.pid, signal.SIGSTOP)
        with pytest.raises(RunHeld, match=str(owner.pid)):
            acquire(paths)
        found = holder(paths)
        assert found is not None
        assert found.pid == owner.pid
    finally:
        end(owner)
    assert holder(paths) is None
    with acquire(paths) as lease:
        assert lease.epoch == 2


def test_every_acquisition_raises_the_epoch(paths: RunPaths) -> None:
    epochs = []
    for _ in range(3):
        with acquire(paths) as lease:
            epochs.append(lease.epoch)
    assert epochs == [1, 2, 3]
    assert ask(paths, "SELECT epoch FROM run") == [(3,)]


def test_one_process_cannot_take_it_twice_nor_lose_it_by_looking(paths: RunPaths) -> None:
    with acquire(paths):
        with pytest.raises(RunHeld, match=f"process {os.getpid()}"):
            acquire(paths)
        owner = holder(paths)
        assert owner is not None
        assert owner.pid == os.getpid()
        other = start(paths)  # a look must not have freed the lock
        say(other)
        assert hear(other).startswith("lost")
        end(other)
    assert holder(paths) is None


def _hold_on(told: Connection) -> None:
    told.recv()


def test_a_forked_child_does_not_keep_the_lease(paths: RunPaths) -> None:
    ours, theirs = multiprocessing.Pipe()
    lease = acquire(paths)
    child = multiprocessing.get_context("fork").Process(target=_hold_on, args=(theirs,))
    child.start()
    try:
        lease.release()
        with acquire(paths) as again:
            assert again.epoch == 2
    finally:
        ours.send(None)
        child.join()


def test_an_idle_run_is_kept_without_touching_its_ledger(paths: RunPaths) -> None:
    before = paths.ledger.read_bytes()
    with idle(paths), pytest.raises(RunHeld):
        acquire(paths)
    assert paths.ledger.read_bytes() == before


def test_a_lease_on_a_damaged_ledger_is_refused_and_freed(paths: RunPaths) -> None:
    paths.ledger.write_bytes(b"no ledger at all, but longer than a header of SQLite" * 10)
    for _ in range(2):
        with pytest.raises(LedgerError, match="cannot be used"):
            acquire(paths)
    assert holder(paths) is None
