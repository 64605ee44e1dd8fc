"""Random rational expressions as text, with an exact evaluation of our own to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import strategies as st

NAMES = ("x", "y", "E", "I", "beta", "k_1")


@dataclass(frozen=True)
class Dual:
    """A value and its derivative in one direction."""

    value: Fraction
    slope: Fraction

    def __add__(self, other: Dual) -> Dual:
        return Dual(self.value + other.value, self.slope + other.slope)

    def __sub__(self, other: Dual) -> Dual:
        return Dual(self.value - other.value, self.slope - other.slope)

    def __mul__(self, other: Dual) -> Dual:
        return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)

    def __truediv__(self, other: Dual) -> Dual:
        quotient = self.value / other.value
        return Dual(quotient, (self.slope - quotient * other.slope) / other.value)

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __pow__(self, exponent: int) -> Dual:
        if exponent == 0:
            return Dual(Fraction(1), Fraction(0))
        return Dual(self.value**exponent, exponent * self.value ** (exponent - 1) * self.slope)


def _number(text: str) -> tuple[str, object]:
    return text, lambda _: Dual(Fraction(text), Fraction(0))


def _name(name: str) -> tuple[str, object]:
    return name, lambda point: point[name]


def _binary(operator: str):
    def combine(left, right):
        a, b = left[1], right[1]
        evaluate = {
            "+": lambda p: a(p) + b(p),
            "-": lambda p: a(p) - b(p),
            "*": lambda p: a(p) * b(p),
            "/": lambda p: a(p) / b(p),
        }[operator]
        return f"({left[0]}) {operator} ({right[0]})", evaluate

    return combine


def _power(operand, exponent):
    return f"({operand[0]})**{exponent}", lambda p: operand[1](p) ** exponent


def _negative(operand):
    return f"-({operand[0]})", lambda p: -operand[1](p)


_LEAVES = st.one_of(
    st.sampled_from(NAMES).map(_name),
    st.sampled_from(["0", "1", "2", "10", "0.5", ".25", "3.", "1e-2", "12E1"]).map(_number),
)


def _extend(inner):
    binary = st.sampled_from("+-*/").flatmap(lambda o: st.tuples(inner, inner).map(lambda pair: _binary(o)(*pair)))
    powers = st.tuples(inner, st.integers(-3, 4)).map(lambda pair: _power(*pair))
    return st.one_of(binary, powers, inner.map(_negative))


expressions = st.recursive(_LEAVES, _extend, max_leaves=12)
"""Pairs of a text and a function that evaluates it on a mapping of names to Dual numbers."""

points = st.fixed_dictionaries(
    {
        name: st.builds(Dual, st.fractions(-5, 5, max_denominator=7), st.fractions(-5, 5, max_denominator=7))
        for name in NAMES
    }
)
