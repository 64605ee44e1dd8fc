"""Identifiable functions whose coefficients or exponents depend on parameters that are identifiable themselves.

Those parameters are held at one point, where coefficients are plain residues; how the residues move with each of
them tells which ones matter, and an ansatz in these few follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, islice
from operator import mul

from batchmill.workloads.identifiability.combinations import ansatz
from batchmill.workloads.identifiability.combinations.ansatz import Row, Rows
from batchmill.workloads.identifiability.combinations.functions import Exponent, Function, Term
from batchmill.workloads.identifiability.combinations.lattice import Vector, rational
from batchmill.workloads.identifiability.combinations.search import MAX_TERMS, Component, offer_solutions

_MAX_SUPPORT = 8  # power products in one sum
_MAX_SUPPORTS = 200  # sets of names that are tried
_COEFFICIENT_DEGREES = (1, 2, 3)
_STEP = 5  # between two values of a parameter that is held


def search_exponents(component: Component, held: Mapping[str, int]) -> None:
    """Power products whose exponents are affine in the held parameters, such as `k*s**(2 - 2*n)`.

    Of as few names as can be: there the exponents are unique up to a factor, and with one of them 1 often affine.
    """
    around = _Around(component, held)
    width = len(component.names)
    solutions = around.base.solve(ansatz.logarithmic_rows(component.names), component.columns, width)
    for support in islice(combinations(range(width), width - len(solutions) + 1), _MAX_SUPPORTS if solutions else 0):
        if component.complete:
            return
        _offer_affine(component, around, support)


def _offer_affine(component: Component, around: _Around, support: Sequence[int]) -> None:
    names, prime = [component.names[i] for i in support], component.pool.prime
    rows = ansatz.logarithmic_rows(names)
    columns = [component.columns[i] for i in support]
    solutions = around.base.solve(rows, columns, len(names))
    if len(solutions) != 1:
        return
    if not all(solutions[0]):
        _offer_affine(component, around, [i for i, e in zip(support, solutions[0], strict=True) if e])
        return
    inverses = [pow(component.pool.point(0)[0][name], -1, prime) for name in names]
    direction = dict(zip(support, map(mul, solutions[0], inverses), strict=True))
    if component.is_new([direction.get(i, 0) for i in range(len(component.names))]):
        moved = around.moves(rows, columns, solutions[0])
        for place in range(len(names)) if moved is not None else ():
            component.offer(_affine(around.held, names, solutions[0], moved or {}, place, prime), 1)


def _affine(
    held: Mapping[str, int], names: Sequence[str], base: Row, moved: Mapping[str, Row], one: int, prime: int
) -> list[Function]:
    """The power product where the exponent of the name at this place is 1, if the others are affine then."""
    base = _divided(base, one, prime)
    powers = []
    for place, name in enumerate(names):
        slopes = {
            k: (_divided(after, one, prime)[place] - base[place]) * pow(_STEP, -1, prime) % prime
            for k, after in moved.items()
        }
        constant = base[place] - sum(slope * held[k] for k, slope in slopes.items())
        exponent = _exponent(constant, slopes, prime)
        if exponent is None:
            return []
        powers.append((name, exponent))
    return [Function((Term(1, tuple(powers)),))]


def _divided(row: Row, place: int, prime: int) -> Row:
    inverse = pow(row[place], -1, prime)
    return [value * inverse % prime for value in row]


def _exponent(constant: int, slopes: Mapping[str, int], prime: int) -> Exponent | None:
    whole = rational(constant, prime)
    found = {name: rational(slope, prime) for name, slope in slopes.items() if slope}
    if whole is None or None in found.values():
        return None
    return Exponent(whole, tuple((name, slope) for name, slope in found.items() if slope is not None))


class _Around:
    """Points where the held parameters have their values, and those where one of them is a step on."""

    def __init__(self, component: Component, held: Mapping[str, int]) -> None:
        self.held = held
        self.base = component.pool.holding(held)
        self._stepped = {name: component.pool.holding({**held, name: value + _STEP}) for name, value in held.items()}

    def moves(self, rows: Rows, columns: Sequence[int], base: Row) -> dict[str, Row] | None:
        """The one solution after a step of each held parameter that changes it; None if it ceases to exist."""
        moved = {}
        for name, stepped in self._stepped.items():
            solutions = stepped.solve(rows, columns, len(base))
            if len(solutions) != 1:
                return None
            if solutions[0] != base:
                moved[name] = solutions[0]
        return moved


def search_coefficients(component: Component, held: Mapping[str, int], degree: int, *, negative: bool) -> None:
    """Sums of power products with coefficients that are polynomials in the held parameters."""
    if ansatz.size_of(len(component.names), degree, negative=negative) > MAX_TERMS:
        return
    products = ansatz.power_products(len(component.names), degree, negative=negative)
    rows = ansatz.polynomial_rows(component.names, products, len(component.names))
    around = _Around(component, held)
    solutions = around.base.solve(rows, component.columns, len(products))
    solutions.sort(key=lambda row: sum(v != 0 for v in row))
    for solution in solutions:
        support = [i for i, c in enumerate(solution) if c]
        if component.complete or len(support) > _MAX_SUPPORT:
            return
        _extend(component, around, [products[i] for i in support], [solution[i] for i in support])


def _extend(component: Component, around: _Around, products: Sequence[Vector], base: Row) -> None:
    """Offer sums of the products whose coefficients depend on those held parameters that move `base`."""
    rows = ansatz.polynomial_rows(component.names, products, len(component.names))
    moved = around.moves(rows, component.columns, base)
    if not moved:
        return
    for degree in _COEFFICIENT_DEGREES:
        factors = [(0,) * len(moved), *ansatz.power_products(len(moved), degree, negative=False)]
        joint = [p + f for p in products for f in factors]
        if component.complete or len(joint) > MAX_TERMS:
            return
        joint.sort(key=ansatz.complexity, reverse=True)
        names = [*component.names, *moved]
        conditions = ansatz.polynomial_rows(names, joint, len(component.names))
        solutions = component.pool.solve(conditions, component.columns, len(joint))
        offer_solutions(component, names, joint, solutions)
        if solutions:
            return


__all__ = ["search_coefficients", "search_exponents"]
