"""Entry points are found as `importlib.metadata` finds them, by reading less."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from batchmill.plugins.entries import COMMANDS, EARLY, Entry, entry_points

GROUPS = ("batchmill.tasks", COMMANDS, EARLY, "batchmill.readers")


def install(site: Path, folder: str, text: str) -> None:
    (site / folder).mkdir(parents=True)
    (site / folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {folder.partition('-')[0]}\nVersion: 1\n")
    (site / folder / "entry_points.txt").write_text(text)


@pytest.mark.parametrize("group", GROUPS)
def test_the_standard_library_finds_the_same(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = "# hello = x:y\n[console_scripts]\nloud = loud:main\n"
    text = f"{others}\n[{group}]\n# none = x:y\nloud=loud.deep:Its.name [extra]\n b = c:d\n"
    install(tmp_path, "loud-1.0.dist-info", text)
    monkeypatch.syspath_prepend(tmp_path)
    found = {(e.name, e.value) for e in entry_points(group=group)}
    assert ("loud", "loud.deep:Its.name [extra]") in found
    assert found == {(e.name, e.value) for e in metadata.entry_points(group=group)}


def test_of_a_distribution_that_is_there_twice_the_first_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "old", "Loud.Task-1.0.dist-info", "[batchmill.tasks]\nloud = old:task\n")
    install(tmp_path / "new", "loud_task-2.0.dist-info", "[batchmill.tasks]\nloud = new:task\n")
    monkeypatch.syspath_prepend(tmp_path / "old")
    monkeypatch.syspath_prepend(tmp_path / "new")
    [entry] = entry_points(group="batchmill.tasks", name="loud")
    assert entry == Entry("loud", "new:task", "batchmill.tasks", "loud_task", "2.0")


def test_what_is_installed_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert not entry_points(group="batchmill.tasks", name="late")
    install(tmp_path, "late-1.0.dist-info", "[batchmill.tasks]\nlate = math:tau\n")
    [entry] = entry_points(group="batchmill.tasks", name="late")
    assert round(entry.load(), 2) == 6.28


def test_an_attribute_may_be_deep_and_extras_are_ignored() -> None:
    assert Entry("x", "os : path.join [extra]", "g").load()("a", "b") == "a/b"
