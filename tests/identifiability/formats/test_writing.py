"""What is written is read back: expressions, model files, LaTeX."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.workloads.identifiability.catalogue import bundled_names, find_model
from batchmill.workloads.identifiability.expressions import (
    Call,
    Expression,
    ExpressionError,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
    add,
    multiply,
    power,
)
from batchmill.workloads.identifiability.formats import formula_latex, model_latex, result_latex, write_native
from batchmill.workloads.identifiability.formats.draft import Draft
from batchmill.workloads.identifiability.formats.printing import substitute, to_text
from batchmill.workloads.identifiability.formats.source import Source
from batchmill.workloads.identifiability.parser import parse

NAMES = ("a", "b", "x")
numbers = st.fractions(min_value=-20, max_value=20, max_denominator=40).map(Number)
leaves = st.one_of(numbers, st.sampled_from(NAMES).map(Symbol))


def _joined(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    lists = st.lists(inner, min_size=1, max_size=3)
    powers = st.tuples(inner, st.integers(-3, 3)).map(_raised)
    return st.one_of(lists.map(add), lists.map(multiply), powers, inner.map(lambda value: Call("exp", value)))


def _raised(pair: tuple[Expression, int]) -> Expression:
    try:
        return power(pair[0], Number(Fraction(pair[1])))
    except ExpressionError:
        return pair[0]


expressions = st.recursive(leaves, _joined, max_leaves=12)


def value_at(expression: Expression, point: dict[str, Fraction]) -> Fraction:
    """The value in rational numbers; exp stands for some function."""
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Symbol):
        return point[expression.name]
    if isinstance(expression, Sum):
        return sum((value_at(term, point) for term in expression.terms), Fraction(0))
    if isinstance(expression, Product):
        product = Fraction(1)
        for factor in expression.factors:
            product *= value_at(factor, point)
        return product
    if isinstance(expression, Power):
        assert isinstance(expression.exponent, Number)
        return value_at(expression.base, point) ** int(expression.exponent.value)
    return value_at(expression.argument, point) ** 2 + 3


@given(expressions, st.integers(0, 10**6))
def test_a_written_expression_has_the_value_of_the_tree(expression: Expression, seed: int) -> None:
    draw = random.Random(seed)
    point = {name: Fraction(draw.randint(1, 97), draw.randint(1, 89)) for name in NAMES}
    try:
        expected = value_at(expression, point)
        text = to_text(expression)
    except ZeroDivisionError:
        return
    assert value_at(parse(text).expression, point) == expected


@pytest.mark.parametrize("name", bundled_names())
def test_a_written_model_file_is_read_as_the_same_model(name: str, tmp_path: Path) -> None:
    model = find_model(name)
    draft = Draft(Source(name, ""), name, list(model.states), list(model.parameters), list(model.inputs))
    draft.unknown_inputs = list(model.unknown_inputs)
    draft.odes, draft.outputs, draft.constants = dict(model.odes), dict(model.outputs), dict(model.constants)
    path = tmp_path / "model.yaml"
    path.write_text(write_native(draft.native()))
    again = find_model(str(path))
    assert (again.states, again.parameters, again.inputs) == (model.states, model.parameters, model.inputs)
    draw = random.Random(1)
    symbols = (*model.states, *model.parameters, *model.inputs, *model.unknown_inputs, *model.constants)
    point = {symbol: Fraction(draw.randint(1, 97)) for symbol in symbols}
    for equations, others in ((model.odes, again.odes), (model.outputs, again.outputs)):
        for key, expression in equations.items():
            assert value_at(expression, point) == value_at(others[key], point)


def test_awkward_texts_survive_the_yaml(tmp_path: Path) -> None:
    odes = {"x": "-k*x", "no": "0.1", "e1": "1e3", "true_": "-(k + no)/3"}
    source = 'a "quoted": text # with\nlines, 100% \\ and tabs\t'
    model = {
        "id": "true",
        "source": source,
        "states": list(odes),
        "parameters": ["k"],
        "odes": odes,
        "outputs": {"y": "x"},
        "options": {"known_initial_conditions": {"x": "1/3"}},
    }
    path = tmp_path / "several.yaml"
    path.write_text(write_native({"models": [model, {**model, "id": "b"}]}))
    read = find_model(f"{path}#true")
    assert (read.source, read.states) == (source, tuple(odes))
    assert read.odes["e1"] == Number(Fraction(1000))


def test_what_is_shared_in_a_tree_does_not_explode_when_written() -> None:
    expression: Expression = Symbol("x")
    for _ in range(60):
        expression = Sum((expression, expression))
    with pytest.raises(ExpressionError, match="grows to over"):
        to_text(expression)
    assert isinstance(substitute(expression, {"x": Symbol("y")}), Sum)


def test_latex_spells_names_fractions_and_verdicts() -> None:
    assert formula_latex("(a + b)/(2*k_on)") == r"\frac{a + b}{2 \, k_{\mathrm{on}}}"
    assert formula_latex("-beta2*x**(n + 1) - 1/3") == r"-\beta_{2} \, x^{n + 1} - \frac{1}{3}"
    assert formula_latex("sqrt(x)*exp(-Vmax)") == r"\sqrt{x} \, \exp\left(-\mathrm{Vmax}\right)"
    assert r"\dot{q_{1}} &= p_{1} \, q_{1} - p_{2} \, q_{2} + \delta \\" in model_latex(find_model("Bolie"))
    table = result_latex(
        {
            "model": "50%_a",
            "rank": 6,
            "n_unknowns": 7,
            "locally_identifiable_parameters": ["p1"],
            "nonidentifiable_parameters": [],
            "identifiable_combinations": ["p2*p4"],
            "combinations_found": 1,
            "combinations_expected": 1,
        }
    )
    assert r"model & 50\%\_a \\" in table
    assert r"identifiable combinations (1 of 1) & $p_{2} \, p_{4}$ \\" in table
    assert r"non-identifiable parameters & none \\" in table
