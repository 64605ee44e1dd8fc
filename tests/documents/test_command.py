"""`batchmill documents` at the terminal: which files it finds, and where its results go."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.cli.app import run
from batchmill.testing import FakeLLM


@pytest.fixture(autouse=True)
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two documents, one of them in a folder below. The command tells its workers by variables what its flags say:
    they are set back."""
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / ".xdg"))
    for variable in [name for name in os.environ if name.startswith("BATCHMILL_")]:
        monkeypatch.delenv(variable)
    for place in ("one.txt", "below/two.txt"):
        Path(place).parent.mkdir(exist_ok=True)
        Path(place).write_text(f"This is {place}.")
    yield
    for variable in os.environ.keys() - before.keys():
        del os.environ[variable]


def documents(*words: str) -> int:
    return run(["documents", *words, "--prompt", "Sum up.", "--model", "extractive/lead", "--output", "quiet"])


def files_in(place: str) -> list[str]:
    return [result["file"] for result in json.loads(Path(place).read_text())["results"]]


def test_a_folder_is_searched_with_those_below_unless_flat() -> None:
    assert documents(".", "-o", "/dev/null") == 0
    assert documents(".", "-o", "all.json") == documents(".", "-o", "flat.json", "--flat") == 0
    assert files_in("all.json") == ["one.txt", "below/two.txt"]
    assert files_in("flat.json") == ["all.json", "one.txt"]


def test_results_among_the_documents_are_no_documents() -> None:
    for place in ("results/", "./", "below/three.json"):
        for number in (1, 2):
            assert documents(".", "-o", place) == 0
            Path("one.txt").write_text(f"Text {number}: the next run.")
        for written in [*Path().glob("*.json"), *Path().glob("[!.]*/*.json")]:
            assert files_in(str(written)) == ["one.txt", "below/two.txt"]
            written.unlink()


@pytest.mark.parametrize("place", ["one.txt/results.json", "/dev/null/results.json"])
def test_results_that_can_go_nowhere_are_told_before_the_run(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert documents(".", "-o", place) == 2
    assert "is no folder" in capsys.readouterr().err
    assert not Path(".batchmill").exists()


def test_a_changed_setting_asks_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"task": "documents", "defaults": {"prompt": "Sum up.", "model": "extractive/lead"}}
    Path("m.yaml").write_text(json.dumps(manifest | {"files": {"directory": "below", "as": "file"}}))
    assert run(["run", "m.yaml"]) == 0
    monkeypatch.setenv("BATCHMILL_TEMPERATURE", "0.5")
    assert run(["plan", "m.yaml"]) == 0
    assert "parameters changed: temperature" in capsys.readouterr().out
    assert run(["resume", "m-1"]) == 2
    assert "settings" in capsys.readouterr().err
    assert run(["run", "m.yaml", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "m-2"


def test_flags_are_above_the_settings_and_skipped_files_can_count_as_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_MAX_FILE_SIZE", "8")
    assert documents(".") == 0
    assert documents(".", "--fail-on", "skipped") == 1
    assert documents(".", "--fail-on", "skipped", "--max-file-size", "1MB") == 0


def test_fresh_asks_everything_again_and_cache_off_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeLLM() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        asked = ("documents", ".", "--prompt", "Sum up.", "--model", "openai/m", "--output", "quiet", "-o", "/dev/null")
        ways = [(), (), ("--fresh",), ("--fresh",), ("--name", "b"), ("--name", "c", "--cache", "off", "--home", ".c")]
        counts = []
        for way in ways:
            monkeypatch.delenv("BATCHMILL_CACHE", raising=False)
            assert run([*asked, *way]) == 0
            counts.append(fake.counts.requests)
    assert counts == [2, 2, 4, 6, 6, 8]


def test_a_wrong_flag_is_told_once_and_a_dead_address_also_where_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert documents(".", "--retry-attempts", "-1") == 2
    assert capsys.readouterr().err.count("retry_attempts") == 1
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    Path("m.yaml").write_text(
        '{"task": "documents", "defaults": {"prompt": "x", "text": "y", "model": "m"}, "jobs": [{}]}'
    )
    for command in (["run", "m.yaml"], ["documents", ".", "--prompt", "x", "--model", "m"]):
        assert run([*command, "--output", "quiet"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert "nothing listens at 127.0.0.1:9" in said
        assert "hint: --model local/smollm2" in said


def test_texts_are_skipped_by_what_describes_images() -> None:
    asked = [
        "documents",
        ".",
        "--prompt",
        "What is it?",
        "--model",
        "describe/basic",
        "--output",
        "quiet",
        "-o",
        "r.json",
    ]
    assert run(asked) == 0
    errors = {result["error"] for result in json.loads(Path("r.json").read_text())["results"]}
    assert errors == {"format: there is no image in it, and `describe/basic` describes nothing else"}
