"""Power series modulo a prime: Taylor coefficients of a model's states and outputs, and of their sensitivities.

States are computed order by order from x' = f; the sensitivities S = dx/d(x0, p) from S' = (df/dx) S + df/dp, all at
one random point of the prime field (A. Sedoglavic, "A probabilistic algorithm to test local algebraic observability in
polynomial time", J. Symb. Comput. 33 (2002) 735-755). What the coefficients mean is decided in `analysis`.

The series are lists of Python integers: they are short, and `sum(map(mul, ...))` needs no care for overflow. How the
sensitivities, a matrix an order, are computed is in `sensitivities`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import mul
from typing import NamedTuple

from batchmill.workloads.identifiability.circuit import Circuit, Op
from batchmill.workloads.identifiability.sensitivities import LinearSystem, Residues, solve
from batchmill.workloads.identifiability.system import System
from batchmill.workloads.identifiability.transcendental import Rules, Start, VanishingDenominator, residue

MAX_ORDERS = 2048


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
    flow = _Flow(system, point, prime, Start(rules, prime))
    linear = LinearSystem(
        jacobian={at: flow.coefficients(node) for at, node in system.jacobian.items()},
        forcing={(row, size + column): flow.coefficients(node) for (row, column), node in system.forcing.items()},
        disturbance={(r, direct + i * impulses): flow.coefficients(n) for (r, i), n in system.disturbance.items()},
        states=size,
        rows=len(system.roots),
        width=direct + system.unknown_inputs * impulses,
        impulses=impulses,
        prime=prime,
    )
    return solve(linear, flow.step, orders)


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
