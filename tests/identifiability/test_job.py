"""The task as the engine sees it: parameters, result, metrics, hooks."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from batchmill import Invalid, ManifestError, Permanent
from batchmill.workloads.identifiability import task

CTX = SimpleNamespace(seed=3)


def run(**params):
    return task.fn(task.params(**params), CTX)


def test_the_result_of_a_model():
    result = run(model="Bolie")
    assert result.model_dump(exclude={"engine_s", "error_probability"}) == {
        "model": "Bolie",
        "configuration": "default",
        "n_unknowns": 7,
        "rank": 6,
        "nullspace_dimension": 1,
        "locally_identifiable_parameters": ["p1", "p3", "Vp"],
        "nonidentifiable_parameters": ["p2", "p4"],
        "observable_states": ["q1"],
        "unobservable_states": ["q2"],
        "derivative_order": 5,
        "known_parameters": [],
        "observable_unknown_inputs": [],
        "identifiable_combinations": ["p2*p4"],
        "combinations_found": 1,
        "combinations_expected": 1,
        "symmetries": [
            {
                "kind": "scaling",
                "generator": {"q2": "q2", "p2": "-p2", "p4": "p4"},
                "weights": {"q2": 1, "p2": -1, "p4": 1},
            }
        ],
        "proved_nonidentifiable": ["p2", "p4", "q2"],
        "advice": None,
        "global_identifiability": None,
    }
    assert 0 < result.error_probability < 1e-9
    assert result.engine_s > 0


def test_metrics_are_the_numbers_and_the_count():
    assert set(task.metrics(run(model="Bolie"))) == {column.name for column in task.metric_columns}
    assert task.metrics(run(model="Bolie"))["identifiable_count"] == 3


@pytest.mark.parametrize(("model", "ranks"), [("C2M", (5, 6, 6)), ("Bolie", (5, 6, 6))])
def test_a_constant_input_changes_the_verdict(model, ranks):
    found = tuple(run(model=model, nonzero_input_derivatives=k).rank for k in (0, 1, "generic"))
    assert found == ranks


def test_a_job_overrides_the_options_of_its_model():
    assert run(model="dynamical_compensation").rank == 3
    assert run(model="dynamical_compensation", known_initial_conditions=["x2", "x3"]).n_unknowns == 3
    result = run(model="C2M", known_initial_conditions={"x2": 0})
    assert (result.n_unknowns, "x2" in result.observable_states) == (5, True)


def test_check_fails_for_good_and_names_the_differences():
    with pytest.raises(Permanent, match=r"rank is 5, expected 6.*nonidentifiable_parameters is \[x3, x4, x5, x6\]"):
        run(model="C2M", nonzero_input_derivatives=0, check=True)


def test_check_needs_something_to_check(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("{name: m, states: [x], odes: {x: 1}, outputs: {y: x}}")
    with pytest.raises(Permanent, match="no `expected` block"):
        run(model=str(path), check=True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"known_initial_conditions": ["zz"]}, "`zz`, which is not a state"),
        ({"known_initial_conditions": {"x1": "k"}}, "not a number"),
    ],
)
def test_options_that_do_not_fit_the_model_are_invalid(options, reason):
    with pytest.raises(ManifestError, match=reason):
        run(model="C2M", **options)


@pytest.mark.parametrize(
    "params",
    [{}, {"model": "c2m"}, {"model": "C2M", "nonzero_input_derivatives": -1}, {"model": "C2M", "chekc": True}],
)
def test_wrong_parameters_are_refused_before_anything_runs(params):
    with pytest.raises(ValidationError):
        task.params(**params)


def test_repetitions_are_different_jobs_with_the_same_verdict():
    first, second = (run(model="C2M", repeat=n).model_dump(exclude={"engine_s"}) for n in (0, 1))
    assert first == second
    assert task.params(model="C2M", repeat=0) != task.params(model="C2M", repeat=1)


def test_files_are_expanded_to_their_models(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("models: [{id: a, states: [x], odes: {x: 1}, outputs: {y: x}}, {id: b}]")
    assert task.expand(str(path)) == [{"model": f"{path}#a"}, {"model": f"{path}#b"}]
    path.write_text("some: text")
    refused = task.expand(str(path))
    assert isinstance(refused, Invalid)
    assert "unknown key `some`" in refused.reason


def test_input_files_are_those_of_the_model():
    assert task.inputs(task.params(model="C2M")) == []
    assert task.inputs(task.params(model="dir/m.yaml#a")) == ["dir/m.yaml"]
    assert task.inputs(task.params(model="m.yml")) == ["m.yml"]


def test_importing_the_task_loads_neither_numpy_nor_flint():
    code = (
        "import sys; from batchmill.workloads.identifiability import task;"
        "print(sorted({'numpy', 'flint', 'rich', 'typer'} & set(sys.modules)), task.version)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] 4-")
