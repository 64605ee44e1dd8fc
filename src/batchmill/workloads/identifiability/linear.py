"""Linear algebra modulo a prime: independent rows, null spaces and what they determine.

Vectors are lists of residues in range(prime).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Generic, TypeVar

from flint import fmpz, nmod_mat

Vectors = Sequence[Sequence[int]]
K = TypeVar("K")


def reduced(rows: Vectors, width: int, prime: int) -> tuple[list[list[int]], list[int]]:
    """The reduced row echelon form without zero rows, and the column of the leading 1 of each row."""
    if not rows or not width:
        return [], []
    echelon, rank = nmod_mat(len(rows), width, [v for row in rows for v in row], prime).rref()
    pivots = _pivots(echelon, rank)
    return [[int(echelon[row, column]) for column in range(width)] for row in range(rank)], pivots


def rank(rows: Vectors, width: int, prime: int) -> int:
    """The number of independent rows."""
    if not rows or not width:
        return 0
    return int(nmod_mat(len(rows), width, [v for row in rows for v in row], prime).rank())


def independent(rows: Vectors, width: int, prime: int) -> list[int]:
    """The indexes of the rows that are independent of the rows before them."""
    if not rows or not width:
        return []
    echelon, found = nmod_mat(len(rows), width, [v for row in rows for v in row], prime).transpose().rref()
    return _pivots(echelon, found)


def _pivots(echelon: Any, found: int) -> list[int]:
    pivots, column = [], 0
    for row in range(found):
        while int(echelon[row, column]) == 0:
            column += 1
        pivots.append(column)
        column += 1
    return pivots


def null_space(rows: Vectors, width: int, prime: int) -> list[list[int]]:
    """A basis of the vectors that every row maps to zero."""
    echelon, pivots = reduced(rows, width, prime)
    free = sorted(set(range(width)) - set(pivots))
    basis = [[0] * width for _ in free]
    for vector, column in zip(basis, free, strict=True):
        vector[column] = 1
        for row, pivot in zip(echelon, pivots, strict=True):
            vector[pivot] = -row[column] % prime
    return basis


def determined(null_vectors: Vectors, width: int) -> list[int]:
    """The columns, of the first `width`, whose entry is zero in every null vector."""
    return [column for column in range(width) if not any(vector[column] for vector in null_vectors)]


def rational(residue: int, prime: int, bound: int) -> Fraction | None:
    """The fraction below `bound` in numerator and denominator that a residue stands for, if there is one.

    P. S. Wang, "A p-adic algorithm for univariate partial fractions", SYMSAC 1981. It is unique for 2 bound**2 < prime.
    """
    above, below, old, new = prime, residue % prime, 0, 1
    while below >= bound:
        quotient = above // below
        above, below = below, above - quotient * below
        old, new = new, old - quotient * new
    return Fraction(below, new) if abs(new) < bound else None


def power(value: int, exponent: int, prime: int) -> int:
    """A power of a residue, also a negative one: for many digits in a fraction of the time that `pow` takes."""
    return int(pow(fmpz(value), exponent, prime))


class Span(Generic[K]):
    """Vectors modulo a prime, each under a key, and the rational relations of others to them."""

    def __init__(self, prime: int, bound: int) -> None:
        self._prime, self._bound = prime, bound
        self._rows: list[tuple[int, list[int], dict[K, int]]] = []  # pivot, vector, what it is made of

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, key: K, vector: Sequence[int]) -> None:
        """Add a vector, unless it depends on those that are there."""
        rest, made = self._reduce(vector)
        pivot = next((i for i, value in enumerate(rest) if value), None)
        if pivot is None:
            return
        scale = power(rest[pivot], -1, self._prime)
        combination = {old: -value * scale % self._prime for old, value in made.items()} | {key: scale}
        self._rows.append((pivot, [value * scale % self._prime for value in rest], combination))

    def relation(self, vector: Sequence[int]) -> dict[K, Fraction] | None:
        """The factors that make a vector from those that are there, if they are rational."""
        rest, made = self._reduce(vector)
        if any(rest):
            return None
        factors = {key: rational(value, self._prime, self._bound) for key, value in made.items()}
        return {key: f for key, f in factors.items() if f} if None not in factors.values() else None

    def _reduce(self, vector: Sequence[int]) -> tuple[list[int], dict[K, int]]:
        rest, made = list(vector), dict[K, int]()
        for pivot, row, combination in self._rows:
            factor = rest[pivot]
            if factor:
                rest = [(a - factor * b) % self._prime for a, b in zip(rest, row, strict=True)]
                for key, value in combination.items():
                    made[key] = (made.get(key, 0) + factor * value) % self._prime
        return rest, made
