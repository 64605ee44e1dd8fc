"""Symmetries: vector fields on states and parameters whose flow changes no output, found and proved exactly.

What no output depends on is found first (`unseen`). In the rest, ansatzes with few unknown coefficients go first:
scalings (weight * variable), translations, affine and quadratic fields. Their determining equations (`determining`) are
linear in the coefficients; they are solved at random points modulo a prime, and each solution is checked as an identity
over the rationals. A parameter that a symmetry moves is proved to be non-identifiable.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import NamedTuple

from flint import fmpq_mpoly

from batchmill.workloads.identifiability.combinations.lattice import (
    Vector,
    integers,
    null_space,
    rank,
    reduced_basis,
    residue,
    short_vectors,
)
from batchmill.workloads.identifiability.determining import Equations
from batchmill.workloads.identifiability.model import Model, Options, Unsupported
from batchmill.workloads.identifiability.sampling import Sampler
from batchmill.workloads.identifiability.unseen import seen_part
from batchmill.workloads.identifiability.work import OutOfWork, Work

__all__ = ["WORK_LIMIT", "Symmetry", "find"]

MAX_UNKNOWNS = 500  # coefficients of one ansatz
WORK_LIMIT = 2_000_000  # operations: some seconds
_SPARE_ROWS = 8


@dataclass(frozen=True)
class Symmetry:
    """A vector field that the infinitesimal criterion holds for identically.

    `generator` maps each name that is moved to its component, as text. `weights` are those of a scaling: multiply
    each name by factor**weight, for any factor, and no output changes. `kind`: unseen (no output depends on the name),
    scaling, translation, affine or quadratic.
    """

    kind: str
    generator: Mapping[str, str]
    weights: Mapping[str, int]

    @property
    def moves(self) -> frozenset[str]:
        """The names that are proved to be non-identifiable or unobservable."""
        return frozenset(self.generator)


class _Unknown(NamedTuple):
    """One coefficient: that of a product of names in one component."""

    component: str
    factors: tuple[str, ...]


def find(
    model: Model, options: Options | None = None, seed: int = 0, work_limit: int = WORK_LIMIT
) -> tuple[Symmetry, ...]:
    """Independent symmetries of a model, at most as many as its null space has dimensions, by so much work at most.

    With unknown inputs, or equations that expand to too many terms, only what no output depends on is told. Values of
    initial conditions that are known stay as they are.
    """
    model = (model if options is None else replace(model, options=options)).resolved()
    search: _Search | None = None
    unseen: tuple[str, ...] = ()
    try:
        seen, unseen = seen_part(model)
        search = _Search(Equations(seen), Sampler(seen), seed, Work(work_limit))
        search.run()
    except (Unsupported, OutOfWork):
        pass
    alone = tuple(Symmetry("unseen", {name: "1"}, {}) for name in unseen)
    return alone + (tuple(search.found) if search else ())


class _Search:
    def __init__(self, equations: Equations, sampler: Sampler, seed: int, work: Work) -> None:
        self._equations, self._model, self._work = equations, equations.model, work
        self._random = random.Random(f"symmetries {seed}")
        sample = next(sampler.samples(seed))
        self._prime, vectors = sample.prime, sample.null_space()
        known = self._model.options.known
        self._known = {} if known is None else dict(known.values)
        self._wanted = len(vectors)
        moved = {name for i, name in enumerate(sampler.names) if any(v[i] for v in vectors)}
        # a state whose initial value is given can move later on
        self._moved = [name for name in sampler.names if name in moved or name in self._known]
        self._reference = self._point(at_start=True)
        self._directions: list[list[int]] = []
        self.found: list[Symmetry] = []

    def run(self) -> None:
        """Ansatz after ansatz until there is a symmetry for each dimension of the null space. Raises OutOfWork."""
        for kind, unknowns in self._ansatzes():
            if len(self.found) == self._wanted:
                return
            if 0 < len(unknowns) <= MAX_UNKNOWNS:
                self._solve(kind, unknowns)

    def _ansatzes(self) -> Iterator[tuple[str, list[_Unknown]]]:
        moved, held = self._moved, [name for name in self._equations.names if name not in self._moved]
        if self._model.options.nonzero_input_derivatives != 0:  # only constant inputs can stand in a symmetry
            held = [name for name in held if name not in self._model.inputs]
        yield "scaling", [_Unknown(name, (name,)) for name in moved]
        yield "translation", [_Unknown(name, ()) for name in moved]
        yield "affine", self._fields([(), *((name,) for name in moved)])
        pairs = list(combinations_with_replacement(moved, 2))
        yield "quadratic", self._fields([(), *((name,) for name in moved), *pairs])
        mixed = [tuple(sorted((a, b))) for a in held for b in moved]
        yield "quadratic", self._fields([(), *((name,) for name in (*held, *moved)), *mixed])
        every = sorted((*held, *moved))
        pairs = list(combinations_with_replacement(every, 2))
        yield "quadratic", self._fields([(), *((name,) for name in every), *pairs])

    def _fields(self, products: Sequence[tuple[str, ...]]) -> list[_Unknown]:
        """All products in all components, the most complex first; states stay out of a parameter's component."""
        states = set(self._model.states)
        ordered = sorted(products, key=len, reverse=True)
        return [_Unknown(m, p) for p in ordered for m in self._moved if m in states or not states & set(p)]

    def _solve(self, kind: str, unknowns: Sequence[_Unknown]) -> None:
        rows: list[list[int]] = []
        while len(rows) < len(unknowns) + _SPARE_ROWS:
            self._work.spend(2 * self._equations.size + len(unknowns) * (len(self._equations.all) + len(self._known)))
            rows += self._conditions(unknowns, self._point())
            rows += self._initial_conditions(unknowns, self._point(at_start=True))
        self._work.spend_on_elimination(len(rows), len(unknowns))
        solutions = null_space(rows, len(unknowns), self._prime)
        whole = [v for row in solutions if (v := integers(row, self._prime))]
        self._work.spend_on_candidates(len(whole), len(unknowns))
        for candidate in [*short_vectors(reduced_basis(whole), _cost(unknowns)), *whole]:
            if len(self.found) == self._wanted:
                return
            self._offer(kind, unknowns, candidate)

    def _offer(self, kind: str, unknowns: Sequence[_Unknown], coefficients: Vector) -> None:
        terms = [(u, c) for u, c in zip(unknowns, coefficients, strict=True) if c]
        direction = self._direction(terms)
        if rank([*self._directions, direction], len(direction), self._prime) <= len(self._directions):
            return
        if self._holds(terms):
            self._directions.append(direction)
            self.found.append(_symmetry(kind, terms))

    def _direction(self, terms: Sequence[tuple[_Unknown, int]]) -> list[int]:
        total = dict.fromkeys(self._moved, 0)
        for unknown, coefficient in terms:
            total[unknown.component] += coefficient * self._value(unknown.factors, self._reference)
        return [value % self._prime for value in total.values()]

    def _holds(self, terms: Sequence[tuple[_Unknown, int]]) -> bool:
        """The criterion over the rationals, and that known initial values stay."""
        field: dict[str, fmpq_mpoly] = {}
        for unknown, coefficient in terms:
            term = self._equations.ring.constant(coefficient)
            for name in unknown.factors:
                term *= self._equations.variable[name]
            field[unknown.component] = field.get(unknown.component, 0) + term
        values = {name: value for name, value in self._known.items() if value is not None}
        stays = all(self._equations.at(field[name], values).is_zero() for name in self._known if name in field)
        return stays and self._equations.annuls(field)

    def _point(self, *, at_start: bool = False) -> dict[str, int]:
        point = {name: self._drawn() for name in self._equations.names}
        given = self._known.items() if at_start else ()
        return point | {name: residue(value, self._prime) for name, value in given if value is not None}

    def _drawn(self) -> int:
        return self._random.randrange(1, self._prime)

    def _value(self, factors: Sequence[str], point: Mapping[str, int]) -> int:
        value = 1
        for name in factors:
            value = value * point[name] % self._prime
        return value

    def _conditions(self, unknowns: Sequence[_Unknown], point: Mapping[str, int]) -> list[list[int]]:
        """The determining equations at a point: one for each state and output."""
        values = [*point.values(), *(self._drawn() for _ in range(self._equations.functions))]
        evaluate = self._equations.evaluator(values, self._prime)
        slopes = {name: evaluate(slope) for name, slope in self._equations.slopes.items()}
        drifts = [self._drift(unknown, slopes, point) for unknown in unknowns]
        rows = []
        for index in range(len(self._equations.all)):
            name = self._model.states[index] if index < len(self._model.states) else ""
            entries = ((m, self._equations.partial(index, m)) for m in self._moved)
            partials = {m: evaluate(entry) if entry is not None else 0 for m, entry in entries}
            row = []
            for unknown, drift in zip(unknowns, drifts, strict=True):
                own = drift if unknown.component == name else 0
                row.append((own - self._value(unknown.factors, point) * partials[unknown.component]) % self._prime)
            rows.append(row)
        return rows

    def _drift(self, unknown: _Unknown, slopes: Mapping[str, int], point: Mapping[str, int]) -> int:
        """The derivative in time of a product of names."""
        total = 0
        for i, name in enumerate(unknown.factors):
            if name in slopes:
                total += slopes[name] * self._value(unknown.factors[:i] + unknown.factors[i + 1 :], point)
        return total

    def _initial_conditions(self, unknowns: Sequence[_Unknown], point: Mapping[str, int]) -> list[list[int]]:
        values = [self._value(unknown.factors, point) for unknown in unknowns]
        return [
            [value if unknown.component == name else 0 for unknown, value in zip(unknowns, values, strict=True)]
            for name in self._known
        ]


def _cost(unknowns: Sequence[_Unknown]) -> Callable[[Vector], tuple[int, ...]]:
    sizes = [len(unknown.factors) for unknown in unknowns]

    def cost(coefficients: Vector) -> tuple[int, ...]:
        used = [i for i, c in enumerate(coefficients) if c]
        negative = sum(coefficients[i] < 0 for i in used)
        return len(used), sum(sizes[i] for i in used), sum(abs(coefficients[i]) for i in used), negative, *used

    return cost


def _symmetry(kind: str, terms: Sequence[tuple[_Unknown, int]]) -> Symmetry:
    texts: dict[str, list[str]] = {}
    for unknown, coefficient in terms:
        product = "*".join(unknown.factors)
        scaled = f"{coefficient}*{product}" if product else str(coefficient)
        text = scaled if abs(coefficient) != 1 or not product else f"{'-' if coefficient < 0 else ''}{product}"
        texts.setdefault(unknown.component, []).append(text)
    generator = {name: " + ".join(parts).replace("+ -", "- ") for name, parts in texts.items()}
    weights = {unknown.component: coefficient for unknown, coefficient in terms} if kind == "scaling" else {}
    if kind == "quadratic" and all(len(unknown.factors) < 2 for unknown, _ in terms):
        kind = "affine"
    return Symmetry(kind, generator, weights)
