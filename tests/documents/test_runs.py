"""Whole runs over the engine: files on a disk, worker processes, and a service on loopback that counts its requests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import batchmill
from batchmill import Run
from batchmill.cli.app import run as command
from batchmill.manifest.document import from_values
from batchmill.plan.plan import build
from batchmill.testing.fake_llm import FakeLLM
from batchmill.workloads import documents as workload
from tests.documents import files

WORKFLOW = Path(__file__).parent.parent / "manifest" / "data" / "workflow.yaml"


@pytest.fixture(scope="module")
def service() -> Iterator[FakeLLM]:
    with FakeLLM(keep_texts=True, context=400) as running:
        yield running


@pytest.fixture
def fake(service: FakeLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLLM:
    """The service, with nothing in its counts; the test runs in a folder of its own, and knows no earlier reply."""
    service.reset()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_BASE_URL", service.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OLLAMA_HOST", service.ollama_url)
    (tmp_path / "docs").mkdir()
    return service


def documents(*, prompt: str | None = "Sum up.", model: str = "openai/m", limits: Any = None, **given: Any) -> Run:
    """A run over the folder `docs`, unless other sources are given."""
    sources = {key: given.pop(key) for key in ("files", "jobs", "table", "matrix") if key in given}
    defaults = {"model": model, **({"prompt": prompt} if prompt else {}), **given}
    return batchmill.run(
        task="documents",
        name="docs",
        defaults=defaults,
        limits={"workers": 2, **(limits or {})},
        progress=False,
        **(sources or {"files": {"directory": "docs", "as": "file", "recursive": True}}),
    )


def ends(run: Run) -> dict[str, str]:
    """What became of each file: its state, or the kind of its skip or failure."""
    found = {}
    for outcome in run.results():
        view = outcome._view
        found[outcome.params["file"].removeprefix("docs/")] = view.kind or view.state
    return found


def test_every_kind_of_file_is_asked_about_and_the_others_are_skipped(fake: FakeLLM) -> None:
    docs = Path("docs")
    (docs / "a.txt").write_text("The ferry leaves at eight.")
    (docs / "sub").mkdir()
    files.docx(docs / "sub" / "b.docx", "<w:p><w:r><w:t>It is late.</w:t></w:r></w:p>")
    files.pdf(docs / "c.pdf", "It is full.")
    (docs / "d.csv").write_text("day,fare\nMon,5\n")
    (docs / "empty.txt").write_text("")
    (docs / "binary.txt").write_bytes(bytes(range(256)) * 7)
    (docs / "large.txt").write_text("x" * 3000)
    (docs / ".hidden.txt").write_text("hidden")
    files.image(docs / "sign.png")
    named = {"directory": "docs", "as": "file", "recursive": True, "paths": ["gone.txt", "docs"]}
    run = documents(files=named, max_file_size="2kB", vision=False)
    assert ends(run) == {
        "a.txt": "succeeded",
        "sub/b.docx": "succeeded",
        "c.pdf": "succeeded",
        "d.csv": "succeeded",
        "empty.txt": "empty",
        "binary.txt": "format",
        "large.txt": "too_large",
        "sign.png": "format",
        "gone.txt": "not_found",
        "docs": "unreadable",
    }
    assert fake.counts.requests == 4
    assert run.exit_code == 0
    result = run.job("c").result
    assert (result["reader"], result["pages"], result["chunks"]) == ("pdf", 1, 1)
    assert result["usage"]["input"] > 0
    assert run.job("c").metrics["tokens_out"] == result["usage"]["output"]


def test_one_more_file_is_one_more_request_and_the_same_in_another_home_none(fake: FakeLLM) -> None:
    for number in range(5):
        Path(f"docs/{number}.txt").write_text(f"Ship {number}.")
    first = documents()
    Path("docs/5.txt").write_text("Ship 5.")
    second = documents()
    assert (first.counts["succeeded"], second.counts["succeeded"], second.counts["cached"]) == (5, 6, 5)
    assert fake.counts.requests == 6
    before = [(outcome.result, outcome.metrics) for outcome in second.results()]
    shutil.rmtree(".batchmill")
    third = documents()
    assert fake.counts.requests == 6
    assert [(outcome.result, outcome.metrics) for outcome in third.results()] == before


def test_jobs_ask_in_every_way(fake: FakeLLM) -> None:
    long = "".join(f"Sentence number {n} tells of a ship.\n" for n in range(100))
    Path("long.txt").write_text(long)
    Path("a.txt").write_text("Ship.")
    files.image(Path("sign.png"))
    files.pdf(Path("scan.pdf"), "", "")
    Path("tickets.csv").write_text(
        "name,text,prompt,customer\nann,It does not start,Answer {{ customer }}: {{ text }},Ann\n"
    )
    jobs = {
        "long": {"file": "long.txt", "chunk_overlap": 0, "max_tokens": 20},
        "label": {"file": "a.txt", "template": "classify", "labels": ["a", "b"]},
        "questions": {"file": "a.txt", "template": "qa"},
        "sign": {"file": "sign.png", "prompt": "Describe."},
        "scan": {"file": "scan.pdf", "prompt": "Describe."},
        "alone": {"prompt": "Write a motto."},
    }
    listed = [{"name": name, "params": {"prompt": "Sum up.", **params}} for name, params in jobs.items()]
    for job in listed[1:3]:
        del job["params"]["prompt"]
    run = documents(prompt=None, jobs=listed, table={"from": "tickets.csv"})
    assert run.counts["succeeded"] == 7
    result = {outcome.name: outcome.result for outcome in run.results()}
    asked = [entry.text for entry in fake.log if entry.status == 200]

    assert result["long"]["chunks"] >= 3
    assert result["long"]["text"]
    assert sum(text.count("Sentence number") for text in asked) == 100
    assert result["label"]["data"]["label"] in ("a", "b")
    assert set(result["questions"]["answers"]) == {"topic", "purpose", "findings"}
    assert result["questions"]["usage"]["requests"] == 3
    assert sorted(text.count("[image") for text in asked if "Describe." in text) == [1, 2]
    assert (result["scan"]["images"], result["sign"]["reader"]) == (2, "image")
    assert (result["alone"]["file"], result["alone"]["bytes"]) == (None, 0)
    assert "user: Answer Ann: It does not start" in asked


def test_prompts_models_and_seeds_make_a_matrix_as_many_at_a_time_as_settings_say(
    fake: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (workload.task.concurrency, workload.task.timeout) == (5, 30.0)
    monkeypatch.setenv("BATCHMILL_MAX_CONCURRENT", "1")
    monkeypatch.setenv("BATCHMILL_TIMEOUT_PER_FILE", "45s")
    assert (workload.task.concurrency, workload.task.timeout) == (1, 45.0)
    Path("docs/a.txt").write_text("Ship.")
    axes = {"prompt": ["Sum up.", "Translate."], "model": ["openai/m", "ollama/n"], "seed": [1, 2]}
    run = documents(files={"directory": "docs", "as": "file"}, matrix={"axes": axes}, prompt=None)
    assert run.counts["succeeded"] == fake.counts.requests == 8
    assert fake.counts.max_in_flight == 1


def test_a_workflow_runs_as_it_is(fake: FakeLLM) -> None:
    bare = WORKFLOW.read_text().replace("model: openai/gpt-4o-mini\n      messages", "model: llama3.2\n      messages")
    Path("workflow.yaml").write_text(bare)
    for name in ("notes", "photos"):
        Path(name).mkdir()
    Path("notes/one.md").write_text("We saw three whales.")
    Path("notes/two.txt").write_text("not asked for")
    for name, colour in (("plate-01", "red"), ("plate-02", "blue")):
        files.image(Path(f"photos/{name}.jpg"), colour=colour)
    run = batchmill.run("workflow.yaml", progress=False, limits={"workers": 1})
    assert run.counts["succeeded"] == 4
    asked = {entry.text: (entry.family, entry.model) for entry in fake.log}
    assert any("three sentences:\n\nWe saw three whales." in text for text in asked)
    assert sum("[image" in text for text in asked) == 2
    assert [of for text, of in asked.items() if "motto" in text] == [("ollama", "llama3.2")]  # a bare name


def test_nobody_listening_is_one_error_before_the_first_job(
    fake: FakeLLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    Path("docs/a.txt").write_text("Ship.")
    Path("m.yaml").write_text(
        "task: documents\ndefaults: {prompt: Sum up., model: llama3.2}\nfiles: {directory: docs, as: file}\n"
    )
    assert command(["run", "m.yaml"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "nothing listens at 127.0.0.1:9, where `ollama/llama3.2` should be" in said
    assert "hint: --model local/smollm2" in said
    assert batchmill.open_run("last").counts["pending"] == 1


@pytest.mark.parametrize("again", [["run", "m.yaml"], ["resume", "m-1"]])
def test_a_service_that_went_away_is_one_error_when_the_run_goes_on(
    fake: FakeLLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], again: list[str]
) -> None:
    for name in "ab":
        Path(f"docs/{name}.txt").write_text("Ship.")
    Path("m.yaml").write_text(
        "task: documents\ndefaults: {prompt: Sum up., model: llama3.2}\nfiles: {directory: docs, as: file}\n"
    )
    assert command(["run", "m.yaml", "--limit", "1"]) == 0
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    assert command(again) == 2
    assert "nothing listens at 127.0.0.1:9" in " ".join(capsys.readouterr().err.split())
    counts = batchmill.open_run("last").counts
    assert (counts["pending"], counts["failed"]) == (1, 0)


def test_a_local_model_in_a_manifest_has_time_to_answer(fake: FakeLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(**limits: Any) -> dict[str, float | None]:
        values = {
            "task": "documents",
            "defaults": {"prompt": "Sum up.", "text": "Ship."},
            "matrix": {"axes": {"model": ["local/smollm2", "openai/m"]}},
            "limits": limits,
        }
        jobs = build(from_values(values), lambda name: workload.task).jobs()
        return {json.loads(job.params)["model"]: job.timeout for job in jobs}

    assert seconds() == {"local/smollm2": 300.0, "openai/m": None}  # None: the task's own
    assert workload.task.timeout == 30.0
    assert seconds(timeout="7s") == {"local/smollm2": None, "openai/m": None}
    monkeypatch.setenv("BATCHMILL_TIMEOUT_PER_FILE", "2min")
    assert seconds() == {"local/smollm2": 120.0, "openai/m": None}


def test_as_many_files_are_in_work_as_make_a_large_batch(fake: FakeLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    assert workload.task.concurrency == 5
    monkeypatch.setenv("BATCHMILL_LANE", "batch")
    assert workload.task.concurrency == 5000


def test_skipped_files_can_count_as_failure(fake: FakeLLM) -> None:
    Path("docs/empty.txt").write_text("")
    Path("m.yaml").write_text(
        "task: documents\ndefaults: {prompt: Sum up., model: openai/m}\nfiles: {directory: docs, as: file}\n"
    )
    assert command(["run", "m.yaml", "--output", "quiet", "--fail-on", "skipped"]) == 1
    assert command(["run", "m.yaml", "--output", "quiet"]) == 0
    assert fake.counts.requests == 0


def test_broken_settings_are_told_with_their_line(fake: FakeLLM, capsys: pytest.CaptureFixture[str]) -> None:
    Path("docs/a.txt").write_text("Ship.")
    Path("batchmill.toml").write_text("seed = 1\ntemperature = 'hot'\n")
    Path("m.yaml").write_text("task: documents\ndefaults: {prompt: Sum up.}\nfiles: {directory: docs, as: file}\n")
    assert command(["plan", "m.yaml"]) == 2
    assert "batchmill.toml:2" in capsys.readouterr().err


def test_wrong_prompts_are_told_by_check(fake: FakeLLM, capsys: pytest.CaptureFixture[str]) -> None:
    Path("docs/a.txt").write_text("Ship.")
    Path("m.yaml").write_text(
        'task: documents\ndefaults:\n  model: openai/m\n  prompt: "Sum up {{ txt }}"\n'
        "files: {directory: docs, as: file}\n"
    )
    assert command(["plan", "m.yaml"]) == 2
    said = capsys.readouterr().err
    assert "m.yaml:4" in said
    assert "`{{ txt }}` is not known here" in said


READER = """
import os, signal
from batchmill.workloads.documents.readers import Document
def read(path, wish):
    word = path.read_text()
    if word == "eat":
        kept = [bytes(1 << 24) for _ in range(200)]
    if word == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    return Document(word.upper(), "loud")
"""


def test_a_reader_of_another_package_may_eat_and_die(fake: FakeLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path("site").absolute()
    (package / "loud-1.0.dist-info").mkdir(parents=True)
    (package / "loud-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (package / "loud-1.0.dist-info" / "entry_points.txt").write_text("[batchmill.readers]\nloud = loud_reader:read\n")
    (package / "loud_reader.py").write_text(READER)
    for word in ("hello", "eat", "die"):
        Path(f"docs/{word}.loud").write_text(word)
    Path("docs/plain.txt").write_text("plain")
    Path("m.yaml").write_text(
        "task: documents\ndefaults: {prompt: Sum up., model: openai/m}\nfiles: {directory: docs, as: file}\n"
        "limits: {workers: 1, memory: 300MB}\n"
    )
    import os
    import subprocess
    import sys

    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run([sys.executable, "-m", "batchmill", "run", "m.yaml"], env=environment, capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = batchmill.open_run("last")
    assert ends(run) == {
        "hello.loud": "succeeded", "plain.txt": "succeeded", "eat.loud": "too_large", "die.loud": "format"
    }  # fmt: skip
    assert sorted(entry.text.split()[-1] for entry in fake.log) == ["HELLO", "plain"]
