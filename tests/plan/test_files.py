"""File sets: stable order, each file once, filters, nothing outside the root."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import PlanError, Problem
from batchmill.model.manifest import FilesSection
from batchmill.plan import sources
from batchmill.plan.sources import FileSet, glob, modified_since

NOW = 1_700_000_000.0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.yaml",
        "a.yaml",
        "a.txt",
        ".hidden.yaml",
        "sub/c.yaml",
        "sub/deep/d.yaml",
        ".git/e.yaml",
        "old_f.yaml",
    ):
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def file_set(folder: Path, **section: Any) -> FileSet:
    return FileSet(FilesSection.model_validate(section), str(folder), NOW)


def paths(folder: Path, **section: Any) -> list[str]:
    return [item.path for item in file_set(folder, **section)]


def problem(location: tuple[Any, ...], code: str, message: str, **words: Any) -> Problem:
    return Problem(code, message, source=".".join(map(str, location)))


def test_a_folder_gives_its_files_in_the_order_of_their_names(tree: Path) -> None:
    assert paths(tree, directory="models") == ["models/a.txt", "models/a.yaml", "models/b.yaml", "models/old_f.yaml"]


def test_recursion_takes_a_folders_files_before_its_subfolders(tree: Path) -> None:
    found = paths(tree, directory="models", pattern="*.yaml", recursive=True, exclude=["old_*"])
    assert found == ["models/a.yaml", "models/b.yaml", "models/sub/c.yaml", "models/sub/deep/d.yaml"]


def test_hidden_files_and_folders_are_left_out_unless_wanted(tree: Path) -> None:
    found = paths(tree, directory="models", pattern="*.yaml", recursive=True, hidden=True)
    assert {"models/.hidden.yaml", "models/.git/e.yaml"} <= set(found)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"exclude": ["sub"], "recursive": True}, ["a.txt", "a.yaml", "b.yaml", "old_f.yaml"]),
        ({"exclude": ["sub/deep/*"], "recursive": True, "pattern": "?.yaml"}, ["a.yaml", "b.yaml", "sub/c.yaml"]),
        ({"pattern": ["a.*", "b.*"]}, ["a.txt", "a.yaml", "b.yaml"]),
        ({"pattern": "sub/**/*.yaml"}, ["sub/c.yaml", "sub/deep/d.yaml"]),
        ({"pattern": "**/d.yaml"}, ["sub/deep/d.yaml"]),
        ({"min_size": 7}, ["old_f.yaml"]),
        ({"max_size": "5B"}, ["a.txt"]),
    ],
)
def test_filters(tree: Path, section: dict[str, Any], expected: list[str]) -> None:
    assert paths(tree / "models", directory=".", **section) == expected


def test_modified_since_takes_dates_and_times_ago(tree: Path) -> None:
    for number, name in enumerate(("a.yaml", "b.yaml")):
        os.utime(tree / "models" / name, (NOW, NOW - 86400 * (1 + 10 * number)))
    assert paths(tree, directory="models", pattern="?.yaml", modified_since="7d") == ["models/a.yaml"]
    assert paths(tree, directory="models", pattern="?.yaml", modified_since="7d ago") == ["models/a.yaml"]
    assert modified_since("1970-01-02T00:00:00+00:00", NOW) == 86400
    with pytest.raises(ValueError, match="neither a date"):
        modified_since("yesterday", NOW)


def test_the_union_has_each_file_once_in_the_order_of_its_sources(tree: Path) -> None:
    (tree / "list.txt").write_text("models/sub/../b.yaml\n\nmodels/sub/deep/d.yaml\r\nmodels/sub/c.yaml\n")
    found = paths(
        tree,
        directory="models",
        pattern="a.*",
        paths=["models/a.yaml", "models/sub/c.yaml", "./models/sub/c.yaml"],
        **{"from": "list.txt"},
    )
    assert found == [
        "models/a.txt",
        "models/a.yaml",
        "models/sub/c.yaml",
        "models/sub/../b.yaml",
        "models/sub/deep/d.yaml",
    ]


def test_links_are_not_followed_out_of_the_root_and_count_once(tree: Path) -> None:
    outside = tree / "outside.yaml"
    outside.write_text("x")
    models = tree / "models"
    (models / "z_out.yaml").symlink_to(outside)
    (models / "z_in.yaml").symlink_to(models / "a.yaml")
    (models / "z_data.yaml").symlink_to(models / ".hidden.yaml")
    (models / "z_data2.yaml").symlink_to(models / ".hidden.yaml")
    (models / "z_loop").symlink_to(models)
    (models / "z_dead.yaml").symlink_to(models / "nothing")
    (models / "z_itself.yaml").symlink_to(models / "z_itself.yaml")
    found = paths(tree, directory="models", pattern="*.yaml", recursive=True, exclude=["old_*", "sub"])
    assert found == ["models/a.yaml", "models/b.yaml", "models/z_data.yaml"]


def test_paths_stay_as_written_and_identities_are_absolute(tree: Path) -> None:
    [item] = file_set(tree, paths=["./models/a.yaml"])
    assert item.path == "./models/a.yaml"
    assert item.identity.path == str(tree / "models" / "a.yaml")
    assert item.identity.size == len("a.yaml")
    [absolute] = file_set(tree, directory=str(tree / "models"), pattern="a.yaml")
    assert absolute.path == str(tree / "models" / "a.yaml")


def test_what_is_missing_is_told_at_its_place(tree: Path) -> None:
    (tree / "list.txt").write_text("models/a.yaml\nnothing.yaml\n")
    found = file_set(tree, directory="moduls", paths=["models/a.yaml", "gone.yaml", "models"], **{"from": "list.txt"})
    problems = found.check(problem)
    assert [(p.source, p.line, p.message) for p in problems] == [
        ("files.directory", 0, "there is no folder `moduls`"),
        ("files.paths.1", 0, "`gone.yaml` does not exist"),
        ("files.paths.2", 0, "`models` is a folder, not a file"),
        ("list.txt", 2, "`nothing.yaml` does not exist"),
    ]
    assert [p.source for p in file_set(tree, **{"from": "no.txt"}).check(problem)] == ["files.from"]


def test_a_folder_that_vanishes_is_a_plan_error(tree: Path) -> None:
    found = file_set(tree, directory="models")
    for path in sorted((tree / "models").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tree / "models").rmdir()
    with pytest.raises(PlanError, match="cannot read the folder"):
        list(found)


def test_a_folder_larger_than_the_window_is_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WINDOW", 7)
    for number in range(40):
        (tmp_path / f"f{number * 7 % 40}").touch()
    assert paths(tmp_path, directory=".") == sorted(f"f{number}" for number in range(40))


@given(st.lists(st.sampled_from(["a", "ab", "b.x", "*", "?", "**/", "/", "[ab]"]), min_size=1, max_size=5))
def test_globs_of_any_form_compile(parts: list[str]) -> None:
    match: Callable[[str, str], object] = glob("".join(parts))
    assert bool(match("ab", "sub/ab")) in (True, False)
