"""Power series modulo a prime: Taylor coefficients of a model's states and outputs, and of their sensitivities.

States are computed order by order from x' = f; the sensitivities S = dx/d(x0, p) from S' = (df/dx) S + df/dp, all at
one random point of the prime field (A. Sedoglavic, "A probabilistic algorithm to test local algebraic observability in
polynomial time", J. Symb. Comput. 33 (2002) 735-755). What the coefficients mean is decided in `analysis`.

The scalar series are lists of Python integers: they are short, and `sum(map(mul, ...))` needs no care for overflow.
The sensitivities, a matrix an order, go through BLAS: each residue of 30 bits is held as two float64 pieces of 15 bits,
so that a product with another residue has at most 45 bits and 256 of them add up exactly below 2**53; for series of
more orders as three pieces of 10 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import mul
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from batchmill.workloads.identifiability.circuit import Circuit, Op
from batchmill.workloads.identifiability.system import System
from batchmill.workloads.identifiability.transcendental import Rules, Start, VanishingDenominator, residue

MAX_ORDERS = 2048
_FIRST_ROOM = 16  # orders, and more where that takes little memory:
_FIRST_ENTRIES = 1 << 20
_RESIDUE_BITS = 30
_EXACT_BITS = 53  # of a float64

Residues = npt.NDArray[np.int64]


def static_values(
    circuit: Circuit, nodes: Iterable[int], point: Mapping[str, int], prime: int, start: Start | None = None
) -> dict[int, int]:
    """The residue of each static node among `nodes` (in topological order). Raises VanishingDenominator, NoRoot."""
    start = start or Start(Rules(), prime)
    values: dict[int, int] = {}
    for index in nodes:
        node = circuit.nodes[index]
        if not node.static:
            continue
        arguments = node.arguments
        if node.op is Op.NUMBER:
            value = residue(arguments[0], prime)
        elif node.op is Op.LEAF:
            value = point[arguments[0]]
        elif node.op is Op.ADD:
            value = sum(values[i] for i in arguments)
        elif node.op is Op.MUL:
            value = values[arguments[0]] * values[arguments[1]]
        elif node.op is Op.INV:
            value = _inverse(values[arguments[0]], prime)
        else:
            value = _function(start, node.op, index, arguments[0], values[arguments[0]])
        values[index] = value % prime
    return values


def _function(start: Start, op: Op, index: int, argument: int, value: int) -> int:
    if op is Op.EXP:
        return start.exp(index, value)
    if op is Op.LOG:
        return start.log(index, value)
    cosine, sine = start.angle(argument, value)
    return sine if op is Op.SIN else cosine


def _inverse(value: int, prime: int) -> int:
    if value % prime == 0:
        raise VanishingDenominator
    return pow(value, -1, prime)


class SeriesProgram:
    """Computes the coefficients of all nodes that change in time, one order after the other.

    `series` maps a node to its coefficients so far. Leaves are fed from outside: before `step(k)`, each must hold
    its coefficients up to order k, and no more.
    """

    def __init__(
        self,
        circuit: Circuit,
        nodes: Iterable[int],
        values: Mapping[int, int],
        prime: int,
        start: Start | None = None,
    ) -> None:
        self.series: dict[int, list[int]] = {}
        self._prime, self._start = prime, start or Start(Rules(), prime)
        self._circles: dict[int, tuple[list[int], list[int]]] = {}  # angle -> cosine, sine
        self._program: list[Callable[[int], None]] = []
        for index in nodes:
            node = circuit.nodes[index]
            if node.static:
                continue
            out = self.series[index] = []
            if node.op is Op.ADD:
                self._add(out, node.arguments, values)
            elif node.op is Op.MUL and node.arguments[0] in values:
                self._scale(out, values[node.arguments[0]], self.series[node.arguments[1]])
            elif node.op is Op.MUL:
                self._multiply(out, self.series[node.arguments[0]], self.series[node.arguments[1]])
            elif node.op is Op.INV:
                self._invert(out, self.series[node.arguments[0]])
            elif node.op is Op.EXP:
                self._exp(index, out, self.series[node.arguments[0]])
            elif node.op is Op.LOG:
                self._log(index, out, self.series[node.arguments[0]])
            elif node.op >= Op.SIN:
                self.series[index] = self._circle(node.arguments[0])[node.op is Op.SIN]

    def step(self, order: int) -> None:
        """Append the coefficient of this order to every node. Raises VanishingDenominator, NoRoot at order 0."""
        for operation in self._program:
            operation(order)

    def _add(self, out: list[int], arguments: Sequence[int], values: Mapping[int, int]) -> None:
        prime = self._prime
        constant = sum(values[i] for i in arguments if i in values)
        terms = [self.series[i] for i in arguments if i not in values]
        if len(terms) == 2 and not constant:
            first, second = terms
            self._program.append(lambda order: out.append((first[order] + second[order]) % prime))
            return

        def operation(order: int) -> None:
            out.append((sum([term[order] for term in terms]) + (0 if order else constant)) % prime)

        self._program.append(operation)

    def _scale(self, out: list[int], factor: int, series: list[int]) -> None:
        prime = self._prime
        self._program.append(lambda order: out.append(factor * series[order] % prime))

    def _multiply(self, out: list[int], a: list[int], b: list[int]) -> None:
        prime = self._prime
        if a is b:
            self._program.append(lambda order: out.append(_square(a, order) % prime))
            return
        # both hold order + 1 coefficients at this moment, so the reversed one is aligned for the Cauchy product
        self._program.append(lambda order: out.append(sum(map(mul, a, reversed(b))) % prime))

    def _invert(self, out: list[int], series: list[int]) -> None:
        prime = self._prime
        scale: list[int] = []

        def operation(order: int) -> None:
            if order == 0:
                out.append(_inverse(series[0], prime))
                scale.append(prime - out[0])
            else:
                out.append(scale[0] * sum(map(mul, series[1:], reversed(out))) % prime)

        self._program.append(operation)

    def _exp(self, index: int, out: list[int], series: list[int]) -> None:
        """From e' = a' e."""
        prime, start, slopes = self._prime, self._start, list[int]()

        def operation(order: int) -> None:
            slopes.append(order * series[order] % prime)
            if order == 0:
                out.append(start.exp(index, series[0]))
            else:
                out.append(sum(map(mul, slopes[1:], reversed(out))) * pow(order, -1, prime) % prime)

        self._program.append(operation)

    def _log(self, index: int, out: list[int], series: list[int]) -> None:
        """From b l' = b'."""
        prime, start, slopes, scale = self._prime, self._start, [0], list[int]()

        def operation(order: int) -> None:
            if order == 0:
                out.append(start.log(index, series[0]))
                scale.append(_inverse(series[0], prime))
                return
            earlier = sum(map(mul, slopes[1:], series[order - 1 : 0 : -1]))
            slopes.append((order * series[order] - earlier) * scale[0] % prime)
            out.append(slopes[order] * pow(order, -1, prime) % prime)

        self._program.append(operation)

    def _circle(self, argument: int) -> tuple[list[int], list[int]]:
        """The series of cosine and sine of a node, from c' = -a' s and s' = a' c."""
        if argument in self._circles:
            return self._circles[argument]
        prime, start, series, slopes = self._prime, self._start, self.series[argument], list[int]()
        cosine, sine = self._circles[argument] = ([], [])

        def operation(order: int) -> None:
            slopes.append(order * series[order] % prime)
            if order == 0:
                first = start.angle(argument, series[0])
            else:
                inverse = pow(order, -1, prime)
                first = (
                    -sum(map(mul, slopes[1:], reversed(sine))) * inverse % prime,
                    sum(map(mul, slopes[1:], reversed(cosine))) * inverse % prime,
                )
            cosine.append(first[0])
            sine.append(first[1])

        self._program.append(operation)
        return cosine, sine


def _square(a: list[int], order: int) -> int:
    """The coefficient of the square: each pair of different places counts twice."""
    half = (order + 1) // 2
    twice: int = 2 * sum(map(mul, a[:half], reversed(a)))
    return twice if order % 2 else twice + a[half] * a[half]


class Convolution:
    """The product of a sparse matrix of series J with a matrix of series S, order by order, modulo a prime.

    J has the given entries, (row, column) -> coefficients; S has `width` columns; there are at most so many orders. The
    entries of each column of J are packed into a dense block, so that one batched matrix product serves an order.
    """

    def __init__(
        self, entries: Mapping[tuple[int, int], list[int]], shape: tuple[int, int], width: int, orders: int, prime: int
    ) -> None:
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


class Point(NamedTuple):
    """Where a system is looked at: residues of its static leaves, of its states at time 0, coefficients of inputs."""

    leaves: Mapping[str, int]
    states: Sequence[int]
    inputs: Mapping[str, list[int]]


def output_sensitivities(
    system: System, point: Point, orders: int, prime: int, rules: Rules, impulses: int = 0
) -> Iterator[Residues]:
    """For each order up to `orders` the Taylor coefficients of d(outputs)/d(unknowns), outputs x unknowns.

    Unknowns are the states' initial values, the parameters, and for each unknown input its first `impulses` Taylor
    coefficients. Raises VanishingDenominator, NoRoot.
    """
    size = len(system.states)
    direct = size + len(system.parameters)
    width = direct + system.unknown_inputs * impulses
    flow = _Flow(system, point, prime, Start(rules, prime))
    jacobian = {at: flow.coefficients(node) for at, node in system.jacobian.items()}
    convolution = Convolution(jacobian, (len(system.roots), size), width, orders, prime)
    forcing = [flow.coefficients(node) for node in system.forcing.values()]
    at = np.array(list(system.forcing), dtype=np.intp).reshape(-1, 2).T
    at_row, at_column = at[0], at[1] + size
    disturbance = {(r, direct + i * impulses): flow.coefficients(n) for (r, i), n in system.disturbance.items()}
    sensitivities = np.zeros((size, width), dtype=np.int64)
    sensitivities[range(size), range(size)] = 1
    for order in range(orders):
        inverse = flow.step(order)
        rows = convolution.step(order, sensitivities)
        rows[at_row, at_column] += np.array([series[order] for series in forcing], dtype=np.int64)
        for (row, first), series in disturbance.items():
            shifted = series[order::-1][:impulses]  # times t**j for the j-th coefficient of the input
            rows[row, first : first + len(shifted)] += np.array(shifted, dtype=np.int64)
        rows %= prime
        yield rows[size:]
        sensitivities = rows[:size] * inverse % prime


class _Flow:
    """The coefficients of all nodes of a system along the solution that starts at a point."""

    def __init__(self, system: System, point: Point, prime: int, start: Start) -> None:
        self._prime = prime
        self._values = static_values(system.circuit, system.nodes, point.leaves, prime, start)
        self._program = SeriesProgram(system.circuit, system.nodes, self._values, prime, start)
        self._states = [self._program.series[leaf] for leaf in system.states]
        for series, value in zip(self._states, point.states, strict=True):
            series.append(value)
        self._inputs = [(self._program.series[leaf], point.inputs[name]) for name, leaf in system.inputs.items()]
        self._constants: dict[int, list[int]] = {}
        self._slopes = [self.coefficients(root) for root in system.roots[: len(system.states)]]

    def coefficients(self, node: int) -> list[int]:
        """The list that holds, after `step(k)`, the coefficients of a node up to order k."""
        if node in self._values:
            return self._constants.setdefault(node, [self._values[node]])
        return self._program.series[node]

    def step(self, order: int) -> int:
        """Compute this order, and the states of the next one. Returns 1 / (order + 1)."""
        if order:
            for constant in self._constants.values():
                constant.append(0)
        for series, coefficients in self._inputs:
            series.append(coefficients[order])
        self._program.step(order)
        inverse = pow(order + 1, -1, self._prime)
        for series, slope in zip(self._states, self._slopes, strict=True):
            series.append(slope[order] * inverse % self._prime)
        return inverse
