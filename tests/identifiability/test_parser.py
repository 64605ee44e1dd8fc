"""Expressions: what they mean, and what is refused, with the place and the reason."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.workloads.identifiability.circuit import Circuit
from batchmill.workloads.identifiability.expressions import Call, ExpressionError, Number, Power, Symbol
from batchmill.workloads.identifiability.parser import MAX_LENGTH, parse
from batchmill.workloads.identifiability.taylor import VanishingDenominator, static_values

from .strategies import NAMES, expressions, points

PRIME = 2147483647


def modulo(value: Fraction) -> int:
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


def compiled(text: str) -> tuple[Circuit, int, dict[str, int]]:
    circuit = Circuit()
    leaves = {name: circuit.leaf(name, static=True) for name in NAMES}
    return circuit, circuit.lower(parse(text).expression, leaves), leaves


def value_of(circuit: Circuit, node: int, point: dict[str, Fraction]) -> int:
    residues = {name: modulo(value) for name, value in point.items()}
    return static_values(circuit, circuit.reachable([node]), residues, PRIME)[node]


@given(expressions, points)
def test_an_expression_means_what_exact_arithmetic_says(expression, point):
    text, evaluate = expression
    values = {name: dual.value for name, dual in point.items()}
    try:
        exact = evaluate(point).value
    except ZeroDivisionError:
        return  # a vanishing factor may have cancelled the division in the text
    try:
        circuit, node, _ = compiled(text)
        found = value_of(circuit, node, values)
    except (ZeroDivisionError, ExpressionError, VanishingDenominator):
        pytest.fail("refused what can be computed")
    assert found == modulo(exact)


@given(expressions, points)
def test_a_gradient_is_the_exact_derivative(expression, point):
    text, evaluate = expression
    values = {name: dual.value for name, dual in point.items()}
    try:
        exact = evaluate(point).slope
    except ZeroDivisionError:
        return
    circuit, node, leaves = compiled(text)
    gradient = circuit.gradient(node)
    found = 0
    for name, leaf in leaves.items():
        if leaf in gradient:
            found += value_of(circuit, gradient[leaf], values) * modulo(point[name].slope)
    assert found % PRIME == modulo(exact)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1/2000000*7", Fraction(7, 2000000)),
        ("-2**2", Fraction(-4)),
        ("2**-1", Fraction(1, 2)),
        ("2**3**2", Fraction(512)),
        ("2 - 3 - 4", Fraction(-5)),
        ("12/3/2", Fraction(2)),
        ("2*-3", Fraction(-6)),
        ("- - +1", Fraction(1)),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("1e-3", Fraction(1, 1000)),
        ("(((1)))", Fraction(1)),
    ],
)
def test_numbers_are_exact_and_precedence_is_the_usual(text, value):
    assert parse(text).expression == Number(value)


def test_names_of_constants_and_functions_are_plain_symbols():
    for name in ("E", "I", "N", "S", "Q", "beta", "gamma", "pi", "y", "exp", "lambda", "None", "_x"):
        assert parse(name).expression == Symbol(name)


def test_functions_and_powers_are_read():
    assert parse("exp(x)").expression == Call("exp", Symbol("x"))
    assert parse("x**n").expression == Power(Symbol("x"), Symbol("n"))


def test_the_places_of_names_are_those_of_the_text():
    assert parse("a + bb*(a - c)").names == {"a": 0, "bb": 4, "c": 12}


@pytest.mark.parametrize(
    ("text", "offset", "reason"),
    [
        ("", 0, "ends"),
        ("x +", 3, "ends"),
        ("x + * y", 4, "`*` stands"),
        ("2 x", 2, "an operator is expected before `x`"),
        ("2(x)", 1, "an operator is expected"),
        ("(x + 1", 0, "never closed"),
        ("x + 1)", 5, "never opened"),
        ("foo(x)", 0, "not a function"),
        ("exp(x, y)", 5, "unexpected character `,`"),
        ("x^2", 1, "unexpected character"),
        ("x = 2", 2, "unexpected character"),
        ("x.__class__", 1, "unexpected character"),
        ("__import__('os')", 10, "not a function|unexpected"),
        ("x[0]", 1, "unexpected character"),
        ("lambda: 0", 6, "unexpected character"),
        ("x // y", 3, "`/` stands"),
        ("1/0", 1, "division by zero"),
        ("1/(2 - 2)", 1, "division by zero"),
        ("0**-1", 1, "division by zero"),
        ("1_000", 1, "an operator is expected"),
    ],
)
def test_mistakes_are_told_with_their_place(text, offset, reason):
    with pytest.raises(ExpressionError, match=reason) as caught:
        parse(text)
    if "__import__" not in text:
        assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10**10**10", "exponent"),
        ("9**999", None),
        ("99**999", "bits"),
        ("x**1001", "exponent"),
        ("x**(2**40)", "exponent"),
        ("2**2**2**2**2**2", "exponent"),
        ("(" * 10_000 + "x" + ")" * 10_000, "nested"),
        ("-" * 10_000 + "x", None),
        ("x**" * 10_000 + "x", "nested"),
        ("exp(" * 9_000 + "x" + ")" * 9_000, "nested"),
        ("x+" * 500_000 + "x", "characters"),
        ("1" * 40_000, "too long"),
        ("1e999999999", "too long or too large"),
        ("1e-99999", "too long or too large"),
        ("*".join(["1e300"] * 100), "bits"),
        ("\x00", r"U\+0000|unexpected"),
        ("x\u200b", r"U\+200B"),
        ("\u0445 + 1", r"U\+0445"),  # a Cyrillic letter that looks like x
        ("\uff11 + x", r"U\+FF11"),  # a full-width digit
        ("x\u2212y", r"U\+2212"),
        ("\u202ex", r"U\+202E"),
        ("x\x1b[31m", "unexpected character"),
    ],
)
def test_hostile_texts_are_refused_with_place_and_reason(text, reason):
    if reason is None:
        parse(text)
        return
    with pytest.raises(ExpressionError, match=reason) as caught:
        parse(text)
    assert 0 <= caught.value.offset <= len(text)
    assert caught.value.message.isprintable()


@given(st.text(alphabet="xy19.eE+-*/()^ \t\n\u00d7\u0663", max_size=40))
def test_any_text_is_read_or_refused_with_a_place(text):
    offset = 0
    try:
        parse(text)
    except ExpressionError as error:
        offset = error.offset
    assert 0 <= offset <= len(text)


def test_the_longest_text_allowed_is_read():
    text = "+".join(["x"] * (MAX_LENGTH // 2))
    assert len(parse(text).expression.terms) == MAX_LENGTH // 2


def test_a_deep_tree_is_lowered_within_the_stack():
    text = "(x + y*" * 60 + "x" + ")" * 60
    circuit, node, _ = compiled(text)
    assert circuit.gradient(node)
