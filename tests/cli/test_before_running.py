"""`init`, `check`, `schema`, `plan`, `doctor`: what can be asked before anything has run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from batchmill.manifest.schema import json_schema
from tests.cli.conftest import MANIFEST, MODULE, Call

EXPERIMENTS = Path(__file__).parent.parent / "manifest" / "data" / "experiments.yaml"


@pytest.mark.parametrize("task", ["identifiability", "python", "shell"])
def test_init_writes_a_manifest_that_runs_as_it_is(call: Call, task: str) -> None:
    said = call("init", task)
    assert said.code == 0
    assert "batchmill run batchmill.yaml" in said.out
    assert call("check", "batchmill.yaml").code == 0
    assert Path("batchmill.yaml").read_text().count("# ") > 5
    ran = call("run", "batchmill.yaml", "--output", "json")
    assert (ran.code, ran.json["failure_count"]) == (0, 0)
    assert ran.json["success_count"] > 3


def test_init_without_a_task_takes_the_first_workload_and_names_the_others(call: Call) -> None:
    said = call("init", "--to", "deep/first.yaml", "--output", "human")
    assert said.code == 0
    assert "task: identifiability" in Path("deep/first.yaml").read_text()
    assert "`python`" in said.err


def test_init_overwrites_nothing(call: Call) -> None:
    Path("batch_functions.py").write_text("mine")
    said = call("init", "python")
    assert said.code == 2
    assert "`batch_functions.py` exists already" in said.err
    assert Path("batch_functions.py").read_text() == "mine"
    assert not Path("batchmill.yaml").exists()


def test_init_of_any_other_task_lists_its_parameters(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from batchmill import plugins

    def weigh(stone: str, scale: float = 1.5) -> float:
        return scale * len(stone)

    monkeypatch.setattr(plugins, "task_names", lambda: ["weigh"])
    monkeypatch.setattr(plugins, "find", lambda name: plugins.make_task(weigh, name=name))
    assert call("init", "weigh").code == 0
    text = Path("batchmill.yaml").read_text()
    assert "task: weigh" in text
    assert "stone: " in text
    assert "# scale: 1.5" in text


def test_check_shows_the_effective_settings(call: Call, squares: Path) -> None:
    said = call("check", squares, "--set", "limits.workers=7")
    assert said.code == 0
    assert "workers" in said.out
    assert "7" in said.out
    told = call("check", squares, "--output", "json").json
    assert (told["schema_version"], told["name"], told["jobs"]) == (1, "squares", 3)
    assert told["settings"]["timeout"] == "none"


def test_check_tells_the_timeout_of_the_task_itself(call: Call) -> None:
    Path("m.yaml").write_text("task: identifiability\njobs: [{params: {model: C2M}}]\n")
    assert call("check", "m.yaml", "--output", "json").json["settings"]["timeout"] == "5 min (identifiability)"


def test_check_imports_nobodys_code(call: Call, squares: Path, tmp_path: Path) -> None:
    (tmp_path / "squares.py").write_text("open('imported', 'w')\n" + MODULE)
    assert call("check", squares).code == 0
    assert call("plan", squares).code == 0
    assert not Path("imported").exists()


def test_schema_is_json_schema(call: Call) -> None:
    assert call("schema").json == json_schema()


def test_plan_has_no_side_effect(call: Call, squares: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    said = call("plan", squares)
    assert said.code == 0
    assert "3 jobs" in said.out
    assert "3 new" in said.out
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_plan_shows_the_first_jobs_of_many(call: Call) -> None:
    Path("m.yaml").write_text("task: shell\ndefaults: {command: ls}\nmatrix: {axes: {n: {range: [0, 1000000]}}}\n")
    told = call("plan", "m.yaml", "--limit", "2", "--output", "json").json
    assert told["total"] == 1_000_000
    assert told["counts"] == {"new": 1_000_000}
    assert [job["name"] for job in told["jobs"]] == ["matrix_n0", "matrix_n1"]
    assert [job["number"] for job in told["jobs"]] == [1, 2]


def test_a_foreign_manifest_is_planned_without_its_task(call: Call) -> None:
    said = call("plan", EXPERIMENTS)
    assert said.code == 0
    assert "11 jobs" in said.out
    assert "wildcards" in said.out
    assert "matrix_leaf50_thresh0.1" in said.out


def test_doctor_says_what_is_there(call: Call, tmp_path: Path) -> None:
    told = call("doctor", "--output", "json").json
    assert told["cores"] == len(os.sched_getaffinity(0)) or told["cgroup"]["cores"]
    assert told["extras"]["identifiability"] is True
    assert told["home"]["path"] == str(tmp_path / ".batchmill")
    assert told["home"]["problem"] == ""
    assert "verdict" in call("doctor").out
    assert not (tmp_path / ".batchmill").exists()


def test_the_home_is_an_option_or_a_variable(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("doctor", "--home", "there", "--output", "json").json["home"]["path"].endswith("/there")
    monkeypatch.setenv("BATCHMILL_HOME", "elsewhere")
    assert call("doctor", "--output", "json").json["home"]["path"].endswith("/elsewhere")


def test_quiet_says_nothing_that_is_not_asked_for(call: Call, squares: Path) -> None:
    for argv in (["check", squares], ["plan", squares], ["ls"], ["doctor"]):
        said = call(*argv, "--output", "quiet")
        assert (said.out, said.err) == ("", "")


def test_the_manifest_of_these_tests_is_json_too(call: Call, squares: Path) -> None:
    told = json.loads(call("plan", squares, "--output", "json").out)
    assert [job["name"] for job in told["jobs"]] == ["two", "three", "bad/one"]
    assert MANIFEST
