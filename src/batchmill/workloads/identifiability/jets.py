"""Taylor coefficients of outputs and their gradients in floating point, for pictures only: verdicts are made of exact
residues (`sampling`), whose rank is taken as given here.

A jet is a truncated power series in time together with the gradient of each coefficient with respect to all unknowns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchmill.workloads.identifiability.expressions import Call, Expression, Number, Power, Product, Sum, Symbol
from batchmill.workloads.identifiability.model import Model

Array = Any  # numpy arrays of float64


@dataclass(frozen=True, slots=True)
class Jet:
    """`values[k]` is the coefficient of t**k, `gradients[k]` its derivatives."""

    values: Array
    gradients: Array

    def __add__(self, other: Jet) -> Jet:
        return Jet(self.values + other.values, self.gradients + other.gradients)

    def __mul__(self, other: Jet) -> Jet:
        return Jet(
            _toeplitz(self.values) @ other.values,
            _toeplitz(self.values) @ other.gradients + _toeplitz(other.values) @ self.gradients,
        )

    def through(self, values: Array, derivative: Array) -> Jet:
        """F(self), of which `values` is the series and `derivative` that of F'(self)."""
        return Jet(values, _toeplitz(derivative) @ self.gradients)


def _toeplitz(series: Array) -> Array:
    """The lower triangular matrix that multiplies by a series."""
    size = len(series)
    shift = np.subtract.outer(np.arange(size), np.arange(size))
    return np.where(shift >= 0, series[np.maximum(shift, 0)], 0.0)


def output_jacobian(model: Model, point: Mapping[str, float], inputs: Mapping[str, Array], orders: int) -> Array:
    """Taylor coefficients' derivatives, orders x outputs x (states, then parameters), and the coefficients before them.

    The last axis starts with the coefficient itself. Raises ArithmeticError where the point is singular.
    """
    names = (*model.states, *model.parameters)
    count = len(names)
    series = {state: np.zeros((orders, 1 + count)) for state in model.states}
    for place, state in enumerate(model.states):
        series[state][0, 0], series[state][0, 1 + place] = point[state], 1.0
    with np.errstate(all="raise", under="ignore"):
        for order in range(1, orders):
            evaluate = _Evaluator(model, point, inputs, series, order)
            slopes = {state: evaluate(model.odes[state]) for state in model.states}
            for state, slope in slopes.items():
                series[state][order, 0] = slope.values[-1] / order
                series[state][order, 1:] = slope.gradients[-1] / order
        evaluate = _Evaluator(model, point, inputs, series, orders)
        jets = [evaluate(formula) for formula in model.outputs.values()]
    return np.stack([np.column_stack([jet.values, jet.gradients]) for jet in jets], axis=1)


class _Evaluator:
    """Expressions as jets of a given length."""

    def __init__(
        self,
        model: Model,
        point: Mapping[str, float],
        inputs: Mapping[str, Array],
        series: Mapping[str, Array],
        length: int,
    ) -> None:
        self._length, self._count = length, len(model.states) + len(model.parameters)
        self._symbols = {name: Jet(s[:length, 0], s[:length, 1:]) for name, s in series.items()}
        for place, name in enumerate(model.parameters, len(model.states)):
            jet = self._constant(point[name])
            jet.gradients[0, place] = 1.0
            self._symbols[name] = jet
        self._symbols |= {name: self._constant(point[name]) for name in model.constants}
        for name, given in inputs.items():
            jet = self._constant(0.0)
            jet.values[: len(given)] = given[:length]
            self._symbols[name] = jet

    def __call__(self, formula: Expression) -> Jet:
        match formula:
            case Number(value):
                return self._constant(float(value))
            case Symbol(name):
                return self._symbols[name]
            case Sum(terms):
                return self._fold(terms, lambda a, b: a + b)
            case Product(factors):
                return self._fold(factors, lambda a, b: a * b)
            case Power(base, Number(value)):
                return _power(self(base), float(value))
            case Power(base, exponent):
                return _exp(self(exponent) * _log(self(base)))
            case Call(function, argument):
                return _FUNCTIONS[function](self(argument))

    def _fold(self, parts: Sequence[Expression], join: Callable[[Jet, Jet], Jet]) -> Jet:
        jet = self(parts[0])
        for part in parts[1:]:
            jet = join(jet, self(part))
        return jet

    def _constant(self, value: float) -> Jet:
        values = np.zeros(self._length)
        values[0] = value
        return Jet(values, np.zeros((self._length, self._count)))


def _power_series(a: Array, exponent: float) -> Array:
    """a**r by the recurrence that follows from a c' = r a' c (Euler; Knuth, The Art of Computer Programming 2, 4.7)."""
    c = np.zeros_like(a)
    c[0] = a[0] ** exponent
    for k in range(1, len(a)):
        j = np.arange(1, k + 1)
        c[k] = ((exponent * j - (k - j)) * a[1 : k + 1] * c[k - 1 :: -1][:k]).sum() / (k * a[0])
    return c


def _power(jet: Jet, exponent: float) -> Jet:
    values = _power_series(jet.values, exponent)
    return jet.through(values, exponent * _power_series(jet.values, exponent - 1))


def _exp_series(a: Array) -> Array:
    c = np.zeros_like(a)
    c[0] = np.exp(a[0])
    for k in range(1, len(a)):
        c[k] = (np.arange(1, k + 1) * a[1 : k + 1] * c[k - 1 :: -1][:k]).sum() / k
    return c


def _exp(jet: Jet) -> Jet:
    values = _exp_series(jet.values)
    return jet.through(values, values)


def _log(jet: Jet) -> Jet:
    inverse = _power_series(jet.values, -1.0)
    return jet.through(_integral(_product_with_slope(inverse, jet.values), np.log(jet.values[0])), inverse)


def _product_with_slope(a: Array, b: Array) -> Array:
    """The series of a * b', one coefficient shorter."""
    return (_toeplitz(a)[:-1, :-1]) @ (np.arange(1, len(b)) * b[1:])


def _integral(slope: Array, start: float) -> Array:
    return np.concatenate([[start], slope / np.arange(1, len(slope) + 1)])


def _circular(jet: Jet, sign: float, sine: Any, cosine: Any) -> tuple[Jet, Jet]:
    """sin and cos (sign -1), or sinh and cosh (sign 1): s' = c a', c' = sign s a'."""
    a = jet.values
    s, c = np.zeros_like(a), np.zeros_like(a)
    s[0], c[0] = sine(a[0]), cosine(a[0])
    for k in range(1, len(a)):
        weighted = np.arange(1, k + 1) * a[1 : k + 1]
        s[k] = (weighted * c[k - 1 :: -1][:k]).sum() / k
        c[k] = sign * (weighted * s[k - 1 :: -1][:k]).sum() / k
    return jet.through(s, c), jet.through(c, sign * s)


def _trigonometric(jet: Jet) -> tuple[Jet, Jet]:
    return _circular(jet, -1.0, np.sin, np.cos)


def _hyperbolic(jet: Jet) -> tuple[Jet, Jet]:
    return _circular(jet, 1.0, np.sinh, np.cosh)


def _quotient(pair: tuple[Jet, Jet]) -> Jet:
    return pair[0] * _power(pair[1], -1.0)


_FUNCTIONS: Mapping[str, Callable[[Jet], Jet]] = {
    "exp": _exp,
    "log": _log,
    "sqrt": lambda jet: _power(jet, 0.5),
    "sin": lambda jet: _trigonometric(jet)[0],
    "cos": lambda jet: _trigonometric(jet)[1],
    "tan": lambda jet: _quotient(_trigonometric(jet)),
    "sinh": lambda jet: _hyperbolic(jet)[0],
    "cosh": lambda jet: _hyperbolic(jet)[1],
    "tanh": lambda jet: _quotient(_hyperbolic(jet)),
}
