"""Identifiable functions whose coefficients or exponents depend on parameters that are identifiable themselves.

Those parameters are held at one point, where coefficients are plain residues; how the residues move with each of
them tells which ones matter, and an ansatz in these few follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchmill.workloads.identifiability.combinations import ansatz
from batchmill.workloads.identifiability.combinations.ansatz import Row, Rows
from batchmill.workloads.identifiability.combinations.functions import Exponent, Function, Term
from batchmill.workloads.identifiability.combinations.lattice import Vector, rational
from batchmill.workloads.identifiability.combinations.search import MAX_TERMS, Component, offer_solutions

_MAX_SUPPORT = 8  # power products in one sum
_COEFFICIENT_DEGREES = (1, 2, 3)
_STEP = 5  # between two values of a parameter that is held


def search_exponents(component: Component, held: Mapping[str, int]) -> None:
    """Power products whose exponents are affine in the held parameters, such as `k*s**(2 - 2*n)`."""
    rows = ansatz.logarithmic_rows(component.names)
    for exponents in component.pool.holding(held).solve(rows, component.columns, len(component.names)):
        inverses = [pow(component.pool.point(0)[0][name], -1, component.pool.prime) for name in component.names]
        if component.complete:
            return
        if component.is_new([e * i for e, i in zip(exponents, inverses, strict=True)]):
            component.offer(_affine(component, held, exponents))


def _affine(component: Component, held: Mapping[str, int], base: Row) -> list[Function]:
    support = [i for i, e in enumerate(base) if e]
    names = [component.names[i] for i in support]
    moved = _moves(component, held, ansatz.logarithmic_rows(names), support, [base[i] for i in support], names)
    if moved is None:
        return []
    prime = component.pool.prime
    powers = []
    for place, name in enumerate(names):
        slopes = {
            k: (after[place] - base[support[place]]) * pow(_STEP, -1, prime) % prime for k, after in moved.items()
        }
        constant = base[support[place]] - sum(slope * held[k] for k, slope in slopes.items())
        exponent = _exponent(constant, slopes, prime)
        if exponent is None:
            return []
        powers.append((name, exponent))
    return [Function((Term(1, tuple(powers)),))]


def _exponent(constant: int, slopes: Mapping[str, int], prime: int) -> Exponent | None:
    whole = rational(constant, prime)
    found = {name: rational(slope, prime) for name, slope in slopes.items() if slope}
    if whole is None or None in found.values():
        return None
    return Exponent(whole, tuple((name, slope) for name, slope in found.items() if slope is not None))


def _moves(
    component: Component, held: Mapping[str, int], rows: Rows, support: Sequence[int], base: Row, names: Sequence[str]
) -> dict[str, Row] | None:
    """The solution on a support after a step of each held parameter that changes it; None if it ceases to exist."""
    moved = {}
    columns = [component.columns[i] for i in support]
    for name, value in held.items():
        stepped = component.pool.holding({**held, name: value + _STEP})
        solutions = stepped.solve(rows, columns, len(names))
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
    solutions = component.pool.holding(held).solve(rows, component.columns, len(products))
    solutions.sort(key=lambda row: sum(v != 0 for v in row))
    for solution in solutions:
        support = [i for i, c in enumerate(solution) if c]
        if component.complete or len(support) > _MAX_SUPPORT:
            return
        _extend(component, held, [products[i] for i in support], [solution[i] for i in support])


def _extend(component: Component, held: Mapping[str, int], products: Sequence[Vector], base: Row) -> None:
    """Offer sums of the products whose coefficients depend on those held parameters that move `base`."""
    rows = ansatz.polynomial_rows(component.names, products, len(component.names))
    everything = range(len(component.names))
    moved = _moves(component, held, rows, everything, base, [str(p) for p in products])
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
