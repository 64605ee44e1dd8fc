"""Expressions of model equations: immutable trees with exact numbers, and the limits that keep them small.

How text becomes a tree is in `parser`; what is computed with trees is in `circuit`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

MAX_EXPONENT = 1000  # of a whole-number power
MAX_BITS = 4096  # of a folded number's numerator and denominator


class ExpressionError(ValueError):
    """An expression cannot be read: why, where in its text (0-based offset), and what to do."""

    def __init__(self, message: str, offset: int, *, length: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.length = length
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Symbol:
    """A state, parameter, input or constant."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of two or more terms."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """The product of two or more factors; a quotient holds a power with the exponent -1."""

    factors: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """A base to any exponent that is not 0 or 1. `offset` is where the operator stands in the text."""

    base: Expression
    exponent: Expression
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of one argument."""

    function: str
    argument: Expression
    offset: int = field(default=0, compare=False)


Expression = Number | Symbol | Sum | Product | Power | Call

ZERO = Number(Fraction(0))
ONE = Number(Fraction(1))


def number(value: Fraction, offset: int) -> Number:
    """`value` as a leaf. Raises ExpressionError when its digits exceed MAX_BITS."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise ExpressionError(f"a number here has over {MAX_BITS} bits", offset)
    return Number(value)


def add(terms: Iterable[Expression], offset: int = 0) -> Expression:
    """The sum, with numbers folded into one."""
    constant = ZERO
    rest: list[Expression] = []
    for term in terms:
        if isinstance(term, Number):
            constant = number(constant.value + term.value, offset)
        else:
            rest.append(term)
    if constant.value or not rest:
        rest.append(constant)
    return rest[0] if len(rest) == 1 else Sum(tuple(rest))


def multiply(factors: Iterable[Expression], offset: int = 0) -> Expression:
    """The product, with numbers folded into one that comes first."""
    constant = ONE
    rest: list[Expression] = []
    for factor in factors:
        if isinstance(factor, Number):
            constant = number(constant.value * factor.value, offset)
        else:
            rest.append(factor)
    if not constant.value or not rest:
        return constant
    if constant.value != 1:
        rest.insert(0, constant)
    return rest[0] if len(rest) == 1 else Product(tuple(rest))


def power(base: Expression, exponent: Expression, offset: int = 0) -> Expression:
    """The power, folded where it is a number. Raises ExpressionError for 1/0 and exponents over MAX_EXPONENT."""
    if not isinstance(exponent, Number):
        return Power(base, exponent, offset)
    value = exponent.value
    if abs(value) > MAX_EXPONENT:
        raise ExpressionError(f"an exponent here is over {MAX_EXPONENT}", offset, length=2)
    if value.denominator == 1 and isinstance(base, Number):
        return _number_power(base.value, int(value), offset)
    if value == 0:
        return ONE
    return base if value == 1 else Power(base, exponent, offset)


def _number_power(base: Fraction, exponent: int, offset: int) -> Number:
    if not base and exponent < 0:
        raise ExpressionError("division by zero", offset)
    digits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if (digits - 1) * abs(exponent) > MAX_BITS:
        raise ExpressionError(f"a number here has over {MAX_BITS} bits", offset, length=2)
    return number(base**exponent, offset)
