"""Lists and matrices of a Python model file: what is at an index, and how many elements a call makes.

A value is an Expression, or a list of values, each with the offset where it stands. How files are read is in
`nullstrike`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

from batchmill.workloads.identifiability.expressions import Expression, ExpressionError, Number
from batchmill.workloads.identifiability.formats.vectors import flat

Item = tuple[Any, int]
MAX_MADE = 1000  # elements of a list that one call, repetition or copy makes


class Matrix(list[Item]):
    """A sympy matrix: its elements row by row, found by one index or by row and column."""

    def __init__(self, items: Sequence[Item], columns: int) -> None:
        super().__init__(items)
        self.columns = columns


def matrix(value: Any, offset: int) -> Matrix:
    """A list as a column, a list of lists by its rows. Raises ExpressionError for rows of different lengths."""
    rows = value if isinstance(value, list) else [(value, offset)]
    lengths = {len(row) if isinstance(row, list) else 1 for row, _ in rows}
    columns = value.columns if isinstance(value, Matrix) else min(lengths, default=1)
    if len(lengths) > 1:
        raise ExpressionError("the rows of this matrix have different lengths", offset)
    items = list(islice(flat(value, offset), MAX_MADE + 1))
    _check_count(len(items))
    return Matrix(items, columns)


def array(value: Any, _offset: int) -> Any:
    """A numpy array: a list whose rows are its own. Raises ExpressionError where it is not small."""
    if not isinstance(value, list):
        return value
    _check_count(sum(len(row) if isinstance(row, list) else 1 for row, _ in value))
    return [(list(row) if isinstance(row, list) else row, at) for row, at in value]


def transposed(value: Any) -> Any:
    """A matrix by its columns; lists and numbers are taken as they are."""
    if not isinstance(value, Matrix):
        return value
    by_columns = [item for first in range(value.columns) for item in value[first :: value.columns]]
    return Matrix(by_columns, len(value) // value.columns if value.columns else 1)


def repeated(value: list[Item], count: Expression) -> list[Item]:
    """`[0]*3`. Raises ExpressionError where that is no whole number, or too many."""
    return value * _whole(count, MAX_MADE // max(1, len(value)))


def filled(number: int, sizes: Sequence[Expression], offset: int) -> list[Item]:
    """`zeros(3)` (of numpy) and `zeros(3, 1)` (of sympy). Raises ExpressionError."""
    if not 1 <= len(sizes) <= 2:
        raise ExpressionError("one or two whole numbers are expected here", offset)
    rows, columns = _whole(sizes[0], MAX_MADE), _whole(sizes[1], MAX_MADE) if len(sizes) == 2 else 1
    _check_count(rows * columns)
    return Matrix([(Number(Fraction(number)), offset)] * (rows * columns), columns)


def place(value: Any, indices: Sequence[Expression]) -> tuple[list[Item], int]:
    """The list that holds an element and where in it, for `f[0]`, `f[0, 1]` or `f[-1]`. Raises ExpressionError."""
    if isinstance(value, Matrix) and len(indices) == 2:
        rows = len(value) // value.columns if value.columns else 0
        row, column = _position(indices[0], rows), _position(indices[1], value.columns)
        return value, row * value.columns + column
    for index in indices[:-1]:
        value = value[_position(index, _length(value))][0]
    return value, _position(indices[-1], _length(value))


def _length(value: Any) -> int:
    if not isinstance(value, list):
        raise ExpressionError("an index stands at something that is not a list", 0)
    return len(value)


def _position(index: Expression, length: int) -> int:
    whole = index.value if isinstance(index, Number) else Fraction(1, 2)
    if whole.denominator != 1 or not -length <= whole < length:
        raise ExpressionError(f"there is no such element among {length}", 0)
    return int(whole) % length


def _check_count(count: int) -> None:
    if count > MAX_MADE:
        raise ExpressionError(f"this makes over {MAX_MADE:,} elements", 0)


def _whole(count: Expression, most: int) -> int:
    if not isinstance(count, Number) or count.value.denominator != 1 or not 0 <= count.value <= most:
        raise ExpressionError(f"a whole number up to {most:,} is expected here", 0)
    return int(count.value)
