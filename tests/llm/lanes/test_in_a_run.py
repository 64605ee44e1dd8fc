"""Whole runs of documents through batches: killed and run again, and run by somebody else in between."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchmill.cli.app import run as command
from batchmill.llm.cache import state_folder
from batchmill.llm.lanes.store import read_batches
from batchmill.testing import FakeLLM
from tests.llm.lanes.jobs import HALF, PRICES

MANIFEST = """
name: docs
task: documents
defaults: {model: MODEL, prompt: Sum up.}
limits: {concurrency: 50, budget: 5 USD, timeout: 1s}
files: {directory: docs, as: file}
output: results
"""
FILES = 5


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for number in range(FILES):
        (tmp_path / "docs" / f"{number}.txt").write_text(f"Document {number} tells a story.")
    monkeypatch.setenv("BATCHMILL_PRICES", json.dumps(PRICES))
    monkeypatch.setenv("BATCHMILL_LANE", "batch")
    monkeypatch.setenv("BATCHMILL_LANES", json.dumps({"quiet": 0.5, "poll": 0.1}))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return tmp_path


@pytest.fixture
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLLM]:
    with FakeLLM(**getattr(request, "param", {})) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.openai_url)
        monkeypatch.setenv("VLLM_BASE_URL", running.openai_url)
        yield running


def write(project: Path, model: str) -> str:
    path = project / "docs.yaml"
    path.write_text(MANIFEST.replace("MODEL", model))
    return str(path)


def calls(project: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(project / ".batchmill" / "runs" / "docs-1" / "ledger.db")) as ledger:
        return ledger.execute("SELECT state, sum(cost), count(*) FROM calls GROUP BY state").fetchall()


@pytest.mark.parametrize("fake", [{"batch_time": 1.5, "batch_script": ["hang"], "batch_done": 0.6}], indirect=True)
def test_a_run_that_is_killed_while_its_batch_is_made_waits_for_that_batch(project: Path, fake: FakeLLM) -> None:
    manifest = write(project, "openai/m")
    run = [sys.executable, "-m", "batchmill", "run", manifest, "--output", "quiet"]
    with subprocess.Popen(run, start_new_session=True) as first:
        ends = time.monotonic() + 60
        while not fake.counts.batches and first.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)
        os.killpg(first.pid, signal.SIGKILL)
    assert fake.counts.batches == 1

    assert command(["run", manifest, "--output", "quiet"]) == 0

    counts = fake.counts
    assert (counts.batches, counts.batch_lines, counts.requests, counts.duplicates) == (1, 3, FILES - 3, 0)
    assert calls(project) == [("settled", counts.cost, 2 * FILES - 3)]
    full = 2 * (HALF[0] * counts.tokens_in + HALF[1] * counts.tokens_out)
    assert counts.cost == pytest.approx(full * (3 / 2 + 2) / FILES, rel=0.2)
    told = json.loads((project / ".batchmill" / "runs" / "docs-1" / "summary.json").read_text())["calls"]
    assert (told["cost"], told["possibly_billed"]) == (counts.cost / 1e8, 0)


@pytest.mark.parametrize(("at_once", "sizes"), [(50, [5]), (2, [2, 2, 1])])
@pytest.mark.parametrize("lane", ["batch", "auto"])
@pytest.mark.parametrize("fake", [{"batch_time": 0.1}], indirect=True)
def test_a_batch_leaves_as_soon_as_all_jobs_wait_for_it(
    project: Path, fake: FakeLLM, monkeypatch: pytest.MonkeyPatch, lane: str, at_once: int, sizes: list[int]
) -> None:
    monkeypatch.setenv("BATCHMILL_LANE", lane)
    monkeypatch.setenv("BATCHMILL_LANES", json.dumps({"quiet": 3600, "poll": 0.05, "least": 3}))
    path = Path(write(project, "openai/m"))
    path.write_text(path.read_text().replace("concurrency: 50", f"concurrency: {at_once}"))

    assert command(["run", str(path), "--output", "quiet"]) == 0

    live = lane == "auto" and at_once == 2  # too few come together
    assert sorted(batch.lines for batch in read_batches(state_folder())) == ([] if live else sorted(sizes))
    assert fake.counts.requests == (FILES if live else 0)


def test_requests_that_others_run_come_back_and_none_leaves(
    project: Path, fake: FakeLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write(project, "vllm/m")
    assert command(["lanes", "export", manifest, "-o", "requests.jsonl", "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["requests"], told["answered"], told["exported"], told["models"]) == (FILES, 0, FILES, ["m"])
    assert not list((project / ".batchmill" / "runs").iterdir())
    assert not (project / "results").exists()

    requests = [json.loads(line) for line in (project / "requests.jsonl").read_text().splitlines()]
    results = [run_batch(request) for request in requests]
    results[0]["response"] = {"status_code": 500, "body": {"error": {"message": "out of memory"}}}
    lines = [json.dumps(result) for result in results]
    (project / "results.jsonl").write_text("\n".join([*lines, "no JSON", '{"custom_id": "zz"}', ""]))
    assert command(["lanes", "import", "results.jsonl", "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["replies"], told["failed"], told["foreign"]) == (FILES - 1, 1, 2)
    assert "out of memory" in told["reasons"][0]

    assert command(["run", manifest, "--output", "quiet"]) == 0
    assert fake.counts.requests == 1  # the one that failed there
    answers = {result["custom_id"]: text(result) for result in results[1:]}
    assert set(answers.values()) <= {path["result"]["text"] for path in outcomes(project)}


def run_batch(request: dict[str, Any]) -> dict[str, Any]:
    """What vLLM's `run-batch` writes for a line."""
    assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
    said = f"I read: {request['body']['messages'][-1]['content'][-1]['text'].strip()}"
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": request["body"]["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "total_tokens": 12, "completion_tokens": 3},
    }
    response = {"status_code": 200, "request_id": "vllm-batch-1", "body": body}
    return {"id": "vllm-1", "custom_id": request["custom_id"], "response": response, "error": None}


def text(result: dict[str, Any]) -> str:
    said: str = result["response"]["body"]["choices"][0]["message"]["content"]
    return said


def outcomes(project: Path) -> list[dict[str, Any]]:
    import batchmill

    run = batchmill.open_run("docs", home=project / ".batchmill")
    return [{"result": outcome.result} for outcome in run.results("succeeded")]


def test_lanes_lists_and_cancels(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["lanes", "list"]) == 0
    assert capsys.readouterr().out == "no batches\n"
    assert command(["lanes", "cancel", "abc"]) == 2
    assert "there is no batch `abc`" in capsys.readouterr().err
    assert command(["lanes", "export", "x.yaml"]) == 2
    assert "-o FILE" in capsys.readouterr().err
    assert command(["lanes", "import", "none.jsonl"]) == 2
    assert "cannot read `none.jsonl`" in capsys.readouterr().err
