"""The process of the workers may be started before the run is known: it then moves into the run."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from batchmill.executors import early
from tests.executors.harness import Rig
from tests.executors.test_deaths import linux_parent


@pytest.fixture(autouse=True)
def _nobody_left() -> Iterator[None]:
    yield
    early.drop()


def begun(preload: str = "") -> subprocess.Popen[bytes]:
    early.begin(preload)
    return early._waiting[-1].process


def test_a_run_takes_over_the_process_that_was_started_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = begun()
    monkeypatch.setenv("SET_AFTER_THE_START", "seen")
    monkeypatch.delenv("HOME", raising=False)
    with Rig(tmp_path, "pid", "look_around") as rig:
        rig.ready()
        assert linux_parent(rig.value("pid")) == process.pid
        assert rig.value("look_around") == [str(tmp_path), "seen", None]
    assert process.wait(10) == 0
    assert (tmp_path / "run" / "logs" / "zygote.log").exists()


def test_its_workers_are_known_by_the_environment_that_it_was_started_with(tmp_path: Path) -> None:
    process = begun()
    mark = f"{early.MARK}={early._waiting[-1].token}".encode()
    with Rig(tmp_path, "pid") as rig:
        rig.ready()
        for pid in (process.pid, rig.value("pid")):
            assert mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_one_that_died_meanwhile_is_not_taken(tmp_path: Path) -> None:
    process = begun()
    process.kill()
    process.wait()
    with Rig(tmp_path, "pid") as rig:
        assert linux_parent(rig.ready().value("pid")) != process.pid


def test_one_that_nobody_needs_is_ended() -> None:
    process = begun()
    early.drop()
    assert process.returncode is not None


def test_it_ends_when_its_starter_does() -> None:
    code = (
        "from batchmill.executors import early; early.begin(); import os; os.write(1, b'%d' % early._waiting[0][0].pid)"
    )
    done = subprocess.run([sys.executable, "-c", code + "; os._exit(9)"], capture_output=True, timeout=60)
    with suppress(ProcessLookupError):  # it has ended already
        fd = os.pidfd_open(int(done.stdout))
        try:
            assert select.select([fd], [], [], 20.0)[0]
        finally:
            os.close(fd)


def test_what_cannot_be_imported_early_is_told_when_it_is_loaded(tmp_path: Path) -> None:
    begun("no_such_module:preload")
    with Rig(tmp_path, "pid") as rig:
        assert rig.ready().value("pid")
