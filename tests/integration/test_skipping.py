"""Jobs without a usable input file end skipped, with a kind, where their task asks for that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchmill
from batchmill import InputFile, JobOutcome, PlanError, Skip, task


@task(unreadable="skip", version="1")
def size(file: InputFile) -> int:
    content = Path(file).read_bytes()
    if not content:
        raise Skip("it is empty", kind="empty")
    return len(content)


@task(version="1")
def strict(file: InputFile) -> int:
    return Path(file).stat().st_size


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("abc")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "folder").mkdir()
    return tmp_path


def _kinds(outcomes: Iterator[JobOutcome]) -> dict[str, tuple[str, str | None]]:
    return {outcome.params["file"]: (outcome.state, outcome._view.kind) for outcome in outcomes}


EXPECTED = {
    "a.txt": ("succeeded", None),
    "empty.txt": ("skipped", "empty"),
    "gone.txt": ("skipped", "not_found"),
    "folder": ("skipped", "unreadable"),
}


@pytest.mark.parametrize("source", ["jobs", "paths", "list"])
def test_a_listed_file_that_cannot_be_read_is_a_skipped_job(folder: Path, source: str) -> None:
    (folder / "list.txt").write_text("\n".join(EXPECTED))
    sources = {
        "jobs": {"jobs": [{"params": {"file": name}} for name in EXPECTED]},
        "paths": {"files": {"paths": list(EXPECTED), "as": "file"}},
        "list": {"files": {"from": "list.txt", "as": "file"}},
    }
    run = batchmill.run(size, **sources[source], workers=1, progress=False)
    assert _kinds(run.results()) == EXPECTED
    assert run.exit_code == 0


def test_other_tasks_still_want_their_files(folder: Path) -> None:
    with pytest.raises(PlanError, match=r"`gone\.txt` does not exist"):
        batchmill.run(strict, files={"paths": ["gone.txt"], "as": "file"}, progress=False)


def test_a_file_that_appears_is_read_by_the_next_run(folder: Path) -> None:
    files = {"paths": ["a.txt", "gone.txt"], "as": "file"}
    first = batchmill.run(size, files=files, workers=1, progress=False)
    (folder / "gone.txt").write_text("here")
    second = batchmill.run(size, files=files, workers=1, progress=False)
    assert (first.counts["skipped"], second.counts["succeeded"], second.counts["cached"]) == (1, 2, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_skipped(folder: Path) -> None:
    (folder / "a.txt").chmod(0)
    run = batchmill.run(size, files={"paths": ["a.txt"], "as": "file"}, workers=1, progress=False)
    assert _kinds(run.results()) == {"a.txt": ("skipped", "unreadable")}
