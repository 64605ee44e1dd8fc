"""Functions of other formats in terms of those that our own expressions know."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from batchmill.workloads.identifiability.expressions import Call, Expression, ExpressionError, Number, multiply, power
from batchmill.workloads.identifiability.parser import FUNCTIONS

_MINUS_ONE = Number(Fraction(-1))
_RECIPROCAL = {"sec": "cos", "csc": "sin", "cot": "tan", "sech": "cosh", "csch": "sinh", "coth": "tanh"}


def apply(function: str, arguments: Sequence[Expression], offset: int = 0) -> Expression:
    """The function of its arguments. Raises ExpressionError for a function that is not supported."""
    if len(arguments) == 2 and function in ("pow", "power", "Pow"):
        return power(arguments[0], arguments[1], offset)
    if len(arguments) == 1:
        found = _of_one(function, arguments[0], offset)
        if found is not None:
            return found
    raise ExpressionError(
        f"`{function[:60]}` is not supported here",
        offset,
        length=len(function),
        hint=f"known functions are {', '.join(FUNCTIONS)}, log10, log2 and power",
    )


def _of_one(function: str, argument: Expression, offset: int) -> Expression | None:
    if function == "ln":
        function = "log"
    if function in FUNCTIONS:
        return Call(function, argument, offset)
    if function in ("log10", "log2"):
        return log_to_base(Number(Fraction(int(function[3:]))), argument, offset)
    if function == "square":
        return power(argument, Number(Fraction(2)), offset)
    if function in _RECIPROCAL:
        return quotient(Number(Fraction(1)), Call(_RECIPROCAL[function], argument, offset), offset)
    return None


def log_to_base(base: Expression, argument: Expression, offset: int) -> Expression:
    """log(argument)/log(base)."""
    return quotient(Call("log", argument, offset), Call("log", base, offset), offset)


def quotient(above: Expression, below: Expression, offset: int = 0) -> Expression:
    """above/below. Raises ExpressionError for a division by zero."""
    return multiply((above, power(below, _MINUS_ONE, offset)), offset)


def negative(value: Expression, offset: int = 0) -> Expression:
    """-value."""
    return multiply((_MINUS_ONE, value), offset)
