"""Options: in a model, in an options file, in a job; what replaces what, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from batchmill import ManifestError
from batchmill.workloads.identifiability import task
from batchmill.workloads.identifiability.options import label_of

CTX = SimpleNamespace(seed=3)


def run(**params):
    return task.fn(task.params(**params), CTX)


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "options.yaml") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_known_parameters_leave_the_unknowns_and_both_lists():
    result = run(model="Bolie", known_parameters=["p2"])
    assert (result.n_unknowns, result.nullspace_dimension) == (6, 0)
    assert result.known_parameters == ["p2"]
    assert set(result.locally_identifiable_parameters) == {"p1", "p3", "p4", "Vp"}
    assert result.nonidentifiable_parameters == []


def test_a_known_value_may_differ_from_a_generic_one():
    assert run(model="Bolie", known_parameters={"p4": "1/3"}).nullspace_dimension == 0
    assert run(model="Bolie", known_parameters={"p4": 0}).nullspace_dimension > 0


def test_parameters_only_leaves_out_states_and_keeps_the_rank():
    whole, part = run(model="Bolie"), run(model="Bolie", parameters_only=True)
    assert (part.rank, part.n_unknowns) == (whole.rank, whole.n_unknowns)
    assert part.nonidentifiable_parameters == whole.nonidentifiable_parameters
    assert part.observable_states == part.unobservable_states == []


def test_an_options_file_gives_options_and_the_label(write):
    path = write("known_parameters: [p2]\nnonzero_input_derivatives: 1\n", "fixed_gain.yaml")
    result = run(model="Bolie", options_file=path)
    assert (result.configuration, result.known_parameters) == ("fixed_gain", ["p2"])
    assert run(model="Bolie", options_file="default").configuration == "default"


def test_an_options_file_may_be_nested_under_options(write):
    assert run(model="Bolie", options_file=write("options: {parameters_only: true}")).observable_states == []


def test_options_of_nullstrike_are_read_without_running_them(write):
    path = write("nnzDerU = [0]\ncheckObser = 0\nprev_ident_pars = []\n", "options_c2m.py")
    result = run(model="C2M", options_file=path)
    assert (result.rank, result.configuration, result.observable_states) == (5, "options_c2m", [])


def test_a_job_replaces_what_its_options_file_says(write):
    path = write("nonzero_input_derivatives: 0\n")
    assert run(model="C2M", options_file=path).rank == 5
    assert run(model="C2M", options_file=path, nonzero_input_derivatives="generic").rank == 6


def test_an_options_file_is_an_input_of_the_job(write):
    path = write("parameters_only: true")
    assert task.inputs(task.params(model="C2M", options_file=path)) == [path]
    assert task.inputs(task.params(model="C2M", options_file="default")) == []


def test_labels_are_stems():
    assert [label_of(given) for given in (None, "default", "a/b/fast.yaml")] == ["default", "default", "fast"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("knwon_parameters: [p2]", "knwon_parameters"),
        ("known_parameters: [zz]", "`zz`, which is not a parameter"),
        ("known_initial_conditions: {zz: 1}", "`zz`, which is not a state"),
        ("known_parameters: {p2: k}", "not a number"),
        ("nonzero_input_derivatives: -1", "whole number"),
        ("[1, 2]", "options"),
    ],
)
def test_options_files_that_do_not_fit_are_refused(write, text, reason):
    with pytest.raises(ManifestError, match=reason):
        run(model="Bolie", options_file=write(text))


@pytest.mark.parametrize(
    "params",
    [
        {"unknown_input_derivatives": -1},
        {"unknown_input_derivatives": "all"},
        {"known_parameters": 3},
        {"global_check": -1},
    ],
)
def test_wrong_options_are_refused_before_anything_runs(params):
    with pytest.raises(ValidationError):
        task.params(model="C2M", **params)


def test_a_model_may_state_its_options(write):
    path = write(
        "states: [x]\nparameters: [a, b]\nodes: {x: -a*b*x}\noutputs: {y: x}\noptions: {known_parameters: {b: 2}}",
        "model.yaml",
    )
    assert run(model=path).locally_identifiable_parameters == ["a"]
    assert run(model=path, known_parameters=[]).nonidentifiable_parameters == ["a", "b"]
    bad = write("states: [x]\nodes: {x: 1}\noutputs: {y: x}\noptions: {known_parameters: [b]}", "bad.yaml")
    with pytest.raises(ManifestError, match=r"bad\.yaml:4:.*`b` is not a parameter"):
        run(model=bad)


def test_combinations_advice_and_global_words_are_told_when_asked_for():
    result = run(model="calibration_single", advice=True, global_check=20)
    assert result.combinations_found == result.combinations_expected == len(result.identifiable_combinations)
    assert result.advice["fix_parameters"]["minimal"]
    assert set(result.global_identifiability["parameters"].values()) <= {
        "globally",
        "locally only",
        "not identifiable",
        "undecided",
    }
    plain = run(model="calibration_single", combinations=False)
    assert plain.identifiable_combinations is plain.advice is plain.global_identifiability is None
    assert "combinations_found" not in task.metrics(plain)


def test_the_rank_has_its_name_in_other_tools_too():
    numbers = task.metrics(run(model="Bolie"))
    assert numbers["observability_rank"] == numbers["rank"] == 6
