"""Sensitivities order by order: S' = J S + (forcing), R = J S + (forcing), as power series modulo a prime.

Small systems are solved with Python integers. Of large ones the matrix of an order goes through BLAS: each residue of
30 bits is held as two float64 pieces of 15 bits, so that a product with another residue has at most 45 bits and 256 of
them add up exactly below 2**53; for series of more orders as three pieces of 10 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import mul
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_FEW_PRODUCTS = 100  # an order, below which integers are faster than calls of numpy
_FIRST_ROOM = 16  # orders, and more where that takes little memory:
_FIRST_ENTRIES = 1 << 20
_RESIDUE_BITS = 30
_EXACT_BITS = 53  # of a float64

Residues = npt.NDArray[np.int64]
Entries = Mapping[tuple[int, int], list[int]]
"""(row, column) -> coefficients of a series, of which at least those up to the current order are there."""


class LinearSystem(NamedTuple):
    """The first `states` of the `rows` are slopes, the others outputs; S has `width` columns, the unit matrix first.

    `jacobian` multiplies S (states x width), `forcing` is added. An unknown input has one column for each of its first
    `impulses` Taylor coefficients: `disturbance` holds its series at the first of them, and times t**j at the j-th.
    """

    jacobian: Entries
    forcing: Entries
    disturbance: Entries
    states: int
    rows: int
    width: int
    impulses: int
    prime: int


def solve(system: LinearSystem, step: Callable[[int], int], orders: int) -> Iterator[Residues]:
    """The rows of the outputs, order by order. `step(k)` makes the coefficients of order k, and returns 1 / (k + 1)."""
    small = len(system.jacobian) * system.width <= _FEW_PRODUCTS
    return (_by_integers if small else _by_blas)(system, step, orders)


def _by_integers(system: LinearSystem, step: Callable[[int], int], orders: int) -> Iterator[Residues]:
    size, width, prime = system.states, system.width, system.prime
    series = [[[int(i == j)] for j in range(width)] for i in range(size)]
    alive = [{i} for i in range(size)]  # columns that are not zero
    for order in range(orders):
        inverse = step(order)
        rows = [[0] * width for _ in range(system.rows)]
        for (row, state), coefficients in system.jacobian.items():
            reverse = coefficients[order::-1]
            for column in alive[state]:
                rows[row][column] += sum(map(mul, series[state][column], reverse))
        for (row, column), coefficients in system.forcing.items():
            rows[row][column] += coefficients[order]
        for (row, first), coefficients in system.disturbance.items():
            for j, value in enumerate(coefficients[order::-1][: system.impulses]):
                rows[row][first + j] += value
        yield np.array([[value % prime for value in row] for row in rows[size:]], dtype=np.int64)
        for i in range(size):
            for column, value in enumerate(rows[i]):
                series[i][column].append(value * inverse % prime)
                if value:
                    alive[i].add(column)


def _by_blas(system: LinearSystem, step: Callable[[int], int], orders: int) -> Iterator[Residues]:
    size, width, prime = system.states, system.width, system.prime
    convolution = Convolution(system.jacobian, (system.rows, size), width, orders, prime)
    forcing = list(system.forcing.values())
    at_row, at_column = np.array(list(system.forcing), dtype=np.intp).reshape(-1, 2).T
    matrix = np.zeros((size, width), dtype=np.int64)
    matrix[range(size), range(size)] = 1
    for order in range(orders):
        inverse = step(order)
        rows = convolution.step(order, matrix)
        rows[at_row, at_column] += np.array([series[order] for series in forcing], dtype=np.int64)
        for (row, first), series in system.disturbance.items():
            shifted = series[order::-1][: system.impulses]
            rows[row, first : first + len(shifted)] += np.array(shifted, dtype=np.int64)
        rows %= prime
        yield rows[size:]
        matrix = rows[:size] * inverse % prime


class Convolution:
    """The product of a sparse matrix of series J with a matrix of series S, order by order, modulo a prime.

    J has the given entries, (row, column) -> coefficients; S has `width` columns; there are at most so many orders. The
    entries of each column of J are packed into a dense block, so that one batched matrix product serves an order.
    """

    def __init__(self, entries: Entries, shape: tuple[int, int], width: int, orders: int, prime: int) -> None:
        rows, columns = shape
        self._prime, self._width = prime, width
        self._room = min(orders, max(_FIRST_ROOM, _FIRST_ENTRIES // max(1, columns * width)))
        self._count, self._bits = _pieces(orders)
        slots = _slots(entries, columns)
        depth = max((slot for _, slot in slots.values()), default=0) + 1
        self._series = list(entries.values())
        self._columns, self._slots = np.array(list(slots.values()), dtype=np.intp).reshape(-1, 2).T
        self._sources = _sources(slots, rows, columns * depth, depth)
        self._jacobian = np.zeros((columns, depth, self._room))  # latest order first: aligned for the Cauchy product
        self._pieces = np.zeros((columns, self._room, self._count * width))
        self._products = np.zeros((columns * depth + 1, self._count * width))  # the last row stays zero
        self._blocks = self._products[:-1].reshape(columns, depth, self._count * width)

    def step(self, order: int, matrix: Residues) -> Residues:
        """The coefficient of J S of this order (rows x width), given that of S (columns of J x width)."""
        if order == self._room:
            self._double()
        pieces = self._pieces[:, order].reshape(len(matrix), self._count, self._width)
        for piece in range(self._count):
            pieces[:, piece] = matrix & ((1 << self._bits) - 1)
            matrix = matrix >> self._bits
        first = self._room - 1 - order
        self._jacobian[self._columns, self._slots, first] = [series[order] for series in self._series]
        np.matmul(self._jacobian[:, :, first:], self._pieces[:, : order + 1], out=self._blocks)
        return self._gathered()

    def _double(self) -> None:
        # by halves empty: all orders that an analysis may need at worst would be gigabytes for large models
        self._jacobian = np.concatenate((np.zeros_like(self._jacobian), self._jacobian), axis=2)
        self._pieces = np.concatenate((self._pieces, np.zeros_like(self._pieces)), axis=1)
        self._room *= 2

    def _gathered(self) -> Residues:
        """The products of each row added up, their pieces joined."""
        # each product is below 2**53, and as many as a row may have are below 2**63
        sums = self._products[self._sources].astype(np.int64).sum(axis=1)
        sums = sums.reshape(len(self._sources), self._count, self._width)
        joined: Residues = sums[:, -1]
        for piece in range(self._count - 2, -1, -1):
            joined = ((joined % self._prime) << self._bits) + sums[:, piece]
        return joined % self._prime


def _pieces(orders: int) -> tuple[int, int]:
    """Into how many pieces, and of how many bits, a residue is cut for sums over so many orders to be exact."""
    spare = _EXACT_BITS - _RESIDUE_BITS - max(orders - 1, 0).bit_length()
    count = -(-_RESIDUE_BITS // spare)
    return count, -(-_RESIDUE_BITS // count)


def _slots(entries: Iterable[tuple[int, int]], columns: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Where each entry lies in the packed blocks: (row, column) -> (column, place in the column)."""
    filled = [0] * columns
    slots = {}
    for row, column in entries:
        slots[row, column] = (column, filled[column])
        filled[column] += 1
    return slots


def _sources(slots: Mapping[tuple[int, int], tuple[int, int]], rows: int, empty: int, depth: int) -> npt.NDArray[Any]:
    """For each row the flat places of its entries, filled up with `empty`, the place of a row of zeros."""
    places: list[list[int]] = [[] for _ in range(rows)]
    for (row, _), (column, slot) in slots.items():
        places[row].append(column * depth + slot)
    most = max(map(len, places), default=0)
    return np.array([p + [empty] * (most - len(p)) for p in places], dtype=np.intp).reshape(rows, most)
