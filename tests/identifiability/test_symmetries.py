"""Symmetries: found where they are simple, exact, and never moving what is identifiable."""

from __future__ import annotations

from fractions import Fraction

import pytest

from batchmill.workloads.identifiability.analysis import analyse
from batchmill.workloads.identifiability.catalogue import bundled_names, find_model
from batchmill.workloads.identifiability.determining import Equations
from batchmill.workloads.identifiability.model import Known
from batchmill.workloads.identifiability.symmetries import find
from tests.identifiability.handmade import decay, model
from tests.identifiability.test_published import needs_data, references


def test_a_product_has_a_scaling_symmetry_with_its_weights():
    (symmetry,) = find(decay("a*b**2", "a b"))
    assert symmetry.kind == "scaling"
    assert dict(symmetry.weights) in ({"a": 2, "b": -1}, {"a": -2, "b": 1})


def test_a_sum_has_a_translation():
    (symmetry,) = find(decay("a + b", "a b"))
    assert (symmetry.kind, sorted(symmetry.generator.values())) == ("translation", ["-1", "1"])


def test_a_ratio_of_sums_has_as_many_symmetries_as_null_vectors():
    assert len(find(decay("(a + b)/(c + d)", "a b c d"))) == 3


def test_an_affine_symmetry_has_constants_in_it():
    (symmetry,) = find(decay("(a + 1)*(b + 2)", "a b"))
    assert symmetry.kind == "affine"
    assert symmetry.moves == {"a", "b"}


def test_known_initial_values_that_a_scaling_keeps_do_not_prevent_it():
    chain = {"x": "-a*x", "z": "b*x - z"}
    zero = model(chain, {"y": "c*z"}, "a b c", known=Known({"z": Fraction(0)}, generic=False))
    one = model(chain, {"y": "c*z"}, "a b c", known=Known({"x": Fraction(1), "z": Fraction(1)}, generic=False))
    assert {"b", "c", "x"} <= {name for symmetry in find(zero) for name in symmetry.moves}
    assert find(one) == ()


@pytest.mark.parametrize("name", bundled_names())
def test_symmetries_of_bundled_models_move_only_what_is_not_identifiable(name):
    given = find_model(name)
    found = find(given)
    verdict = analyse(given)
    assert len(found) <= verdict.n_unknowns - verdict.rank
    assert not verdict.identifiable & {name for symmetry in found for name in symmetry.moves}


def test_the_exact_criterion_refuses_a_field_that_is_no_symmetry():
    equations = Equations(decay("a*b", "a b"))
    a, b = equations.variable["a"], equations.variable["b"]
    assert equations.annuls({"a": a, "b": -b})
    assert not equations.annuls({"a": a, "b": b})


@pytest.mark.parametrize(
    ("rate", "kind"),
    [("exp(a)*b", "affine"), ("log(a/b)", "scaling"), ("sin(a + b)", "translation"), ("(a*b)**c", "scaling")],
)
def test_values_of_functions_count_as_variables_with_their_derivatives(rate, kind):
    (symmetry,) = find(decay(rate, "a b c" if "c" in rate else "a b"))
    assert (symmetry.kind, symmetry.moves) == (kind, {"a", "b"})


def test_a_power_with_an_unknown_exponent_is_scaled_with_it():
    scaled = model({"x": "-k*x**n"}, {"y": "s*x"}, "k n s")
    (symmetry,) = find(scaled)
    assert symmetry.moves == {"x", "k", "s"}
    assert analyse(scaled).identifiable == {"n"}


def test_what_no_output_depends_on_is_unseen():
    found = find(model({"x": "-k*x", "r": "k*x - d*r*exp(r)", "q": "r"}, {"y": "x"}, "k d"))
    assert [(symmetry.kind, symmetry.moves) for symmetry in found] == [("unseen", {n}) for n in ("r", "q", "d")]


def test_what_stands_beside_a_state_that_rests_at_zero_is_unseen():
    chain = {"x": "-a*x + b*z*w", "z": "-c*z + w", "w": "-d*w**2"}
    resting = Known({"z": Fraction(0), "w": Fraction(0)}, generic=False)
    moving = Known({"z": Fraction(0)}, generic=False)
    assert [s.moves for s in find(model(chain, {"y": "x"}, "a b c d", known=resting))] == [{n} for n in ("b", "c", "d")]
    assert not any(s.kind == "unseen" for s in find(model(chain, {"y": "x"}, "a b c d", known=moving)))


def test_a_state_behind_a_factor_that_is_zero_is_unseen():
    given = model({"x": "-a*x + b*z", "z": "-c*z"}, {"y": "x"}, "a c", constants={"b": Fraction(0)})
    assert [symmetry.moves for symmetry in find(given)] == [{"z"}, {"c"}]


@pytest.mark.parametrize("rate", ["(a + b + x)**300", "sqrt(-1)*a*b"])
def test_models_that_cannot_be_expanded_have_no_symmetries_told(rate):
    assert find(decay(rate, "a b")) == ()


def test_a_search_without_work_tells_only_what_is_unseen():
    hidden = model({"x": "-a*b*x", "r": "x"}, {"y": "x"}, "a b")
    assert [s.kind for s in find(hidden, work_limit=0)] == ["unseen"]
    assert [s.kind for s in find(hidden)] == ["unseen", "scaling"]


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("reference", references, ids=lambda reference: reference.partition("#")[2])
def test_whatever_published_models_hide_is_proved_unless_inputs_are_unknown(reference):
    given = find_model(reference)
    hidden = {*given.states, *given.parameters} - analyse(given).identifiable
    moved = {name for symmetry in find(given) for name in symmetry.moves}
    assert hidden & moved == (set() if given.unknown_inputs else hidden)
