"""The infinitesimal criterion for symmetries of a model, exactly over the rationals and modulo a prime.

A vector field xi on states and parameters leaves the outputs unchanged in every solution of x' = f, y = h where

    sum_j f_j d(xi_i)/dx_j = sum_k xi_k d(f_i)/dz_k   for each state and (f = 0) each parameter i,
    sum_k xi_k dh/dz_k = 0                            for each output h,

identically in states, parameters and inputs; z are states and parameters. (P. J. Olver, "Applications of Lie Groups
to Differential Equations", section 2.3; B. Merkt, J. Timmer, D. Kaschek, Phys. Rev. E 92 (2015) 012920.) Values of
exp, log, sin and cos are variables of their own, with their derivatives: what holds for these holds for the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from flint import fmpq, fmpq_mpoly, fmpq_mpoly_ctx, fmpz

from batchmill.workloads.identifiability.circuit import Op
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.system import compile_system

MAX_TERMS = 20_000  # of a polynomial, bounded before it is multiplied out

Quotient = tuple[fmpq_mpoly, fmpq_mpoly]
Field = Mapping[str, fmpq_mpoly]
"""The components of a vector field that are not zero."""


class Equations:
    """The right-hand sides (in the order of the states), then the outputs of a model as quotients of polynomials.

    `names` are the variables in the order of the ring; after them come `functions` more for values of functions.
    Raises Unsupported for models that have unknown inputs or expand to too many terms.
    """

    def __init__(self, model: Model) -> None:
        if model.unknown_inputs:
            raise Unsupported("symmetries of models with unknown inputs are not searched")
        self.model = model
        system = compile_system(model, constant_inputs=True)
        generic = [name for name, value in model.constants.items() if value is None]
        self.names = (*model.states, *model.parameters, *model.inputs, *generic)
        self._circuit = system.circuit
        called = [index for index in system.nodes if self._circuit.nodes[index].op >= Op.EXP]
        self.functions = len(called)
        self.ring = fmpq_mpoly_ctx.get([f"z{i}" for i in range(len(self.names) + len(called))])
        gens = self.ring.gens()
        self.variable = dict(zip(self.names, gens, strict=False))
        self._index = {name: i for i, name in enumerate(self.names)}
        self._one = self.ring.constant(1)
        self._known: dict[int, Quotient] = {
            index: (gen, self._one) for index, gen in zip(called, gens[len(self.names) :], strict=True)
        }
        for index in system.nodes:  # in topological order
            if index not in self._known:
                self._known[index] = self._quotient(index)
        self.all = [self._known[root] for root in system.roots]
        self.slopes = dict(zip(model.states, self.all, strict=False))
        self._partials = {
            (row, names[column]): self._known[node]
            for names, entries in ((model.states, system.jacobian), (model.parameters, system.forcing))
            for (row, column), node in entries.items()
        }
        self.size = sum(len(part) for quotient in (*self.all, *self._partials.values()) for part in quotient)

    def annuls(self, field: Field) -> bool:
        """Whether a field meets the criterion identically."""
        drifts = {name: self._drift(component) for name, component in field.items()}
        for index in range(len(self.all)):
            terms = [_negative(self._change(field, index))]
            if index < len(self.model.states) and self.model.states[index] in drifts:
                terms.append(drifts.pop(self.model.states[index]))
            if not self._sum(terms)[0].is_zero():
                return False
        return all(above.is_zero() for above, _ in drifts.values())

    def _change(self, field: Field, index: int) -> Quotient:
        """The derivative of a quotient along a field."""
        partials = ((component, self.partial(index, name)) for name, component in field.items())
        return self._sum([(_product(component, p[0]), p[1]) for component, p in partials if p is not None])

    def at(self, component: fmpq_mpoly, values: Mapping[str, Fraction]) -> fmpq_mpoly:
        """A polynomial with some of its names replaced by numbers."""
        replaced: dict[str | int, int | fmpz | fmpq] = {
            f"z{self._index[name]}": fmpq(v.numerator, v.denominator) for name, v in values.items()
        }
        return component.subs(replaced)

    def partial(self, index: int, name: str) -> Quotient | None:
        """The partial derivative of a quotient of `all` with respect to a state or parameter; None where it is zero."""
        return self._partials.get((index, name))

    def evaluator(self, values: Sequence[int], prime: int) -> Callable[[Quotient], int]:
        """Evaluates quotients modulo a prime at a point of as many values as the ring has variables.

        Raises Unsupported where a denominator vanishes.
        """

        def polynomial(given: fmpq_mpoly) -> int:
            total = 0
            for exponents, coefficient in given.terms():
                value = int(coefficient.p) * pow(int(coefficient.q), -1, prime)
                for base, exponent in zip(values, exponents, strict=True):
                    if exponent:
                        value = value * pow(base, int(exponent), prime) % prime
                total += value
            return total % prime

        def quotient(given: Quotient) -> int:
            below = polynomial(given[1])
            if below == 0:
                raise Unsupported("a denominator vanishes")
            return polynomial(given[0]) * pow(below, -1, prime) % prime

        return quotient

    def _drift(self, component: fmpq_mpoly) -> Quotient:
        terms = []
        for name, (above, below) in self.slopes.items():
            slope = component.derivative(self._index[name])
            if not slope.is_zero():
                terms.append((_product(above, slope), below))
        return self._sum(terms)

    def _sum(self, terms: Sequence[Quotient]) -> Quotient:
        above, below = self.ring.constant(0), self._one
        for numerator, denominator in terms:
            common = below.gcd(denominator)
            left, right = denominator / common, below / common
            above, below = _product(above, left) + _product(numerator, right), _product(below, left)
        return above, below

    def _quotient(self, index: int) -> Quotient:
        """A node of the circuit, from those before it."""
        node = self._circuit.nodes[index]
        if node.op is Op.NUMBER:
            value = node.arguments[0]
            return self.ring.constant(fmpq(value.numerator, value.denominator)), self._one
        if node.op is Op.LEAF:
            return self.variable[node.arguments[0]], self._one
        parts = [self._known[argument] for argument in node.arguments]
        if node.op is Op.ADD:
            return self._sum(parts)
        if node.op is Op.INV:
            return parts[0][1], parts[0][0]
        (above, below), (numerator, denominator) = parts
        return _reduced(_product(above, numerator), _product(below, denominator))


def _reduced(above: fmpq_mpoly, below: fmpq_mpoly) -> Quotient:
    common = above.gcd(below)
    return above / common, below / common


def _product(a: fmpq_mpoly, b: fmpq_mpoly) -> fmpq_mpoly:
    if len(a) * len(b) > MAX_TERMS:
        raise Unsupported("an equation expands to too many terms")
    return a * b


def _negative(quotient: Quotient) -> Quotient:
    return -quotient[0], quotient[1]
