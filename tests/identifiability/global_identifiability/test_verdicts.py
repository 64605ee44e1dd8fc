"""Verdicts on models that can be checked by hand, and on published ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

ABSORPTION = """
states: [gut, blood]
parameters: [ka, ke, V]
inputs: [dose]
odes: {gut: dose - ka*gut, blood: ka*gut - ke*blood}
outputs: {y: %s}
options: {known_initial_conditions: {gut: 0, blood: 0}}
"""


def words(verdict):
    assert not verdict.reason
    assert verdict.certainty == "probable"
    return {**verdict.parameters, **verdict.states}


def test_absorption_and_elimination_can_be_exchanged_when_the_volume_is_unknown(decided, engine):
    verdict = decided(ABSORPTION % "blood/V")
    assert verdict.method == "transfer function"
    assert verdict.engine == engine
    assert verdict.parameters == dict.fromkeys(("ka", "ke", "V"), "locally only")
    assert verdict.states == dict.fromkeys(("gut", "blood"), "globally")  # their initial values are given


def test_a_known_volume_tells_absorption_from_elimination(decided, engine):
    verdict = decided((ABSORPTION % "blood").replace(", V]", "]"))
    assert set(words(verdict).values()) == {"globally"}


def test_a_mode_that_nothing_excites_stays_unknown_and_spoils_no_other(decided, engine):
    verdict = decided(
        "states: [x, z]\nparameters: [a, b]\ninputs: [u]\nodes: {x: -a*x, z: u - b*z}\noutputs: {y: x + z}\n"
        "options: {known_initial_conditions: {x: 0, z: 1}}"
    )
    assert verdict.parameters == {"a": "not identifiable", "b": "globally"}


def test_a_mode_that_only_the_initial_value_excites_is_seen(decided, engine):
    verdict = decided(
        "states: [x, z]\nparameters: [a, b]\ninputs: [u]\nodes: {x: -a*x, z: u - b*z}\noutputs: {y: x + z}"
    )
    assert set(words(verdict).values()) == {"globally"}


def test_two_modes_that_nothing_tells_apart_can_be_exchanged(decided, engine):
    verdict = decided("states: [x, z]\nparameters: [a, b]\nodes: {x: -a*x, z: -b*z}\noutputs: {y: x + z}")
    assert set(words(verdict).values()) == {"locally only"}


def test_a_constant_source_and_a_constant_output_term_are_part_of_a_linear_model(decided, engine):
    verdict = decided("states: [x]\nparameters: [a, b, c]\nodes: {x: a - b*x}\noutputs: {y: x + c}")
    assert verdict.method == "transfer function"
    assert verdict.parameters == {"a": "not identifiable", "b": "globally", "c": "not identifiable"}
    assert verdict.states == {"x": "not identifiable"}


def test_a_constant_input_tells_less_than_a_changing_one(decided, engine):
    text = (
        "states: [x]\nparameters: [a, b]\ninputs: [u]\nodes: {x: a*u - b*x}\noutputs: {y: x - u}\n"
        "options: {nonzero_input_derivatives: %s}"
    )
    assert set(words(decided(text % "0")).values()) == {"globally"}
    assert set(words(decided(text % "generic")).values()) == {"globally"}


def test_parameters_in_denominators_are_unknowns_like_others(decided, engine):
    verdict = decided("states: [x]\nparameters: [a, b]\nodes: {x: -x/(a + b**2)}\noutputs: {y: x/b}")
    assert words(verdict) == dict.fromkeys(("a", "b", "x"), "not identifiable")
    verdict = decided(
        "states: [x]\nparameters: [a, b]\nodes: {x: -x/(a + b**2)}\noutputs: {y: x/a}\n"
        "options: {known_initial_conditions: [x]}"
    )
    assert words(verdict) == {"a": "globally", "b": "locally only", "x": "globally"}


def test_a_square_hides_a_sign(decided, engine):
    verdict = decided("states: [x]\nparameters: [a, b]\nodes: {x: a**2*x + b*x**2}\noutputs: {y: x}")
    assert verdict.method == "Taylor system"
    assert words(verdict) == {"a": "locally only", "b": "globally", "x": "globally"}


def test_the_constants_of_michaelis_and_menten_are_unique(decided, engine):
    verdict = decided("states: [x]\nparameters: [V, K]\nodes: {x: -V*x/(K + x)}\noutputs: {y: x}")
    assert set(words(verdict).values()) == {"globally"}


def test_an_unidentifiable_scale_leaves_the_others_as_they_are(decided, engine):
    verdict = decided(
        "states: [prey, predator]\nparameters: [a, b, c, d]\n"
        "odes: {prey: (a + b)*prey - c*prey*predator, predator: -a*b*predator + d*prey*predator}\noutputs: {y: prey}"
    )
    assert verdict.of("locally only") == ["a", "b"]
    assert verdict.of("globally") == ["d", "prey"]
    assert verdict.of("not identifiable") == ["c", "predator"]


def test_a_changing_input_is_known(decided, engine):
    verdict = decided(
        "states: [x]\nparameters: [a, b]\ninputs: [u]\nodes: {x: -a*x**2 + b**2*u}\noutputs: {y: x}\n"
        "options: {nonzero_input_derivatives: 1}"
    )
    assert words(verdict) == {"a": "globally", "b": "locally only", "x": "globally"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("states: [x]\nparameters: [a]\nodes: {x: -a*x**2}\noutputs: {y: exp(x)}", "rational"),
        ("states: [x]\nparameters: [a]\nunknown_inputs: [w]\nodes: {x: w - a*x}\noutputs: {y: x}", "unknown input"),
        (
            "states: [x]\nparameters: [a]\nodes: {x: -a*x**2}\noutputs: {y: x}\n"
            "options: {known_initial_conditions: {x: 1}}",
            "as numbers",
        ),
    ],
)
def test_what_is_out_of_scope_is_undecided_with_the_reason(decided, text, reason):
    verdict = decided(text)
    assert reason in verdict.reason
    assert verdict.of("globally") == verdict.of("locally only") == []
    assert json.loads(json.dumps(verdict.as_dict()))["parameters"].keys() == {"a"}


def published(name):
    from batchmill.workloads.identifiability.catalogue import find_model

    shared = Path(os.environ.get("BATCHMILL_SHARED", Path(__file__).parents[4] / "shared"))
    path = shared / "data" / "identifiability" / "published-models.yaml"
    if not path.exists():
        pytest.skip("the shared data folder is absent")
    return find_model(f"{path}#{name}")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "local", "globally"),
    [
        ("modified_lv_for_testing", ["a", "b"], ["d"]),
        ("seirt", ["alpha", "lam"], ["beta"]),
        ("sirs_forced", ["M"], ["b0", "g", "mu", "nu"]),
        ("seir_34", ["K", "epsilon", "gamma"], ["mu"]),
        ("llw1987_io", ["p1", "p3"], []),
        ("biohydrogenation_io", ["k10", "k8", "k9"], ["k5", "k6", "k7"]),
        ("c2m", [], ["x3", "x4", "x5", "x6"]),
        ("bolie", [], ["p1", "p3", "Vp"]),
    ],
)
def test_published_models_are_classified_as_published(name, local, globally):
    from batchmill.workloads.identifiability.global_identifiability import groebner
    from batchmill.workloads.identifiability.global_identifiability.deciding import decide

    small = ("modified_lv_for_testing", "seirt", "c2m", "bolie")
    if name not in small and groebner.find_msolve() is None:
        pytest.skip("too large without msolve")
    model = published(name)
    verdict = decide(model, 0, lambda verdict: None)
    assert [p for p in verdict.of("locally only") if p in model.parameters] == local
    assert sorted(p for p in verdict.of("globally") if p in model.parameters) == sorted(globally)
