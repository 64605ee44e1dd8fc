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


def test_a_product_has_a_scaling_symmetry_with_its_weights():
    (symmetry,) = find(decay("a*b**2", "a b"))
    assert symmetry.kind == "scaling"
    assert dict(symmetry.weights) in ({"a": 2, "b": -1}, {"a": -2, "b": 1})


def test_a_sum_has_a_translation():
    (symmetry,) = find(decay("a + b", "a b"))
    assert (symmetry.kind, sorted(symmetry.generator.values())) == ("translation", ["-1", "1"])


def test_a_ratio_of_sums_has_as_many_symmetries_as_null_vectors():
    assert len(find(decay("(a + b)/(c + d)", "a b c d"), time_limit=20)) == 3


def test_an_affine_symmetry_has_constants_in_it():
    (symmetry,) = find(decay("(a + 1)*(b + 2)", "a b"), time_limit=20)
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
    found = find(given, time_limit=20)
    verdict = analyse(given)
    assert len(found) <= verdict.n_unknowns - verdict.rank
    assert not verdict.identifiable & {name for symmetry in found for name in symmetry.moves}


def test_the_exact_criterion_refuses_a_field_that_is_no_symmetry():
    equations = Equations(decay("a*b", "a b"))
    a, b = equations.variable["a"], equations.variable["b"]
    assert equations.annuls({"a": a, "b": -b})
    assert not equations.annuls({"a": a, "b": b})


@pytest.mark.parametrize("rate", ["exp(a)*b", "(a + b + x)**300"])
def test_models_that_cannot_be_expanded_have_no_symmetries_told(rate):
    assert find(decay(rate, "a b")) == ()
