"""Advice: sets that make a model identifiable do so, and no smaller ones."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from batchmill.workloads.identifiability.advice import advise
from batchmill.workloads.identifiability.analysis import analyse
from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.expressions import Symbol
from batchmill.workloads.identifiability.model import Known
from tests.identifiability.handmade import decay, model

SCALED = model({"x": "-k*x", "z": "a*x - d*z"}, {"y": "s*z"}, "k a d s")


def all_identifiable(changed) -> bool:
    return set(changed.parameters) <= analyse(changed).identifiable


def fixed(given, names):
    rest = tuple(name for name in given.parameters if name not in names)
    return replace(given, parameters=rest, constants={**given.constants, **dict.fromkeys(names)})


def measured(given, names):
    return replace(given, outputs={**given.outputs, **{f"more {name}": Symbol(name) for name in names}})


def known(given, names):
    return replace(given, options=replace(given.options, known=Known(dict.fromkeys(names), generic=True)))


@pytest.mark.parametrize("name", ["hiv", "llw1987", "lotka_volterra", "Bolie", "calibration_single"])
def test_each_told_set_is_sufficient_and_minimal_by_an_analysis_of_its_own(name):
    given = find_model(name)
    advice = advise(given)
    for means, change in (
        (advice.fix_parameters, fixed),
        (advice.measure_states, measured),
        (advice.know_initial_conditions, known),
    ):
        assert means.exhaustive
        for names in means.minimal[:4]:
            assert all_identifiable(change(given, names))
            assert not any(all_identifiable(change(given, set(names) - {name})) for name in names)


def test_gains_tell_who_is_confounded_with_whom():
    fix = advise(SCALED).fix_parameters
    assert fix.minimal == (("a", "s"),)
    assert fix.gains == {"a": (), "s": ("z",)}


@pytest.mark.parametrize("value", [None, 0])
def test_measuring_a_state_helps_although_its_start_is_known(value):
    cascade = model({"x": "a*u - b*x", "z": "c*x - d*z"}, {"y": "z"}, "a b c d", inputs="u")
    values = dict.fromkeys(("x", "z"), None if value is None else Fraction(value))
    given = replace(cascade, options=replace(cascade.options, known=Known(values, generic=value is None)))
    advice = advise(given)
    expected = () if value is None else (("x",),)
    assert advice.measure_states.minimal == expected
    for names in expected:
        assert all_identifiable(measured(given, names))


def test_what_no_measurement_can_tell_apart_is_said():
    advice = advise(decay("a*b", "a b"))
    assert not advice.measure_states.sufficient
    assert advice.measure_states.minimal == ()
    assert advice.fix_parameters.gains == {"a": ("b",), "b": ("a",)}


def test_larger_sets_than_those_searched_are_trimmed_to_a_minimal_one():
    states = {f"x{i}": f"-a{i}*b{i}*x{i}" for i in range(4)}
    parameters = " ".join(f"a{i} b{i}" for i in range(4))
    given = model(states, {f"y{i}": f"x{i}" for i in range(4)}, parameters)
    means = advise(given).fix_parameters
    assert len(means.minimal) == 1
    assert all_identifiable(fixed(given, means.minimal[0]))
    assert len(means.minimal[0]) == 4


def test_an_identifiable_model_needs_nothing():
    advice = advise(decay("a", "a"))
    assert advice.fix_parameters.minimal == ()
    assert advice.fix_parameters.sufficient


def test_the_curve_of_the_rank_ends_at_the_rank():
    given = find_model("hiv")
    curve = advise(given).rank_curve
    assert curve[-1] == analyse(given).rank
    assert list(curve) == sorted(curve)


def test_a_search_of_few_sets_says_that_it_is_not_exhaustive():
    means = advise(find_model("hiv"), most=1).fix_parameters
    assert not means.exhaustive
    assert len(means.minimal) == 1
