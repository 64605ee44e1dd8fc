"""Linear algebra modulo a prime: independent rows, null spaces and what they determine.

Vectors are lists of residues in range(prime).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from flint import nmod_mat

Vectors = Sequence[Sequence[int]]


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
