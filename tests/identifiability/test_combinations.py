"""Identifiable combinations: exact algebra, hand-made models, and completeness on the published collection."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.circuit import Circuit
from batchmill.workloads.identifiability.combinations import find
from batchmill.workloads.identifiability.combinations.ansatz import power_products, size_of
from batchmill.workloads.identifiability.combinations.functions import Exponent, Function, Term, power_product
from batchmill.workloads.identifiability.combinations.lattice import (
    integers,
    is_primitive,
    orthogonal_lattice,
    rank,
    rational,
    residue,
)
from batchmill.workloads.identifiability.parser import parse
from batchmill.workloads.identifiability.taylor import static_values
from tests.identifiability.handmade import decay, model
from tests.identifiability.test_published import needs_data, references

PRIME = 2147483647
BOUND = math.isqrt(PRIME // 2)


def gradient(text: str, names: tuple[str, ...], point: dict[str, int]) -> list[int]:
    """The gradient of a formula by the engine's circuit, which shares nothing with the search."""
    circuit = Circuit()
    leaves = {name: circuit.leaf(name, static=True) for name in point}
    slopes = circuit.gradient(circuit.lower(parse(text).expression, leaves))
    values = static_values(circuit, range(len(circuit.nodes)), point, PRIME)
    return [values[slopes[leaves[name]]] if leaves[name] in slopes else 0 for name in names]


def spanned(formulas, names, point) -> int:
    return rank([gradient(text, names, point) for text in formulas], len(names), PRIME)


@given(st.integers(-BOUND, BOUND), st.integers(1, BOUND))
def test_a_fraction_below_the_bound_is_recovered_from_its_residue(numerator, denominator):
    value = Fraction(numerator, denominator)
    assert rational(residue(value, PRIME), PRIME) == value


@given(st.integers(0, PRIME - 1))
def test_a_reconstructed_fraction_has_the_residue_it_came_from(value):
    found = rational(value, PRIME)
    assert found is None or residue(found, PRIME) == value


@given(st.lists(st.builds(Fraction, st.integers(-99, 99), st.integers(1, 9)), min_size=1, max_size=5))
def test_a_vector_of_fractions_becomes_its_primitive_whole_multiple(values):
    whole = integers([residue(value, PRIME) for value in values], PRIME)
    assert whole is not None
    assert math.gcd(*whole) in (0, 1)
    assert all(w * values[0] == whole[0] * v for w, v in zip(whole, values, strict=True))


@given(st.lists(st.tuples(*[st.integers(-4, 4)] * 4), min_size=1, max_size=3))
def test_an_orthogonal_lattice_is_orthogonal_complete_and_primitive(rows):
    basis = orthogonal_lattice(rows, 4)
    assert all(sum(a * b for a, b in zip(row, vector, strict=True)) == 0 for row in rows for vector in basis)
    assert len(basis) == 4 - rank([[v % PRIME for v in row] for row in rows], 4, PRIME)
    assert not basis or is_primitive(basis)


@pytest.mark.parametrize("negative", [False, True])
def test_the_size_of_an_ansatz_is_told_without_listing_it(negative):
    assert all(
        len(power_products(n, d, negative=negative)) == size_of(n, d, negative=negative)
        for n in range(1, 5)
        for d in range(1, 5)
    )


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (Function((power_product([("a", 1), ("b", -1)]),)), "a/b"),
        (Function((power_product([("a", -1), ("b", -2)]),)), "1/(a*b**2)"),
        (Function((power_product([("a", 1)], 2), power_product([("b", 2)], -1))), "2*a - b**2"),
        (Function((power_product([("a", 1), ("c", -1)]), power_product([("b", 1)]))), "(a + b*c)/c"),
        (Function((power_product([("a", 1)]),), (power_product([("b", 1)]), power_product([]))), "a/(b + 1)"),
        (Function((Term(1, (("s", Exponent(Fraction(2), (("n", Fraction(-2)),))),)),)), "s**(2 - 2*n)"),
    ],
)
def test_functions_are_written_as_formulas(function, text):
    assert str(function) == text
    parse(text)


@pytest.mark.parametrize(
    ("rate", "parameters", "functions"),
    [
        ("a*b", "a b", ["a*b"]),
        ("a**7*b**5", "a b", ["a**7*b**5"]),
        ("a*b*c*d/e", "a b c d e", ["a*b*c*d/e"]),
        ("a + b", "a b", ["a + b"]),
        ("a**2 + b**2", "a b", ["a**2 + b**2"]),
        ("a*b + c*d + e", "a b c d e", ["a*b + c*d + e"]),
        ("a + b*c**3", "a b c", ["a + b*c**3"]),
        ("(a + b)/(c + d)", "a b c d", ["(a + b)/(c + d)"]),
        ("(a + 1)/(b + 2)", "a b", ["(a + 1)/(b + 2)"]),
        ("a*b/(c + d)", "a b c d", ["a*b/(c + d)"]),
    ],
)
def test_a_rate_made_of_several_parameters_is_their_only_combination(rate, parameters, functions):
    found = find(decay(rate, parameters))
    assert (found.found, found.expected, found.complete, found.cut_short) == (1, 1, True, False)
    names = tuple(parameters.split())
    point = dict(zip(names, range(3, 30, 5), strict=False))
    assert spanned([*found.functions, *functions], names, point) == 1


@pytest.mark.parametrize("weight", ["c", "c**2", "(1 + c)", "1/(1 + c)"])
def test_identifiable_parameters_count_as_known_numbers_in_coefficients(weight):
    both = model({"x": f"-(a + {weight}*b)*x", "z": "-c*z"}, {"y": "x", "w": "z"}, "a b c")
    found = find(both)
    assert found.complete
    point = {"a": 3, "b": 5, "c": 7}
    assert spanned([*found.functions, f"a + {weight}*b"], ("a", "b"), point) == 1


def test_known_constants_count_as_known_numbers_in_coefficients():
    found = find(decay("a + g*b", "a b", constants={"g": None}))
    assert found.functions == ("a + b*g",)


def test_parameters_that_share_no_null_vector_are_searched_apart():
    found = find(model({"x": "-a*b*x", "z": "-(c + d)*z"}, {"y": "x", "w": "z"}, "a b c d"))
    assert found.functions == ("a*b", "c + d")
    assert found.components == (("a", "b"), ("c", "d"))


def test_a_parameter_without_any_combination_is_told_as_a_component_of_its_own():
    found = find(model({"x": "-k*x", "z": "s*x"}, {"y": "x"}, "k s"))
    assert found == find(model({"x": "-k*x", "z": "s*x"}, {"y": "x"}, "k s"), seed=1)
    assert (found.functions, found.expected, found.components) == ((), 0, (("s",),))


def test_an_identifiable_model_has_nothing_to_combine():
    found = find(decay("a", "a"))
    assert (found.functions, found.complete, found.components) == ((), True, ())


def test_more_is_expected_than_found_where_the_bound_is_not_reached():
    # the invariants of d/da + x (d/db + a d/dc) at one x hold x itself: none is of a, b, c alone
    found = find(model({"x": "0"}, {"y": "x", "v": "b - x*a", "w": "c - x*a**2/2"}, "a b c"))
    assert (found.found, found.expected, found.complete) == (0, 1, False)


def test_what_is_outside_the_ansatzes_is_missed_but_not_denied():
    found = find(decay("a + exp(b)", "a b"))
    assert (found.found, found.expected, found.complete) == (0, 1, False)


def test_known_parameters_are_known_numbers():
    found = find(decay("a + g*b", "a b g", known_parameters={"g": None}))
    assert found.functions == ("a + b*g",)


def test_unknown_exponents_of_several_parameters_are_told():
    power_law = model(
        {"x": "a*z**g - b*x**h", "z": "c*x**k - d*z**n"},
        {"y": "x"},
        "a g b h c k d n",
    )
    found = find(power_law)
    assert (found.functions, found.expected) == (("a*c**g", "c**(-1 + n)*d"), 2)


def test_roots_do_not_stop_the_search():
    found = find(decay("sqrt(a*x)*b + c", "a b c"))
    assert found.functions == ("a*b**2",)


def test_a_search_without_work_says_so_and_reports_nothing_unverified():
    found = find(decay("a*b + c*d + e", "a b c d e"), work_limit=0)
    assert (found.functions, found.cut_short, found.complete) == ((), True, False)


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("reference", references, ids=lambda reference: reference.partition("#")[2])
def test_published_models_have_all_their_combinations(reference):
    published = find_model(reference)
    count = published.expected["identifiable_parameter_functions_count"]
    names = tuple(published.expected["nonidentifiable_parameters"])
    if not names:
        pytest.skip("all parameters are identifiable")
    found = find(published)
    assert (found.found, found.expected) == (count, count)
    examples = published.expected["example_identifiable_functions"]
    if "**(" in "".join((*examples, *found.functions)):
        assert found.functions == ("k*s**(2 - 2*n)",)
        return
    point = {name: 1000 + 77 * i * i for i, name in enumerate(published.parameters)}
    assert spanned(found.functions, names, point) == count
    assert spanned([*found.functions, *examples], names, point) == count
