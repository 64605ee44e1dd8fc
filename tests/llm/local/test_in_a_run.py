"""The embedded models inside the engine's workers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import batchmill
from batchmill.llm import embed
from tests.llm.local import jobs

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("state")


def test_jobs_of_an_async_worker_share_one_server_that_ends_with_the_run(tmp_path: Path, smollm2: Path) -> None:
    names = [f"number {n}" for n in range(3)]
    limits = {"workers": 1, "concurrency": 2}
    run = batchmill.run(
        jobs.greet, matrix={"axes": {"name": names}}, home=tmp_path / "home", progress=False, limits=limits
    )
    values = [outcome.value for outcome in run.results()]
    assert all(value["text"] for value in values)
    pids = {value["server"] for value in values}
    assert len(pids) == 1  # also after jobs between which nothing ran
    assert not Path(f"/proc/{pids.pop()}").exists()


def test_plain_process_jobs_share_one_server_that_outlives_them_and_ends_with_the_run(
    tmp_path: Path, smollm2: Path
) -> None:
    names = ["you", "me", "nobody: die", "her", "nobody: wait", "him"]
    run = batchmill.run(
        jobs.greet_plainly,
        matrix={"axes": {"name": names}},
        home=tmp_path / "home",
        progress=False,
        limits={"workers": 2, "timeout": "4s"},
        retry={"attempts": 1},
    )
    assert run.counts["failed"] == 2  # neither a crash nor a kill takes the server along
    values = [outcome.value for outcome in run.results("succeeded")]
    assert all(value["text"] for value in values)
    pids = {value["server"] for value in values}
    assert len(pids) == 1
    assert not Path(f"/proc/{pids.pop()}").exists()


def test_a_job_that_runs_in_a_fork_of_its_own_has_a_server_of_its_own(tmp_path: Path, smollm2: Path) -> None:
    apart = batchmill.task(jobs.greet_plainly, version="1", isolation="job")
    run = batchmill.run(
        apart, matrix={"axes": {"name": ["you"]}}, home=tmp_path / "home", progress=False, limits={"workers": 1}
    )
    (value,) = [outcome.value for outcome in run.results()]
    assert value["text"]
    assert not Path(f"/proc/{value['server']}").exists()


_DRIVER = """
import sys, batchmill
from tests.llm.local import jobs
axes = {"axes": {"folder": [sys.argv[1]]}}
batchmill.run(jobs.greet_and_stay, matrix=axes, home=sys.argv[1] + "/home", progress=False)
"""


@pytest.mark.parametrize("whom", ["driver", "zygote"])
def test_no_server_of_a_job_outlives_a_kill(tmp_path: Path, smollm2: Path, whom: str) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    with subprocess.Popen([sys.executable, "-c", _DRIVER, str(tmp_path)], cwd=ROOT) as driver:
        found = json.loads(told.read_text())
        ends = [os.pidfd_open(pid) for pid in found.values()]
        os.kill(driver.pid if whom == "driver" else found["zygote"], signal.SIGKILL)
        for end in ends:
            ready, _, _ = select.select([end], [], [], 20)
            os.close(end)
            assert ready
        driver.kill()


def test_prepare_embeds_the_distinct_words_once_for_all_jobs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    words = ["ship", "boat", "ship", "lamp"]
    run = batchmill.run(
        jobs.first_number, jobs=[{"params": {"word": word}} for word in words], home=tmp_path / "home", progress=False
    )
    assert [outcome.value for outcome in run.results()] == [float(row[0]) for row in embed(words)]
    assert (Path(os.environ["XDG_STATE_HOME"]) / "batchmill" / "embeddings.db").exists()
