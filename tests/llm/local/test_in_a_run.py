"""The embedded models inside the engine's workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import batchmill
from batchmill.llm import embed
from tests.llm.local import jobs

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


def test_a_plain_process_job_may_ask_too_and_leaves_no_server(tmp_path: Path, smollm2: Path) -> None:
    run = batchmill.run(
        jobs.greet_plainly,
        matrix={"axes": {"name": ["you"]}},
        home=tmp_path / "home",
        progress=False,
        limits={"workers": 1},
    )
    (value,) = [outcome.value for outcome in run.results()]
    assert value["text"]
    assert not Path(f"/proc/{value['server']}").exists()


def test_prepare_embeds_the_distinct_words_once_for_all_jobs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    words = ["ship", "boat", "ship", "lamp"]
    run = batchmill.run(
        jobs.first_number, jobs=[{"params": {"word": word}} for word in words], home=tmp_path / "home", progress=False
    )
    assert [outcome.value for outcome in run.results()] == [float(row[0]) for row in embed(words)]
    assert (Path(os.environ["XDG_STATE_HOME"]) / "batchmill" / "embeddings.db").exists()
