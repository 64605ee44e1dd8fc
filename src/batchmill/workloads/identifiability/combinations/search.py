"""The search for identifiable functions on one connected component: from power products to sums, simplest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batchmill.workloads.identifiability.combinations import ansatz
from batchmill.workloads.identifiability.combinations.functions import Function
from batchmill.workloads.identifiability.combinations.lattice import (
    Vector,
    echelon,
    integers,
    is_primitive,
    null_space,
    orthogonal_lattice,
    product_of,
    rank,
    reduced_basis,
    short_vectors,
)
from batchmill.workloads.identifiability.combinations.pool import Pool

MAX_TERMS = 500  # power products in one ansatz
_FRESH = 2  # points at which a candidate must hold once more


class Component:
    """Parameters that share null vectors, how many independent functions they have, and those found so far."""

    def __init__(self, names: Sequence[str], columns: Sequence[int], expected: int, pool: Pool, fresh: Pool) -> None:
        self.names, self.columns, self.expected = list(names), list(columns), expected
        self.pool, self.found = pool, list[Function]()
        self._fresh = fresh
        self._directions: list[list[int]] = []

    @property
    def complete(self) -> bool:
        return len(self.found) >= self.expected

    def offer(self, functions: Iterable[Function], most: int | None = None) -> None:
        """Take, in order, those that are independent of the ones at hand and hold at fresh points; so many at most."""
        enough = self.expected if most is None else min(self.expected, len(self.found) + most)
        for function in functions:
            if len(self.found) >= enough:
                return
            direction = self.direction(function)
            if self.is_new(direction) and self._holds(function):
                self.found.append(function)
                self._directions.append(direction)

    def direction(self, function: Function) -> list[int]:
        """The gradient at the first point."""
        return function.direction(self.pool.point(0)[0], self.names, self.pool.prime)

    def gain(self, directions: Sequence[Sequence[int]]) -> int:
        """How many functions of these gradients could be taken."""
        return rank([*self._directions, *directions], len(self.names), self.pool.prime) - len(self._directions)

    def is_new(self, direction: Sequence[int]) -> bool:
        """Whether a gradient is independent of those found."""
        return self.gain([direction]) == 1

    def _holds(self, function: Function) -> bool:
        """Whether the gradient is orthogonal to every null vector at fresh points, modulo another prime."""
        prime = self._fresh.prime
        for index in range(_FRESH):
            values, vectors = self._fresh.point(index)
            gradient = function.direction(values, self.names, prime)
            for vector in vectors:
                if sum(g * vector[c] for g, c in zip(gradient, self.columns, strict=True)) % prime:
                    return False
        return True


def search_power_products(component: Component) -> None:
    """Power products of any degree: the integer vectors orthogonal to all (v_i / theta_i).

    The ones taken are a basis of all of them where one of short vectors exists, so that each identifiable power
    product is a product of these.
    """
    pool, width = component.pool, len(component.names)
    exponents = pool.solve(ansatz.logarithmic_rows(component.names), component.columns, width)
    constraints = [integers(row, pool.prime) for row in null_space(exponents, width, pool.prime)]
    if not exponents or None in constraints:
        vectors = [v for row in exponents if (v := integers(row, pool.prime))]
    else:
        vectors = orthogonal_lattice([c for c in constraints if c], width)
    gain = component.gain([component.direction(ansatz.monomial(component.names, e)) for e in vectors])
    candidates = short_vectors(vectors, ansatz.monomial_cost)
    basis = _primitive(candidates, len(vectors), width, pool.prime)
    component.offer((ansatz.monomial(component.names, e) for e in [*basis, *candidates]), gain)


def _primitive(candidates: Sequence[Vector], wanted: int, width: int, prime: int) -> list[Vector]:
    chosen: list[Vector] = []
    for vector in candidates:
        if len(chosen) == wanted:
            break
        rows = [*chosen, vector]
        if rank([[v % prime for v in row] for row in rows], width, prime) == len(rows) and is_primitive(rows):
            chosen = rows
    return chosen


def search_sums(component: Component, degree: int, *, negative: bool) -> None:
    """Sums of power products of at most this degree, with rational coefficients."""
    if ansatz.size_of(len(component.names), degree, negative=negative) > MAX_TERMS:
        return
    products = ansatz.power_products(len(component.names), degree, negative=negative)
    rows = ansatz.polynomial_rows(component.names, products, len(component.names))
    solutions = component.pool.solve(rows, component.columns, len(products))
    offer_solutions(component, component.names, products, solutions)


def offer_solutions(
    component: Component, names: Sequence[str], products: Sequence[Vector], solutions: Sequence[Sequence[int]]
) -> None:
    """Offer the simplest integer vectors in the span of the solutions."""
    prime = component.pool.prime
    whole = [v for row in solutions if (v := integers(row, prime))]
    slopes = ansatz.gradients(names, products, len(component.names), component.pool.point(0)[0], prime)
    gain = component.gain(product_of(whole, slopes, prime))
    if not gain:
        return
    component.pool.work.spend_on_candidates(len(whole), len(products))
    cost = ansatz.polynomial_cost(products)
    candidates = short_vectors(whole, cost) + short_vectors(reduced_basis(whole), cost)
    candidates.sort(key=cost)
    component.offer((ansatz.polynomial(names, products, c) for c in candidates), gain)


def search_ratios(component: Component, degree: int) -> None:
    """Ratios of two sums of power products of at most this degree.

    Solutions are alternating matrices; those of rank two are the minors of a pair (numerator, denominator), which
    their rows span.
    """
    width = len(component.names)
    count = ansatz.size_of(width, degree, negative=False) + 1
    size = count * (count - 1) // 2
    if size > MAX_TERMS:
        return
    products = [*ansatz.power_products(width, degree, negative=False), (0,) * width]
    solutions = component.pool.solve(ansatz.ratio_rows(component.names, products), component.columns, size)
    cost = ansatz.polynomial_cost(products)
    for solution in sorted(solutions, key=lambda row: sum(v != 0 for v in row)):
        pair = _pair(solution, count, component.pool.prime)
        if pair:
            below, above = short_vectors(pair, cost)[:2]
            component.offer([ansatz.ratio(component.names, products, above, below)])


def _pair(minors: Sequence[int], count: int, prime: int) -> list[Vector]:
    """A short basis of the row space of an alternating matrix, when its rank is two."""
    matrix = [[0] * count for _ in range(count)]
    places = [(i, j) for i in range(count) for j in range(i + 1, count)]
    for (i, j), value in zip(places, minors, strict=True):
        matrix[i][j], matrix[j][i] = value, -value % prime
    rows = echelon(matrix, count, prime)[0]
    whole = [v for row in rows if (v := integers(row, prime))]
    return reduced_basis(whole) if len(rows) == len(whole) == 2 else []
