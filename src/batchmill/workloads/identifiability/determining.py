"""The infinitesimal criterion for symmetries of a model, exactly over the rationals and modulo a prime.

A vector field xi on states and parameters leaves the outputs unchanged in every solution of x' = f, y = h where

    sum_j f_j d(xi_i)/dx_j = sum_k xi_k d(f_i)/dz_k   for each state and (f = 0) each parameter i,
    sum_k xi_k dh/dz_k = 0                            for each output h,

identically in states, parameters and inputs; z are states and parameters. (P. J. Olver, "Applications of Lie Groups
to Differential Equations", section 2.3; B. Merkt, J. Timmer, D. Kaschek, Phys. Rev. E 92 (2015) 012920.)
Rational models only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from flint import fmpq, fmpq_mpoly, fmpq_mpoly_ctx, fmpz

from batchmill.workloads.identifiability.expressions import Expression, Number, Power, Product, Sum, Symbol
from batchmill.workloads.identifiability.model import Model, Unsupported

MAX_TERMS = 20_000  # of a polynomial, bounded before it is multiplied out

Quotient = tuple[fmpq_mpoly, fmpq_mpoly]
Field = Mapping[str, fmpq_mpoly]
"""The components of a vector field that are not zero."""


class Equations:
    """The right-hand sides and outputs of a rational model as quotients of polynomials.

    Raises Unsupported for models that are not rational, have unknown inputs, or expand to too many terms.
    """

    def __init__(self, model: Model) -> None:
        if model.unknown_inputs:
            raise Unsupported("symmetries of models with unknown inputs are not searched")
        self.model = model
        self.names = (*model.states, *model.parameters, *model.inputs, *model.constants)
        self.ring = fmpq_mpoly_ctx.get([f"z{i}" for i in range(len(self.names))])
        self.variable = dict(zip(self.names, self.ring.gens(), strict=True))
        self._index = {name: i for i, name in enumerate(self.names)}
        self._one = self.ring.constant(1)
        symbols = {name: (variable, self._one) for name, variable in self.variable.items()}
        symbols |= {
            name: (self._number(value), self._one) for name, value in model.constants.items() if value is not None
        }
        self._symbols: dict[str, Quotient] = symbols
        self.slopes = {name: self._quotient(model.odes[name]) for name in model.states}
        outputs = [self._quotient(output) for output in model.outputs.values()]
        self.all = [*self.slopes.values(), *outputs]
        self._partials: dict[tuple[int, str], fmpq_mpoly] = {}

    def annuls(self, field: Field) -> bool:
        """Whether a field meets the criterion identically."""
        drifts = {name: self._drift(component) for name, component in field.items()}
        for index, (_, below) in enumerate(self.all):
            change = _negative((self._change(field, index), _product(below, below)))
            state = self.model.states[index] if index < len(self.model.states) else ""
            terms = [change, drifts.pop(state)] if state in drifts else [change]
            if not self._sum(terms)[0].is_zero():
                return False
        return all(above.is_zero() for above, _ in drifts.values())

    def _change(self, field: Field, index: int) -> fmpq_mpoly:
        """The derivative of a quotient along a field, times its squared denominator."""
        total = self.ring.constant(0)
        for name, component in field.items():
            total += _product(component, self.partial(index, name))
        return total

    def at(self, component: fmpq_mpoly, values: Mapping[str, Fraction]) -> fmpq_mpoly:
        """A polynomial with some of its names replaced by numbers."""
        replaced: dict[str | int, int | fmpz | fmpq] = {
            f"z{self._index[name]}": fmpq(v.numerator, v.denominator) for name, v in values.items()
        }
        return component.subs(replaced)

    def partial(self, index: int, name: str) -> fmpq_mpoly:
        """The partial derivative of a quotient of `all`, times its squared denominator."""
        if (index, name) not in self._partials:
            (above, below), i = self.all[index], self._index[name]
            self._partials[index, name] = _product(above.derivative(i), below) - _product(above, below.derivative(i))
        return self._partials[index, name]

    def _drift(self, component: fmpq_mpoly) -> Quotient:
        terms = []
        for name, (above, below) in self.slopes.items():
            slope = component.derivative(self._index[name])
            if not slope.is_zero():
                terms.append((_product(above, slope), below))
        return self._sum(terms)

    def _number(self, value: Fraction) -> fmpq_mpoly:
        return self.ring.constant(fmpq(value.numerator, value.denominator))

    def _sum(self, terms: Sequence[Quotient]) -> Quotient:
        above, below = self.ring.constant(0), self._one
        for numerator, denominator in terms:
            common = below.gcd(denominator)
            left, right = denominator / common, below / common
            above, below = _product(above, left) + _product(numerator, right), _product(below, left)
        return above, below

    def _quotient(self, expression: Expression) -> Quotient:
        match expression:
            case Number(value):
                return self._number(value), self._one
            case Symbol(name):
                return self._symbols[name]
            case Sum(terms):
                return self._sum([self._quotient(term) for term in terms])
            case Product(factors):
                above = below = self._one
                for numerator, denominator in map(self._quotient, factors):
                    above, below = _product(above, numerator), _product(below, denominator)
                return above, below
            case Power(base, Number(value)) if value.denominator == 1:
                above, below = self._quotient(base)
                size = abs(int(value))
                powers = self._power(above, size), self._power(below, size)
                return powers if value > 0 else (powers[1], powers[0])
        raise Unsupported("symmetries of models that are not rational are not searched")

    def _power(self, base: fmpq_mpoly, exponent: int) -> fmpq_mpoly:
        if len(base) > 1 and len(base) * exponent > MAX_TERMS // 100:
            raise Unsupported("an equation expands to too many terms")
        return base**exponent


def _product(a: fmpq_mpoly, b: fmpq_mpoly) -> fmpq_mpoly:
    if len(a) * len(b) > MAX_TERMS:
        raise Unsupported("an equation expands to too many terms")
    return a * b


def _negative(quotient: Quotient) -> Quotient:
    return -quotient[0], quotient[1]
