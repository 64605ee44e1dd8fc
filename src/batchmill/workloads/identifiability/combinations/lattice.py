"""Exact linear algebra for the search: residues to rationals, null spaces modulo a prime, short integer bases.

Nothing here knows of models; vectors are lists of integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import combinations, product

from flint import fmpz_mat, nmod_mat

Vector = tuple[int, ...]

_COMBINED = 3  # basis vectors that are added up for a candidate
_CANDIDATES = 6000


def rational(residue: int, prime: int) -> Fraction | None:
    """The fraction of least height that a residue stands for, when numerator and denominator are below sqrt(prime/2).

    P. S. Wang, "A p-adic algorithm for univariate partial fractions", SYMSAC 1981. It is unique when it exists.
    """
    bound = math.isqrt(prime // 2)
    r0, r1, t0, t1 = prime, residue % prime, 0, 1
    while r1 > bound:
        quotient = r0 // r1
        r0, r1, t0, t1 = r1, r0 - quotient * r1, t1, t0 - quotient * t1
    if t1 == 0 or abs(t1) > bound or math.gcd(r1, t1) != 1:
        return None
    return Fraction(r1, t1)


def residue(value: Fraction, prime: int) -> int:
    """The residue of a fraction whose denominator the prime does not divide."""
    return value.numerator * pow(value.denominator, -1, prime) % prime


def echelon(rows: Sequence[Sequence[int]], width: int, prime: int) -> tuple[list[list[int]], list[int]]:
    """The reduced echelon form without its zero rows, and its pivot columns."""
    if not rows or not width:
        return [], []
    reduced, rank = nmod_mat(len(rows), width, [int(v) for row in rows for v in row], prime).rref()
    table = [[int(reduced[i, j]) for j in range(width)] for i in range(rank)]
    return table, [next(j for j, v in enumerate(row) if v) for row in table]


def rank(rows: Sequence[Sequence[int]], width: int, prime: int) -> int:
    """The rank modulo a prime."""
    if not rows or not width:
        return 0
    return int(nmod_mat(len(rows), width, [int(v) for row in rows for v in row], prime).rank())


def product_of(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]], prime: int) -> list[list[int]]:
    """The matrix product modulo a prime."""
    if not a or not b:
        return []
    left, right = (nmod_mat(len(m), len(m[0]), [int(v) % prime for row in m for v in row], prime) for m in (a, b))
    return [[int(v) for v in row] for row in (left * right).tolist()]


def null_space(rows: Sequence[Sequence[int]], width: int, prime: int) -> list[list[int]]:
    """The basis of the vectors orthogonal to all rows, each with a 1 at its first entry, 0 there in all others."""
    reduced, pivots = echelon(rows, width, prime)
    taken = set(pivots)
    basis = []
    for free in (j for j in range(width) if j not in taken):
        vector = [0] * width
        vector[free] = 1
        for row, pivot in zip(reduced, pivots, strict=True):
            vector[pivot] = -row[free] % prime
        basis.append(vector)
    return echelon(basis, width, prime)[0]


def integers(vector: Sequence[int], prime: int) -> Vector | None:
    """The shortest whole-number multiple of a vector of residues, or None when one is no small fraction."""
    fractions: list[Fraction] = []
    for value in vector:
        found = rational(value, prime)
        if found is None:
            return None
        fractions.append(found)
    common = math.lcm(*(f.denominator for f in fractions))
    whole = [int(f * common) for f in fractions]
    divisor = math.gcd(*whole) or 1
    return tuple(v // divisor for v in whole)


def orthogonal_lattice(rows: Sequence[Vector], width: int) -> list[Vector]:
    """An LLL-reduced basis of all integer vectors orthogonal to the rows.

    The rows, much enlarged, stand beside the unit matrix: reduction brings the vectors that annul them to the top
    (H. Cohen, "A Course in Computational Algebraic Number Theory", section 2.7.2).
    """
    if not rows:
        return [tuple(int(i == j) for j in range(width)) for i in range(width)]
    bits = max(abs(v).bit_length() for row in rows for v in row)
    scale = 1 << (width + bits * len(rows) + 8)
    table = [[int(i == j) for j in range(width)] + [scale * row[i] for row in rows] for i in range(width)]
    reduced = fmpz_mat(table).lll().tolist()
    return [tuple(map(int, row[:width])) for row in reduced if not any(row[width:]) and any(row[:width])]


def reduced_basis(vectors: Sequence[Vector]) -> list[Vector]:
    """An LLL-reduced basis of the lattice that independent vectors span."""
    if len(vectors) < 2:
        return list(vectors)
    return [tuple(map(int, row)) for row in fmpz_mat([list(v) for v in vectors]).lll().tolist()]


def short_vectors(basis: Sequence[Vector], cost: Callable[[Vector], tuple[object, ...]]) -> list[Vector]:
    """Small sums of basis vectors, each in its cheaper sign, cheapest first."""
    found: set[Vector] = set()
    for size in range(1, min(_COMBINED, len(basis)) + 1):
        for chosen in combinations(basis, size):
            for factors in product((1, -1), repeat=size - 1):
                found.add(_cheaper(_weighted(chosen, (1, *factors)), cost))
            if len(found) > _CANDIDATES:
                return sorted(found, key=cost)
    return sorted(found, key=cost)


def _weighted(vectors: Iterable[Vector], factors: Iterable[int]) -> Vector:
    scaled = [[f * v for v in vector] for vector, f in zip(vectors, factors, strict=True)]
    return tuple(map(sum, zip(*scaled, strict=True)))


def _cheaper(vector: Vector, cost: Callable[[Vector], tuple[object, ...]]) -> Vector:
    divisor = math.gcd(*vector) or 1
    whole = tuple(v // divisor for v in vector)
    return min(whole, tuple(-v for v in whole), key=cost)


def is_primitive(vectors: Sequence[Vector]) -> bool:
    """Whether independent vectors generate every integer vector in their rational span: all invariants are 1."""
    form = fmpz_mat([list(v) for v in vectors]).snf()
    return all(abs(int(form[i, i])) == 1 for i in range(len(vectors)))
