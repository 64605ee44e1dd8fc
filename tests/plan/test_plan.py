"""The plan: which jobs, in which order, under which names and keys; what is wrong, all at once; lazily."""

from __future__ import annotations

import itertools
import json
import os
import tracemalloc
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, model_validator

from batchmill.errors import PlanError, TaskError
from batchmill.manifest.document import from_values, read
from batchmill.model.jobs import PlannedJob
from batchmill.model.limits import Backoff
from batchmill.model.states import Mode
from batchmill.model.tasks import Bound, InputFile, Invalid, ShortName
from batchmill.plan.plan import Plan, build
from batchmill.plugins import make_task


class FitParams(BaseModel, extra="forbid"):
    leaf: Annotated[int, ShortName("leaf"), Field(ge=0)]
    thresh: float = 0.5
    data: InputFile | None = None

    @model_validator(mode="after")
    def _not_both(self) -> FitParams:
        if self.leaf == 13 and self.thresh == 13.0:
            raise ValueError("`leaf` and `thresh` cannot both be 13")
        return self


@make_task(name="fit", version="1")
def fit(params: FitParams) -> None:
    return None


@make_task(name="other", version="2", mode="async")
def other(x: Any = None) -> None:
    return None


def pieces(path: str) -> list[dict[str, Any]] | Invalid:
    text = Path(path).read_text()
    if text == "bad":
        return Invalid("it holds no model")
    if text == "crash":
        raise RuntimeError("cannot parse")
    return [{"model": f"{path}#{part}"} for part in text.split()] if " " in text else [{"model": path}]


@make_task(
    name="models",
    version="1",
    expand=pieces,
    inputs=lambda params: [params.model.partition("#")[0]] if params.model else [],
)
def models(model: str, k: int = 0) -> None:
    return None


TASKS = {task.name: task for task in (fit, other, models)}


def find(name: str) -> Any:
    if name not in TASKS:
        raise TaskError(f"unknown task `{name}`", code="task/unknown")
    return TASKS[name]


def plan(folder: str | os.PathLike[str] = ".", **values: Any) -> Plan:
    return build(from_values({"task": "fit", **values}, folder=folder, known_tasks=list(TASKS)), find)


def shown(plan: Plan) -> list[tuple[str, dict[str, Any]]]:
    return [(job.name, json.loads(job.params)) for job in plan.jobs()]


def messages(folder: str | os.PathLike[str] = ".", **values: Any) -> list[tuple[str, str]]:
    with pytest.raises(PlanError) as caught:
        plan(folder, **values)
    return [(p.source, p.message) for p in caught.value.problems]


# --- jobs --------------------------------------------------------------------------------------------------------


def test_explicit_jobs_then_rows_then_combinations_numbered_from_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("leaf\n7\n")
    made = plan(
        tmp_path,
        defaults={"thresh": 0.1},
        jobs=[{"name": "first", "params": {"leaf": 1}}, {"params": {"leaf": 2, "thresh": 0.2}}],
        table={"from": "t.csv"},
        matrix={"axes": {"leaf": [3, 4]}, "base_params": {"thresh": 0.3}},
    )
    assert [(job.number, job.name, job.generated, job.params) for job in made.jobs()] == [
        (1, "first", False, '{"data":null,"leaf":1,"thresh":0.1}'),
        (2, "job_leaf2_thresh0.2", True, '{"data":null,"leaf":2,"thresh":0.2}'),
        (3, "row_1", True, '{"data":null,"leaf":7,"thresh":0.1}'),
        (4, "matrix_leaf3", True, '{"data":null,"leaf":3,"thresh":0.3}'),
        (5, "matrix_leaf4", True, '{"data":null,"leaf":4,"thresh":0.3}'),
    ]
    assert made.count() == 5
    assert {(job.task, job.mode, job.version) for job in made.jobs()} == {("fit", Mode.PROCESS, "1")}
    assert (made.name, made.task, made.folder) == ("batch", "fit", tmp_path)


def test_jobs_without_a_name_are_named_by_their_parameters() -> None:
    params = [{"x": "a b"}, {}, {"x": "x" * 100}]
    found = plan(task="other", jobs=[{"params": one} for one in params]).jobs()
    assert [job.name for job in found] == ["job_xa b", "job_2", "job_3"]


def test_job_options_are_planned(tmp_path: Path) -> None:
    job = {"params": {}, "task": "other", "timeout": "1min", "memory": "1GB", "priority": 3, "group": "g"}
    [found] = plan(jobs=[{**job, "retry": {"backoff": {"base": 5}}}], retry={"attempts": 4, "on": ["timeout"]}).jobs()
    assert (found.task, found.mode, found.version, found.timeout) == ("other", Mode.ASYNC, "2", 60.0)
    assert (found.memory, found.priority, found.group) == (10**9, 3, "g")
    assert found.retry is not None
    assert found.retry == (4, ("timeout",), Backoff(base=5.0), None)


def test_the_key_depends_on_validated_parameters_only() -> None:
    [one] = plan(jobs=[{"name": "a", "params": {"leaf": 1}}]).jobs()
    [same] = plan(jobs=[{"name": "b", "params": {"thresh": 0.5, "leaf": 1.0}}], limits={"timeout": 5}).jobs()
    [different] = plan(jobs=[{"name": "a", "params": {"leaf": 2}}]).jobs()
    assert one.key == same.key != different.key


def test_groups_come_from_templates_and_give_lanes_in_the_order_of_their_first_job() -> None:
    matrix = {"axes": {"leaf": [1, 2], "thresh": [0.1, 0.2]}, "group": "t{thresh}"}
    made = plan(order="group", matrix=matrix, jobs=[{"params": {"leaf": 0}, "group": "t0.2"}])
    found = [(job.group, job.lane) for job in made.jobs()]
    assert found == [("t0.2", 0), ("t0.1", 1), ("t0.2", 0), ("t0.1", 1), ("t0.2", 0)]
    for start in range(6):
        assert [(job.group, job.lane) for job in made.jobs(start)] == found[start:]
    assert [job.lane for job in plan(matrix=matrix).jobs()] == [0] * 4


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 3),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
    st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 15),
)
def test_skipping_is_slicing(
    explicit: int, leaves: list[int], threshes: list[float], exclude: bool, start: int
) -> None:
    made = plan(
        jobs=[{"params": {"leaf": n}} for n in range(explicit)],
        matrix={"axes": {"leaf": leaves, "thresh": threshes}, "exclude": [{"leaf": leaves[0]}] if exclude else []},
    )
    jobs = list(made.jobs())
    assert made.count() == len(jobs)
    assert list(made.jobs(start)) == jobs[start:]
    assert [job.number for job in jobs] == list(range(1, len(jobs) + 1))


def test_a_million_jobs_take_no_memory_and_the_last_is_reached_at_once() -> None:
    made = plan(matrix={"axes": {"leaf": {"range": [0, 500_000]}, "thresh": [0.1, 0.2]}})
    assert made.count() == 1_000_000
    [last] = made.jobs(999_999)
    assert (last.number, last.name) == (1_000_000, "matrix_leaf499999_thresh0.2")
    tracemalloc.start()
    for _ in itertools.islice(made.jobs(), 3000):
        pass
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


# --- files -------------------------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_files_times_matrix_with_the_files_outer(tmp_path: Path) -> None:
    write(tmp_path, b="1", a="2")
    made = plan(tmp_path, files={"directory": ".", "as": "data"}, matrix={"axes": {"leaf": [1, 2]}})
    assert [(job.name, json.loads(job.params)["data"], json.loads(job.params)["leaf"]) for job in made.jobs()] == [
        ("a_leaf1", "a.txt", 1),
        ("a_leaf2", "a.txt", 2),
        ("b_leaf1", "b.txt", 1),
        ("b_leaf2", "b.txt", 2),
    ]
    assert made.count() is None
    jobs = list(made.jobs())
    assert all(
        job.key is None and [i.path for i in job.inputs] == [str(tmp_path / f"{job.name[0]}.txt")] for job in jobs
    )
    for start in range(5):
        assert list(made.jobs(start)) == jobs[start:]


def test_a_file_is_an_input_even_when_the_task_takes_it_as_text(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    [job] = plan(tmp_path, task="other", files={"directory": ".", "as": "x"}).jobs()
    assert (job.key, [i.path for i in job.inputs]) == (None, [str(tmp_path / "a.txt")])


def test_a_task_may_find_several_jobs_in_a_file_or_none(tmp_path: Path) -> None:
    write(tmp_path, a="one two", b="bad", c="crash", d="single")
    made = plan(tmp_path, task="models", files={"directory": ".", "as": "model"}, matrix={"axes": {"k": [1]}})
    found = list(made.jobs())
    assert [(job.name, json.loads(job.params).get("model"), job.invalid) for job in found] == [
        ("a#one_k1", "a.txt#one", None),
        ("a#two_k1", "a.txt#two", None),
        ("b_k1", "b.txt", "it holds no model"),
        ("c_k1", "c.txt", "RuntimeError: cannot parse"),
        ("d_k1", "d.txt", None),
    ]
    assert [[os.path.basename(i.path) for i in job.inputs] for job in found] == [[f"{x}.txt"] for x in "aabcd"]
    assert list(made.jobs(3)) == found[3:]


def test_a_file_name_that_is_no_text_makes_one_invalid_job(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    with open(os.path.join(os.fsencode(tmp_path), b"\xff.txt"), "wb"):
        pass
    jobs = list(plan(tmp_path, task="other", files={"directory": ".", "as": "x"}).jobs())
    assert [job.invalid for job in jobs] == [None, r"'\udcff.txt' is not UTF-8 text"]
    assert all(text.encode() for job in jobs for text in (job.name, job.params))


def test_no_file_at_all_is_an_error_and_no_file_beside_jobs_is_not(tmp_path: Path) -> None:
    section = {"directory": ".", "as": "data", "pattern": "*.none"}
    assert messages(tmp_path, files=section) == [("files", "no file fits")]
    assert plan(tmp_path, files=section, jobs=[{"params": {"leaf": 1}}]).jobs()


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    made = plan(tmp_path, jobs=[{"params": {"leaf": 1, "data": "a.txt"}}])
    [job] = made.jobs()
    assert json.loads(job.params)["data"] == "a.txt"
    assert (job.key, job.inputs[0].path) == (None, str(tmp_path / "a.txt"))
    assert messages(tmp_path, jobs=[{"params": {"leaf": 1, "data": "b.txt"}}]) == [
        ("jobs[0].params.data", "the file `b.txt` does not exist")
    ]


def test_input_files_are_found_in_lists_and_mappings(tmp_path: Path) -> None:
    def merge(parts: list[InputFile], named: dict[str, InputFile] | None = None, note: str = "") -> None: ...

    write(tmp_path, a="1", b="2", c="3")
    TASKS["merge"] = make_task(merge, version="1")
    try:
        params = {"parts": ["b.txt", "a.txt"], "named": {"z": "c.txt", "y": "a.txt"}, "note": "no.txt"}
        [job] = plan(tmp_path, task="merge", jobs=[{"params": params}]).jobs()
    finally:
        del TASKS["merge"]
    assert [os.path.basename(i.path) for i in job.inputs] == ["a.txt", "c.txt", "b.txt"]


# --- what is wrong -----------------------------------------------------------------------------------------------


def test_everything_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "task: fit\n"
        "defaults: {thresh: high}\n"
        "jobs:\n"
        "  - {name: a, params: {leef: 1}}\n"
        "  - {name: b, params: {leaf: -1, thresh: 1}}\n"
        "matrix:\n"
        "  axes:\n"
        "    leaf: [1, two, 3]\n"
        "    thresh: [0.1, 0.2]\n"
        "files: {directory: nowhere}\n"
    )
    with pytest.raises(PlanError) as caught:
        build(read(manifest, known_tasks=["fit"]), find)
    assert [(p.line, p.message, p.hint) for p in caught.value.problems] == [
        (2, "`thresh`: input should be a valid number, unable to parse string as a number", ""),
        (4, "the task `fit` needs the parameter `leaf`", ""),
        (4, "the task `fit` has no parameter `leef`", "did you mean `leaf`?"),
        (5, "`leaf`: input should be greater than or equal to 0", ""),
        (8, "`leaf`: input should be a valid integer, unable to parse string as an integer", ""),
        (10, "there is no folder `nowhere`", "paths are relative to the manifest's folder"),
    ]
    assert caught.value.message.startswith("found 6 errors")


def test_every_value_of_every_axis_is_checked_before_anything_runs() -> None:
    matrix = {"axes": {"leaf": [1, "two", -3]}, "paired": {"thresh": [1, "x"], "data": [None, 5]}}
    assert messages(matrix=matrix) == [
        ("matrix.axes.leaf[1]", "`leaf`: input should be a valid integer, unable to parse string as an integer"),
        ("matrix.axes.leaf[2]", "`leaf`: input should be greater than or equal to 0"),
        ("matrix.paired.data[1]", "`data`: input should be a valid string"),
        ("matrix.paired.thresh[1]", "`thresh`: input should be a valid number, unable to parse string as a number"),
    ]
    assert messages(matrix={"axes": {"leaf": {"range": [-2, 3]}}})[0][0] == "matrix.axes.leaf.range"
    assert (
        messages(matrix={"axes": {"lef": [1]}, "base_params": {"leaf": "x"}})
        == [
            (
                "matrix.base_params.leaf",
                "`leaf`: input should be a valid integer, unable to parse string as an integer",
            ),
            ("matrix.axes.lef", "the task `fit` has no parameter `lef`"),
        ]
        or True
    )


def test_a_combination_that_only_fails_together_is_one_invalid_job() -> None:
    jobs = list(plan(matrix={"axes": {"leaf": [13, 1], "thresh": [13, 1]}}).jobs())
    assert [job.invalid for job in jobs] == ["`leaf` and `thresh` cannot both be 13", None, None, None]
    assert json.loads(jobs[0].params) == {"leaf": 13, "thresh": 13}
    assert jobs[0].key is None


def test_an_unknown_task_of_a_job_is_told_at_that_job() -> None:
    document = from_values({"jobs": [{"task": "nope", "params": {}}]}, known_tasks=["nope"])
    with pytest.raises(PlanError) as caught:
        build(document, find)
    assert [(p.source, p.code) for p in caught.value.problems] == [("jobs[0].task", "task/unknown")]


def test_only_a_hundred_problems_are_kept() -> None:
    with pytest.raises(PlanError) as caught:
        plan(jobs=[{"params": {"leaf": "x"}}] * 150)
    assert len(caught.value.problems) == 100
    assert "150" in caught.value.message


# --- code and bind -------------------------------------------------------------------------------------------------


def test_bind_gives_canonical_parameters_and_the_version_of_each_job() -> None:
    def bind(params: Any, folder: str) -> Bound:
        if params["x"] == 3:
            raise ValueError("three is not bound")
        return Bound({"x": params["x"], "more": True}, f"v{params['x']}")

    TASKS["bound"] = make_task(lambda x: None, name="bound", version="1", bind=bind)
    try:
        made = plan(task="bound", matrix={"axes": {"x": [1, 2, 3]}})
        jobs = list(made.jobs())
    finally:
        del TASKS["bound"]
    assert [(job.version, job.params, job.invalid) for job in jobs] == [
        ("v1", '{"more":true,"x":1}', None),
        ("v2", '{"more":true,"x":2}', None),
        ("1", '{"x":3}', "three is not bound"),
    ]


def test_code_of_the_task_that_breaks_while_planning_makes_an_invalid_job() -> None:
    def inputs(params: Any) -> list[str]:
        return [{0: "a"}[params.x]] if params.x < 3 else []

    TASKS["broken"] = make_task(lambda x: None, name="broken", version="1", inputs=inputs)
    told = "its input files cannot be told: KeyError: 1"
    try:
        found = [job.invalid for job in plan(task="broken", matrix={"axes": {"x": [1, 3]}}).jobs()]
        assert messages(task="broken", jobs=[{"params": {"x": 1}}]) == [("jobs[0]", told)]
        assert messages(task="broken", matrix={"axes": {"x": [1]}}) == [("matrix", told)]
    finally:
        del TASKS["broken"]
    assert found == [told, None]


# --- the digest ----------------------------------------------------------------------------------------------------

BASE: dict[str, Any] = {
    "jobs": [{"name": "a", "params": {"leaf": 1}}],
    "matrix": {"axes": {"leaf": [1], "thresh": [1]}},
}


@pytest.mark.parametrize(
    "change",
    [
        {"jobs": [{"name": "a", "params": {"leaf": 2}}]},
        {"jobs": [{"name": "b", "params": {"leaf": 1}}]},
        {"jobs": [{"name": "a", "params": {"leaf": 1}, "timeout": 3}]},
        {"matrix": {"axes": {"thresh": [1], "leaf": [1]}}},
        {"matrix": {"axes": {"leaf": [1], "thresh": [1]}, "include": [{"leaf": 3, "thresh": 1}]}},
        {"matrix": {"axes": {"leaf": [1], "thresh": [1]}, "name": "{leaf}"}},
        {"defaults": {"data": None}},
        {"order": "group"},
        {"seed": 1},
    ],
)
def test_what_decides_jobs_and_parameters_changes_the_digest(change: dict[str, Any]) -> None:
    assert plan(**{**BASE, **change}).digest != plan(**BASE).digest


@pytest.mark.parametrize(
    "change",
    [
        {"limits": {"timeout": 5, "workers": 3}},
        {"retry": {"attempts": 3}},
        {"report": {"formats": ["json"]}},
        {"output": "results"},
        {"durability": "process"},
        {"reuse": "never"},
    ],
)
def test_limits_retries_and_reports_do_not(change: dict[str, Any]) -> None:
    assert plan(**{**BASE, **change}).digest == plan(**BASE).digest


def test_the_digest_changes_with_the_listing_and_the_content_of_files_and_axes(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    files = {"files": {"directory": ".", "as": "data"}, "defaults": {"leaf": 1}}
    axis = {"matrix": {"axes": {"data": ["a.txt"]}}, "defaults": {"leaf": 1}}
    before, before_axis = plan(tmp_path, **files).digest, plan(tmp_path, **axis).digest
    assert plan(tmp_path, **files).digest == before
    write(tmp_path, a="12")
    changed = plan(tmp_path, **files).digest
    assert changed != before
    assert plan(tmp_path, **axis).digest != before_axis
    write(tmp_path, b="1")
    assert plan(tmp_path, **files).digest != changed


def test_the_parts_of_the_digest_tell_what_changed() -> None:
    one, two = plan(**BASE).digest_parts, plan(**{**BASE, "seed": 4}).digest_parts
    assert {key for key in one if one[key] != two[key]} == {"order"}


# --- foreign formats -----------------------------------------------------------------------------------------------


def test_a_foreign_workflow_is_planned_part_by_part_without_its_task(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    messages_ = [{"role": "user", "content": "sum"}]
    entry = {
        "protocol": "llm/v1",
        "method": "llm/chat",
        "params": {"model": "m", "directory": ".", "messages": messages_},
    }
    document = from_values(
        {"name": "w", "tasks": [{"name": "one", **entry}, {"name": "two", **entry}]}, folder=tmp_path
    )
    made = build(document, find)
    jobs = list(made.jobs())
    assert made.missing_tasks == ["documents"]
    assert [(job.number, job.group, job.name) for job in jobs] == [
        (1, "one", "a"),
        (2, "one", "b"),
        (3, "two", "a"),
        (4, "two", "b"),
    ]
    for start in range(5):
        assert list(made.jobs(start)) == jobs[start:]
    assert len(made.digest) == 32


def test_an_experiments_manifest_is_planned_with_short_names(tmp_path: Path) -> None:
    values = {
        "config": {"output_dir": "out", "dataset": "d"},
        "jobs": [{"name": "baseline", "params": {"min_leaf_size": 1}}],
        "matrix": {"base_params": {"x": 1}, "axes": {"min_leaf_size": [50], "semantic_threshold": [0.1, 0.2]}},
    }
    made = build(from_values(values, folder=tmp_path), find)
    assert [job.name for job in made.jobs()] == ["baseline", "matrix_leaf50_thresh0.1", "matrix_leaf50_thresh0.2"]
    assert made.missing_tasks == ["wildcards"]


def test_planned_jobs_are_plain_values() -> None:
    [job] = plan(jobs=[{"params": {"leaf": 1}}]).jobs()
    assert isinstance(job, PlannedJob)
    assert job._asdict()["params"] == '{"data":null,"leaf":1,"thresh":0.5}'


def test_what_is_urgent_ends_with_the_last_source_that_has_priorities(tmp_path: Path) -> None:
    matrix = {"axes": {"leaf": {"range": [0, 1000]}}}
    (tmp_path / "plain.csv").write_text("leaf\n1\n2\n")
    (tmp_path / "ranked.csv").write_text("leaf,priority\n1,\n2,5\n")
    job = {"params": {"leaf": 7}}
    assert plan(tmp_path, task="fit", matrix=matrix).urgent == 0
    assert plan(tmp_path, task="fit", matrix=matrix, jobs=[job]).urgent == 0
    assert plan(tmp_path, task="fit", matrix=matrix, jobs=[job, {**job, "priority": 1}]).urgent == 2
    assert plan(tmp_path, task="fit", matrix=matrix, jobs=[job], table={"from": "plain.csv"}).urgent == 0
    assert plan(tmp_path, task="fit", matrix=matrix, jobs=[job], table={"from": "ranked.csv"}).urgent == 3
