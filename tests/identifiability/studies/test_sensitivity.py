"""Subsets of candidates against plain analyses of changed models."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import pytest

from batchmill import ManifestError
from batchmill.workloads.identifiability.analysis import analyse
from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.expressions import Symbol
from batchmill.workloads.identifiability.model import Known
from batchmill.workloads.identifiability.studies import sensitivity as module
from batchmill.workloads.identifiability.studies.sensitivity import sensitivity as task
from batchmill.workloads.identifiability.studies.subsets import Study

CTX = SimpleNamespace(seed=3)


def run(**params):
    return task.fn(task.params(**params), CTX)


def test_bolie_needs_one_more_thing():
    result = run(model="Bolie", size="pairs")
    assert result.missing == ["p2", "p4"]
    assert [s for s in result.minimal_sets if len(s) == 1] == [["measure q2"], ["know q2(0)"], ["fix p2"], ["fix p4"]]
    assert all(len(members) == 1 for members in result.minimal_sets)
    assert result.tested + result.implied == 1 + 9 + 36


def test_singles_tell_what_each_gains():
    effects = {effect.candidate: effect for effect in run(model="Bolie", size="singles").effects}
    assert effects["fix p2"].gained == ["q2", "p4"]
    assert effects["fix p1"].gained == []
    assert effects["fix p1"].nullspace_dimension == 1


@pytest.mark.parametrize("name", ["Bolie", "seir_covid", "calibration_double"])
def test_every_subset_agrees_with_an_analysis_of_the_changed_model(name):
    model = find_model(name)
    candidates = module.candidates_of(model, module.Candidates())
    study = Study(model, candidates, model.parameters, seed=1)
    for members in list(combinations(candidates, 2))[::5]:
        changed, fixed = _changed(model, members)
        identifiable = analyse(changed, seed=5).identifiable | fixed
        assert study.is_enough(members) == (set(model.parameters) <= identifiable), members


def _changed(model, members):
    outputs = {f"more {c.name}": c.formula for c in members if c.kind == "measure"}
    # a parameter that is known is a state at rest with a known initial value
    fixed = [c.name for c in members if c.kind == "fix"]
    outputs |= {f"is {name}": Symbol(name) for name in fixed}
    known = {c.name: None for c in members if c.kind == "know"}
    options = replace(model.options, known=Known(known, generic=True) if known else model.options.known)
    return replace(model, outputs={**model.outputs, **outputs}, options=options), set(fixed)


def test_an_output_of_the_model_counts_only_where_it_is_chosen():
    candidates = {"outputs": ["q1/Vp", "q2"], "known_initial_conditions": [], "fixed_parameters": []}
    result = run(model="Bolie", candidates=candidates, size="all")
    assert result.nullspace_dimension == 7
    assert result.minimal_sets == [["measure q1/Vp", "measure q2"]]
    by_name = run(model="Bolie", candidates={**candidates, "outputs": ["y", "q2"]}, size="all")
    assert by_name.minimal_sets == [["measure y", "measure q2"]]


def test_where_nothing_is_missing_the_empty_set_is_the_answer():
    result = run(model="C2M")
    assert result.minimal_sets == [[]]
    assert result.missing == []
    assert result.tested == 1


def test_the_number_of_subsets_is_bounded_and_the_rest_told():
    result = run(model="seir_covid", size="all", max_subsets=50)
    assert result.tested + result.implied == 50
    assert result.untested > 0


@pytest.mark.parametrize(
    ("candidates", "match"),
    [
        ({"fixed_parameters": ["nothing"]}, "`fixed_parameters` names `nothing`"),
        ({"outputs": ["nothing + 1"]}, "`nothing` is not of `Bolie`"),
        ({"outputs": ["1 +"]}, "the candidate output"),
    ],
)
def test_candidates_that_are_not_of_the_model_are_refused(candidates, match):
    with pytest.raises(ManifestError, match=match):
        run(model="Bolie", candidates=candidates)


def test_the_report_lists_minimal_sets_and_effects():
    result = run(model="Bolie", size="singles")
    record = SimpleNamespace(name="a|b", params={}, state="succeeded", result=result.model_dump())
    text = module.report([record, SimpleNamespace(name="c", params={}, state="failed", result=None)])
    assert "- measure q2\n- know q2(0)\n- fix p2\n- fix p4\n" in text
    assert "| fix p2 | 0 | `q2`, `p4` |" in text
    assert "a\\|b" in text


def test_metrics_of_a_hopeless_search_have_no_smallest_set():
    candidates = {"outputs": [], "known_initial_conditions": [], "fixed_parameters": ["p1"]}
    result = run(model="Bolie", candidates=candidates)
    assert not result.attainable
    assert "smallest_set" not in task.metrics(result)
    assert "not even all candidates together are" in module.report(
        [SimpleNamespace(name="x", params={}, state="succeeded", result=result.model_dump())]
    )


def test_unknown_inputs_are_eliminated_for_each_subset(tmp_path):
    path = tmp_path / "driven.yaml"
    path.write_text(
        "states: [x1, x2]\nparameters: [a, b]\nunknown_inputs: [w]\n"
        "odes: {x1: a*x2 + w, x2: -b*x1}\noutputs: {y1: x1, y2: x2}\n"
    )
    result = run(model=str(path), size="singles")
    assert result.missing == ["a"]
    assert result.minimal_sets == [["fix a"]]
    taken_away = run(model=str(path), candidates={"outputs": ["x1", "x2"], "fixed_parameters": []}, target=["b"])
    # the slope of x2 at the start is -b*x1(0)
    assert taken_away.minimal_sets == [["measure x1", "measure x2"], ["measure x2", "know x1(0)"]]


@pytest.mark.parametrize("size", [0, -1, "some"])
def test_sizes_that_mean_nothing_are_refused(size):
    with pytest.raises(ValueError, match="size"):
        task.params(model="Bolie", size=size)
