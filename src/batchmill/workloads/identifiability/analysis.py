"""Local structural identifiability and observability from ranks of Taylor coefficients modulo primes.

The rows are Taylor coefficients of the outputs' sensitivities (`taylor`); their rank is that of the
observability-identifiability matrix. A variable is identifiable where its row of the null space is zero.

A rank modulo a prime, at a point, never exceeds the true one, and falls short of it with a probability of about
(degree of a minor) / prime. So the highest rank counts, and it must come out for two primes and random points.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from flint import nmod_mat

from batchmill.workloads.identifiability.model import Known, Model, Unsupported
from batchmill.workloads.identifiability.system import System, compile_system
from batchmill.workloads.identifiability.taylor import (
    MAX_ORDERS,
    Point,
    VanishingDenominator,
    output_sensitivities,
)

PRIMES = (2147483647, 2147483629, 2147483587, 2147483579, 2147483563, 2147483549, 2147483543, 2147483497)
"""The largest below 2**31."""

MAX_UNKNOWNS = 1000  # states and parameters
_DRAWS = 3  # of a point where no denominator vanishes; a random one vanishes with probability 1e-9


class Verdict(NamedTuple):
    """What an analysis found. `order` is that of the highest output derivative that added to the rank."""

    n_unknowns: int
    rank: int
    order: int
    identifiable: frozenset[str]  # parameters, and states whose initial value is observable or given


def analyse(model: Model, seed: int = 0) -> Verdict:
    """The verdict on a model under its options. Raises Unsupported for models outside the method's scope."""
    if model.unknown_inputs:
        raise Unsupported(f"`{model.unknown_inputs[0]}` is an unknown input, which this version cannot analyse")
    if len(model.states) + len(model.parameters) > MAX_UNKNOWNS:
        raise Unsupported(f"there are more than {MAX_UNKNOWNS:,} states and parameters")
    system = compile_system(model, constant_inputs=model.options.nonzero_input_derivatives == 0)
    generic = _agree(_Experiment(model, system, seed))
    if model.options.known is None or model.options.known.generic:
        return generic
    # specific values lower ranks, never raise them: the generic rank tells when to stop
    return _agree(_Experiment(model, system, seed, target=generic.rank))


def _agree(experiment: _Experiment) -> Verdict:
    """The first verdict of the highest rank that two primes and points agree on."""
    seen: list[Verdict] = []
    for prime in experiment.primes():
        verdict = experiment.run(prime)
        if verdict in seen and verdict.rank == max(v.rank for v in seen):
            return verdict
        seen.append(verdict)
    raise ArithmeticError("no two primes agree on the rank")


class _Experiment:
    """One model at random points. With a `target` rank, at its specific initial values; else at generic ones."""

    def __init__(self, model: Model, system: System, seed: int, target: int | None = None) -> None:
        self._model, self._system, self._seed, self._target = model, system, seed, target
        known = model.options.known or Known({}, generic=True)
        self._values = {} if target is None else known.values
        self._unknown = [i for i, state in enumerate(model.states) if state not in known.values]
        self._names = [model.states[i] for i in self._unknown] + list(model.parameters)
        # a generic analysis follows all states: only the rank over all of them stalls for good
        self._followed = list(range(len(model.states))) if target is None else self._unknown
        self._columns = [self._followed.index(i) for i in self._unknown]
        self._columns += range(len(self._followed), len(self._followed) + len(model.parameters))

    def primes(self) -> Iterator[int]:
        """Primes that divide no number of the model."""
        numbers = self._system.numbers() | {value for value in self._values.values() if value is not None}
        for prime in PRIMES:
            if all(n.denominator % prime and (n == 0 or n.numerator % prime) for n in numbers):
                yield prime

    def run(self, prime: int) -> Verdict:
        """The verdict at one random point modulo a prime."""
        for draw in range(_DRAWS):
            try:
                return self._verdict(self._rows(self._point(prime, draw), prime), prime)
            except VanishingDenominator:
                continue
        where = "at the given initial values" if self._values else "everywhere"
        raise Unsupported(f"a denominator is zero {where}")

    def _point(self, prime: int, draw: int) -> Point:
        source = random.Random(f"{self._seed} {prime} {draw}")
        system, derivatives = self._system, self._model.options.nonzero_input_derivatives

        def residue() -> int:
            return source.randrange(1, prime)

        def initial(state: str) -> int:
            value = self._values.get(state)
            return residue() if value is None else _modulo(value, prime)

        length = self._orders()
        free = length if derivatives is None else min(derivatives + 1, length)
        return Point(
            leaves={name: residue() for name in system.leaves},
            states=[initial(state) for state in self._model.states],
            inputs={name: [residue() for _ in range(free)] + [0] * (length - free) for name in system.inputs},
        )

    def _width(self) -> int:
        return len(self._followed) + len(self._model.parameters)

    def _patience(self) -> int:
        """Orders without growth after which a rank at specific values counts as final.

        There is no bound from theory: x' = 1 + a*x**m with x(0) = 0 shows `a` in derivative m + 1 first. Orders of
        vanishing grow by at most the degree with each state that a signal passes.
        """
        return (len(self._model.states) + 1) * (self._system.degree + 1) + self._width()

    def _orders(self) -> int:
        each = 1 if self._target is None else self._patience()
        return min((self._width() + 1) * each, MAX_ORDERS)

    def _rows(self, point: Point, prime: int) -> list[list[int]]:
        """The rows over the followed columns, up to the order where their rank is final."""
        outputs, width = len(self._model.outputs), self._width()
        pace = 1 + width // 16  # a rank costs about as much as some orders
        rows: list[list[int]] = []
        series = output_sensitivities(self._system, point, self._followed, self._orders(), prime)
        for order, block in enumerate(series):
            rows += block.tolist()
            due = order % pace == 0 or order + 1 == self._orders()
            if due and self._is_final(_growth(rows, width, prime), outputs, order):
                return rows
        raise Unsupported(f"the rank is not final after {MAX_ORDERS:,} derivatives")

    def _is_final(self, growth: Sequence[int], outputs: int, order: int) -> bool:
        """Whether later rows cannot add to the rank; `growth` holds the rows that did."""
        last = growth[-1] // outputs if growth else -1
        if self._target is not None:
            return len(growth) >= self._target or order - last >= self._patience()
        # at a generic point the span is closed under differentiation as soon as one derivative adds nothing to it
        orders_of_growth = {row // outputs for row in growth}
        return len(growth) == self._width() or len(orders_of_growth) <= order

    def _verdict(self, rows: list[list[int]], prime: int) -> Verdict:
        chosen = [[row[i] for i in self._columns] for row in rows]
        width = len(self._columns)
        growth = _growth(chosen, width, prime)
        fixed = [self._names[i] for i in _determined(chosen, width, prime)]
        given = set(self._model.states) - set(self._names)
        order = growth[-1] // len(self._model.outputs) if growth else 0
        return Verdict(width, len(growth), order, frozenset(fixed) | given)


def _modulo(value: Fraction, prime: int) -> int:
    return value.numerator * pow(value.denominator, -1, prime) % prime


def _growth(rows: list[list[int]], width: int, prime: int) -> list[int]:
    """The indexes of the rows that are independent of the rows before them."""
    if not rows or not width:
        return []
    echelon, rank = nmod_mat(len(rows), width, [v for row in rows for v in row], prime).transpose().rref()
    return _pivots(echelon, rank)


def _pivots(echelon: nmod_mat, rank: int) -> list[int]:
    pivots, column = [], 0
    for row in range(rank):
        while int(echelon[row, column]) == 0:
            column += 1
        pivots.append(column)
        column += 1
    return pivots


def _determined(rows: list[list[int]], width: int, prime: int) -> list[int]:
    """The columns whose entry is zero in every null vector: pivots alone in their row of the echelon form."""
    if not rows or not width:
        return []
    echelon, rank = nmod_mat(len(rows), width, [v for row in rows for v in row], prime).rref()
    pivots = _pivots(echelon, rank)
    free = [column for column in range(width) if column not in set(pivots)]
    return [pivot for row, pivot in enumerate(pivots) if all(int(echelon[row, column]) == 0 for column in free)]
