"""Linear conditions on the coefficients of an ansatz, one for each null vector at each sampled point.

A function g of the parameters theta is identifiable where its gradient is orthogonal to every null vector v:

- a power product prod theta_i**e_i, where sum e_i v_i / theta_i = 0: exponents of any size come out at once;
- a sum of given power products m_t with coefficients c_t, where sum c_t m_t (sum e_ti v_i / theta_i) = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise, product
from math import comb

import numpy as np
import numpy.typing as npt

from batchmill.workloads.identifiability.combinations.functions import Function, Term, power_product
from batchmill.workloads.identifiability.combinations.lattice import Vector

Row = list[int]
Residues = npt.NDArray[np.int64]
Rows = Callable[[Mapping[str, int], Sequence[Row], int], list[Row]]
"""Conditions from the residues at a point, the null vectors there (over the ansatz' names), and the prime."""


def logarithmic_rows(names: Sequence[str]) -> Rows:
    """Conditions on the exponents of a power product of `names`."""

    def rows(point: Mapping[str, int], vectors: Sequence[Row], prime: int) -> list[Row]:
        inverses = [pow(point[name], -1, prime) for name in names]
        return [[v * i % prime for v, i in zip(vector, inverses, strict=True)] for vector in vectors]

    return rows


def polynomial_rows(names: Sequence[str], exponents: Sequence[Vector], varying: int) -> Rows:
    """Conditions on the coefficients of power products; null vectors are over the first `varying` names only."""
    table = np.array(exponents, dtype=np.int64)

    def rows(point: Mapping[str, int], vectors: Sequence[Row], prime: int) -> list[Row]:
        values = _values(table, [point[name] for name in names], prime)
        inverses = [pow(point[name], -1, prime) for name in names[:varying]]
        slopes = [_logarithmic_slopes(table, vector, inverses, prime) for vector in vectors]
        return [(slope * values % prime).tolist() for slope in slopes]

    return rows


def gradients(
    names: Sequence[str], exponents: Sequence[Vector], varying: int, point: Mapping[str, int], prime: int
) -> list[Row]:
    """The gradient of each power product with respect to the first `varying` names."""
    table = np.array(exponents, dtype=np.int64)
    values = _values(table, [point[name] for name in names], prime)
    inverses = np.array([pow(point[name], -1, prime) for name in names[:varying]], dtype=np.int64)
    slopes: list[Row] = (table[:, :varying] % prime * inverses % prime * values[:, None] % prime).tolist()
    return slopes


def ratio_rows(names: Sequence[str], exponents: Sequence[Vector]) -> Rows:
    """Conditions on the minors p_s q_t - p_t q_s (s < t) of a ratio of two sums, sum p_s m_s / sum q_t m_t.

    The derivative of P / Q along v vanishes where Q vP - P vQ does, which is linear in the minors of (P, Q).
    """
    table = np.array(exponents, dtype=np.int64)
    first, second = np.triu_indices(len(table), 1)

    def rows(point: Mapping[str, int], vectors: Sequence[Row], prime: int) -> list[Row]:
        values = _values(table, [point[name] for name in names], prime)
        inverses = [pow(point[name], -1, prime) for name in names]
        products = values[first] * values[second] % prime
        slopes = [_logarithmic_slopes(table, vector, inverses, prime) for vector in vectors]
        return [((slope[first] - slope[second]) % prime * products % prime).tolist() for slope in slopes]

    return rows


def _values(table: Residues, point: Sequence[int], prime: int) -> Residues:
    """The power products at a point."""
    values = np.ones(len(table), dtype=np.int64)
    for column, value in enumerate(point):
        lowest = int(table[:, column].min())
        powers = [pow(value, e, prime) for e in range(lowest, int(table[:, column].max()) + 1)]
        values = values * np.array(powers, dtype=np.int64)[table[:, column] - lowest] % prime
    return values


def _logarithmic_slopes(table: Residues, vector: Row, inverses: Sequence[int], prime: int) -> Residues:
    """The derivatives of the power products along a vector, each divided by the product itself."""
    total = np.zeros(len(table), dtype=np.int64)
    for column, (entry, inverse) in enumerate(zip(vector, inverses, strict=True)):
        total = (total + table[:, column] % prime * (entry * inverse % prime)) % prime
    return total


def power_products(count: int, degree: int, *, negative: bool) -> list[Vector]:
    """All exponents of `count` names whose absolute values add up to 1..degree, the most complex first."""
    found = []
    for total in range(1, degree + 1):
        for places in _compositions(total, count):
            nonzero = [i for i, e in enumerate(places) if e]
            for signs in product((1, -1), repeat=len(nonzero)) if negative else [(1,) * len(nonzero)]:
                signed = dict(zip(nonzero, signs, strict=True))
                found.append(tuple(e * signed.get(i, 1) for i, e in enumerate(places)))
    return sorted(found, key=complexity, reverse=True)


def size_of(count: int, degree: int, *, negative: bool) -> int:
    """How many power products `power_products` would list."""
    if not negative:
        return comb(count + degree, degree) - 1
    return sum(comb(count, k) * comb(degree, k) * 2**k for k in range(1, min(count, degree) + 1))


def complexity(exponents: Vector) -> tuple[int, int, Vector]:
    """Orders power products: by degree, then by the number of negative exponents."""
    return sum(map(abs, exponents)), sum(e < 0 for e in exponents), exponents


def _compositions(total: int, count: int) -> Iterator[Vector]:
    for bars in combinations(range(total + count - 1), count - 1):
        edges = (-1, *bars, total + count - 1)
        yield tuple(b - a - 1 for a, b in pairwise(edges))


def monomial(names: Sequence[str], exponents: Vector) -> Function:
    """The power product as a function."""
    return Function((power_product(zip(names, exponents, strict=True)),))


def polynomial(names: Sequence[str], products: Sequence[Vector], coefficients: Vector) -> Function:
    """The sum as a function, its terms in order of descending simplicity."""
    return Function(_terms(names, products, coefficients))


def ratio(names: Sequence[str], products: Sequence[Vector], above: Vector, below: Vector) -> Function:
    """The ratio of two sums as a function."""
    return Function(_terms(names, products, above), _terms(names, products, below))


def _terms(names: Sequence[str], products: Sequence[Vector], coefficients: Vector) -> tuple[Term, ...]:
    used = [(e, c) for e, c in zip(products, coefficients, strict=True) if c]
    used.sort(key=lambda pair: (complexity(pair[0])[:2], [-e for e in pair[0]]))
    return tuple(power_product(zip(names, e, strict=True), c) for e, c in used)


def monomial_cost(exponents: Vector) -> tuple[int, int, int, Vector]:
    """Low degree, then few negative exponents, then few names."""
    first = tuple(-e for e in exponents)
    return sum(map(abs, exponents)), sum(e < 0 for e in exponents), sum(e != 0 for e in exponents), first


def polynomial_cost(products: Sequence[Vector]) -> Callable[[Vector], tuple[int, ...]]:
    """Few terms, low degree, few negative exponents, small coefficients, and a positive sign."""
    degrees = [sum(map(abs, e)) for e in products]
    negatives = [sum(x < 0 for x in e) for e in products]

    def cost(coefficients: Vector) -> tuple[int, ...]:
        used = [i for i, c in enumerate(coefficients) if c]
        return (
            len(used),
            sum(degrees[i] for i in used),
            sum(negatives[i] for i in used),
            sum(abs(coefficients[i]) for i in used),
            sum(coefficients[i] < 0 for i in used),
            -coefficients[used[-1]] if used else 0,
            *used,
        )

    return cost
