"""Source is read, never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.errors import TaskError
from batchmill.plugins import code


@pytest.fixture(autouse=True)
def _fresh() -> None:
    code.forget()


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def digest(folder: Path, module: str = "main") -> str:
    code.forget()
    return code.project_digest(folder / f"{module}.py")


PROJECT = {
    "main": "import os, numpy\nfrom pkg.deep import tool\nif tool:\n    import helper\nraise SystemExit",
    "helper": "from other import *",
    "other": "X = 1",
    "pkg/__init__": "",
    "pkg/deep": "from . import sibling\nfrom .inner.leaf import f",
    "pkg/sibling": "",
    "pkg/inner/leaf": "f = 1",  # a namespace package: no __init__
    "unused": "1",
}


def project(folder: Path) -> Path:
    return write(folder, **PROJECT)


@pytest.mark.parametrize(
    "changed", ["main", "helper", "other", "pkg/__init__", "pkg/deep", "pkg/sibling", "pkg/inner/leaf"]
)
def test_a_change_in_any_imported_project_file_changes_the_digest(tmp_path: Path, changed: str) -> None:
    before = digest(project(tmp_path))
    (tmp_path / f"{changed}.py").write_text(PROJECT[changed] + "\n# changed\n")
    assert digest(tmp_path) != before


def test_files_that_are_not_imported_and_the_place_do_not_count(tmp_path: Path) -> None:
    before = digest(project(tmp_path / "a"))
    (tmp_path / "a" / "unused.py").write_text("2")
    assert digest(tmp_path / "a") == before
    assert digest(project(tmp_path / "b")) == before


def test_modules_on_the_search_path_count_and_installed_ones_do_not(tmp_path: Path) -> None:
    write(tmp_path / "work", main="import tool")
    for place in ("lib", "site-packages"):
        write(tmp_path / place, tool="1")
    alone = digest(tmp_path / "work")
    search = [tmp_path / "site-packages"]
    assert code.project_digest(tmp_path / "work" / "main.py", search) == alone
    assert code.project_digest(tmp_path / "work" / "main.py", [*search, tmp_path / "lib"]) != alone


def test_of_an_installed_module_only_its_own_package_counts(tmp_path: Path) -> None:
    place = tmp_path / "site-packages"
    write(place, **{"tool/__init__": "from tool import inner\nimport big", "tool/inner": "1", "big": "1"})
    before = digest(place / "tool", "__init__")
    write(place, big="2")
    assert digest(place / "tool", "__init__") == before
    write(place, **{"tool/inner": "2"})
    assert digest(place / "tool", "__init__") != before


def test_a_module_within_a_package_counts_its_packages(tmp_path: Path) -> None:
    sub = "from .. import helper"
    write(tmp_path, **{"pkg/__init__": "", "pkg/sub/__init__": sub, "pkg/sub/mod": "", "pkg/helper": "1"})
    before = digest(tmp_path / "pkg" / "sub", "mod")
    (tmp_path / "pkg" / "helper.py").write_text("2")
    assert digest(tmp_path / "pkg" / "sub", "mod") != before


def test_import_cycles_and_broken_files_are_no_obstacle(tmp_path: Path) -> None:
    write(tmp_path, main="import a", a="import main, b", b="def (")
    assert len(digest(tmp_path)) == 32


def test_an_unreadable_module_is_a_task_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot read"):
        digest(tmp_path, "absent")


def test_the_signature_is_read_without_running_the_module(tmp_path: Path) -> None:
    write(
        tmp_path,
        main="""
raise SystemExit('imported')
def f(a, b: int, c=[1, {'x': None}], *args, d: "list[int]", e=object(), **rest): ...
class C:
    @staticmethod
    def g(x: 'pkg.Context | None' = None): ...
async def h(x=-1.5): ...
from other import later
alias = f
if True:
    def inner(y): ...
""",
    )
    file = tmp_path / "main.py"
    found = code.signature_of(file, "f")
    assert found is not None
    assert [tuple(a) for a in found] == [
        ("a", False, None, "", False),
        ("b", False, None, "int", False),
        ("c", True, [1, {"x": None}], "", False),
        ("d", False, None, "list[int]", False),
        ("e", True, ..., "", False),
        ("args", True, None, "", True),
        ("rest", True, None, "", True),
    ]
    assert [a.annotation for a in code.signature_of(file, "C.g") or ()] == ["pkg.Context | None"]
    assert [a.default for a in code.signature_of(file, "h") or ()] == [-1.5]
    assert [a.name for a in code.signature_of(file, "inner") or ()] == ["y"]
    assert code.signature_of(file, "later") is None
    assert code.signature_of(file, "alias") is None


def test_a_missing_function_is_told_with_the_near_name(tmp_path: Path) -> None:
    write(tmp_path, main="def analyse(x): ...")
    with pytest.raises(TaskError) as caught:
        code.signature_of(tmp_path / "main.py", "analyze")
    assert caught.value.hint == "did you mean `analyse`?"
    write(tmp_path, bad="def (")
    with pytest.raises(TaskError, match="not valid Python"):
        code.signature_of(tmp_path / "bad.py", "f")
