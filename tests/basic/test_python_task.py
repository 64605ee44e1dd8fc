"""`task: python`: planned by reading the module, run by importing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import batchmill
from batchmill.errors import PlanError
from batchmill.manifest.document import from_values, read
from batchmill.plan.plan import Plan, build
from batchmill.plugins import find
from batchmill.workloads.basic import python

MODULE = """
import helper_of_mine
from dataclasses import dataclass
from pydantic import BaseModel

class Params(BaseModel):
    n: int

@dataclass
class Point:
    x: int

def plain(a: int, b: float = 0.5, c=(1, 2), *, note: str = "n"):
    return {"sum": a + b, "c": list(c)}

def with_context(a, ctx):
    return a + ctx.attempt

def annotated(a, engine: "batchmill.Context"):
    return engine.attempt

def free(a, **rest):
    return {"a": a, **rest}

def modelled(params: Params) -> Point:
    return Point(params.n)

async def later(a):
    return a

def promised(a) -> Params:
    return {"n": a}

async def promised_later(a) -> list[int]:
    return a

class Shaped:
    def __init__(self, inner): self.inner = inner
    def tolist(self): return self.inner

def measured(a) -> list[float]:
    return Shaped(a)

def clash(function): ...

class Space:
    @staticmethod
    def inside(a=1):
        return a
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "analysis_of_mine.py").write_text(MODULE)
    (tmp_path / "helper_of_mine.py").write_text("X = 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("analysis_of_mine", "helper_of_mine"):
        sys.modules.pop(name, None)


def plan(folder: Path, function: str, **params: Any) -> Plan:
    values = {"task": "python", "jobs": [{"params": {"function": function, **params}}]}
    return build(from_values(values, folder=folder), find)


def problem(folder: Path, function: str, **params: Any) -> Any:
    with pytest.raises(PlanError) as caught:
        plan(folder, function, **params)
    return caught.value.problems[0]


def call(function: str, **params: Any) -> Any:
    task = find("python")
    context = SimpleNamespace(attempt=7, version=digest("analysis_of_mine"))
    return task.call(task.params(function=f"analysis_of_mine:{function}", **params), context)


def digest(module: str) -> str:
    return batchmill.source_digest(Path(f"{module}.py").absolute(), (str(Path.cwd()),))


def test_planning_fills_in_plain_defaults_and_imports_nothing(folder: Path) -> None:
    [job] = plan(folder, "analysis_of_mine:plain", a=1).jobs()
    assert json.loads(job.params) == {"function": "analysis_of_mine:plain", "a": 1, "b": 0.5, "note": "n"}
    assert "analysis_of_mine" not in sys.modules
    [same] = plan(folder, "analysis_of_mine:plain", a=1, b=0.5).jobs()
    assert job.key == same.key


@pytest.mark.parametrize("file", ["analysis_of_mine.py", "helper_of_mine.py"])
def test_a_change_in_the_code_or_what_it_imports_is_another_version(folder: Path, file: str) -> None:
    [before] = plan(folder, "analysis_of_mine:plain", a=1).jobs()
    path = folder / file
    path.write_text(path.read_text() + "\nY = 2\n")
    [after] = plan(folder, "analysis_of_mine:plain", a=1).jobs()
    assert before.version != after.version
    assert before.key != after.key


@pytest.mark.parametrize(
    ("function", "params", "message", "hint"),
    [
        ("analysis_of_mine:plain", {}, "`analysis_of_mine:plain` needs the argument `a`", "add `a:` to the parameters"),
        (
            "analysis_of_mine:plain",
            {"a": 1, "d": 2},
            "`analysis_of_mine:plain` has no argument `d`",
            "its arguments: `a`, `b`, `c`, `note`",
        ),
        ("analysis_of_mine:plein", {}, "`analysis_of_mine.py` has no function `plein`", "did you mean `plain`?"),
        (
            "no.such:f",
            {},
            "there is no module `no.such` beside the manifest or on `PYTHONPATH`",
            "put `no/such.py` into the manifest's folder",
        ),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(
    folder: Path, function: str, params: dict[str, Any], message: str, hint: str
) -> None:
    found = problem(folder, function, **params)
    assert (found.message, found.hint) == (message, hint)


def test_what_is_wrong_is_told_where_it_stands(folder: Path) -> None:
    (folder / "m.yaml").write_text(
        "task: python\nmatrix:\n  axes:\n    a: [1]\n"
        "    function: ['analysis_of_mine:plain', 'analysis_of_mine:plane']\n"
        "jobs:\n  - params: {function: analysis_of_mine:plain, a: 1, z: 3}\n"
    )
    with pytest.raises(PlanError) as caught:
        build(read(folder / "m.yaml"), find)
    assert [(p.line, p.column, p.message) for p in caught.value.problems] == [
        (5, 42, "`analysis_of_mine.py` has no function `plane`"),
        (7, 54, "`analysis_of_mine:plain` has no argument `z`"),
    ]


def test_arguments_that_only_running_the_module_would_tell_are_left_to_it(folder: Path) -> None:
    assert plan(folder, "analysis_of_mine:modelled", n=1).count() == 1
    assert plan(folder, "analysis_of_mine:free", a=1, z=2).count() == 1
    assert plan(folder, "analysis_of_mine:Space.inside").count() == 1


def test_modules_are_found_on_pythonpath(folder: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path_factory.mktemp("lib")
    (elsewhere / "tool_of_mine.py").write_text("def f(x): return x")
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    assert plan(folder, "tool_of_mine:f", x=1).count() == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("function", "params", "result"),
    [
        ("plain", {"a": "1"}, {"sum": 1.5, "c": [1, 2]}),
        ("with_context", {"a": 1}, 8),
        ("annotated", {"a": 1}, 7),
        ("free", {"a": 1, "z": 2}, {"a": 1, "z": 2}),
        ("later", {"a": 3}, 3),
        ("Space.inside", {}, 1),
    ],
)
def test_the_function_is_called_with_its_arguments(function: str, params: dict[str, Any], result: Any) -> None:
    assert call(function, **params) == result


@pytest.mark.usefixtures("folder")
def test_models_go_in_and_dataclasses_come_out() -> None:
    assert call("modelled", n=4).x == 4


@pytest.mark.usefixtures("folder")
def test_arguments_of_the_wrong_type_are_invalid() -> None:
    with pytest.raises(batchmill.ManifestError, match="`a`: Input should be a valid integer"):
        call("plain", a="many")


@pytest.mark.usefixtures("folder")
def test_what_a_function_returns_is_what_its_annotation_says() -> None:
    assert call("promised", a=4).n == 4
    assert call("promised_later", a=["4"]) == [4]
    assert call("measured", a=[1, 2.5]) == [1.0, 2.5]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("promised", "the result is not what `analysis_of_mine:promised` declares: `n`: Input should be a valid int"),
        ("promised_later", "declares: `value`: Input should be a valid list"),
        ("measured", "declares: `value`: Input should be a valid list"),
    ],
)
def test_a_result_of_another_type_is_invalid(function: str, message: str) -> None:
    with pytest.raises(batchmill.ManifestError, match=message):
        call(function, a="many")


def test_a_module_named_like_another_is_not_mistaken_for_it(folder: Path) -> None:
    (folder / "json.py").write_text("def f(): return 1")
    task = find("python")
    with pytest.raises(batchmill.Permanent, match="also the name of another module"):
        task.call(task.params(function="json:f"), SimpleNamespace(version=digest("json")))


@pytest.mark.usefixtures("folder")
def test_code_that_changed_since_the_plan_is_not_run() -> None:
    task = find("python")
    with pytest.raises(batchmill.ManifestError, match="changed after this job was planned"):
        task.call(task.params(function="analysis_of_mine:plain", a=1), SimpleNamespace(version="another"))


def test_a_clash_with_the_tasks_own_parameter_is_told(folder: Path) -> None:
    assert "names the function here" in problem(folder, "analysis_of_mine:clash").message


def test_the_task_is_what_the_entry_point_names() -> None:
    assert find("python").params is python.params
