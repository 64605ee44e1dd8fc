"""Truncated power series through a circuit, over any ring: numbers modulo a prime, or polynomials over them.

The two uses: the solution at a random point (numbers), and the same equations with unknown coefficients (polynomials).
A quotient is not expanded: what its coefficients are is the caller's choice, as it is for the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from batchmill.workloads.identifiability.circuit import Circuit, Op
from batchmill.workloads.identifiability.model import Unsupported
from batchmill.workloads.identifiability.system import System

Leaf = Callable[[int, int], Any]  # (node, order) -> the coefficient of a leaf or a quotient


class Quotient(NamedTuple):
    """The factors of a product that are no reciprocals, and what the others are reciprocals of."""

    above: tuple[int, ...]
    below: tuple[int, ...]


def quotients(circuit: Circuit) -> dict[int, Quotient]:
    """All nodes that are reciprocals, or products with a reciprocal among their factors."""
    found: dict[int, Quotient] = {}
    for index, node in enumerate(circuit.nodes):
        if node.op is Op.INV:
            found[index] = Quotient((), node.arguments)
        elif node.op is Op.MUL and any(i in found for i in node.arguments):
            parts = [found.get(i, Quotient((i,), ())) for i in node.arguments]
            found[index] = Quotient(parts[0].above + parts[1].above, parts[0].below + parts[1].below)
    return found


def needed_orders(system: System, divided: Mapping[int, Quotient], outputs: Mapping[int, int]) -> dict[int, int]:
    """Up to which order each node is needed, for outputs (indexes into the roots) up to the given orders.

    Nodes that are not needed are absent. A state needs its right-hand side to one order less.
    """
    nodes = system.circuit.nodes
    slopes = dict(zip(system.states, system.roots, strict=False))
    needed: dict[int, int] = {}
    pending = [(system.roots[index], order) for index, order in outputs.items()]
    while pending:
        index, order = pending.pop()
        node = nodes[index]
        order = 0 if node.static else order
        if needed.get(index, -1) >= order:
            continue
        needed[index] = order
        if index in divided:
            pending += [(factor, order) for part in divided[index] for factor in part]
        elif node.op >= Op.ADD:
            pending += [(argument, order) for argument in node.arguments]
        elif index in slopes and order:
            pending.append((slopes[index], order - 1))
    return needed


class Expansion:
    """The coefficients of nodes. `number` brings a Fraction into the ring; `leaf` gives those of open nodes, leaves."""

    def __init__(
        self,
        circuit: Circuit,
        needed: Mapping[int, int],
        number: Callable[[Fraction], Any],
        leaf: Leaf,
        open_nodes: Container[int],
    ) -> None:
        self.series: dict[int, list[Any]] = {index: [] for index in sorted(needed)}
        self._circuit, self._needed, self._number, self._leaf = circuit, needed, number, leaf
        self._open = open_nodes
        self._zero = number(Fraction(0))
        self._one = number(Fraction(1))
        self._products: dict[tuple[tuple[int, ...], int], Any] = {}

    def run(self) -> None:
        """Compute all that is needed."""
        for order in range(max(self._needed.values(), default=0) + 1):
            for index, series in self.series.items():
                if self._needed[index] >= order:
                    series.append(self._coefficient(index, order))

    def _coefficient(self, index: int, order: int) -> Any:
        node = self._circuit.nodes[index]
        if index in self._open or node.op is Op.LEAF:
            return self._leaf(index, order)
        match node.op:
            case Op.NUMBER:
                return self._number(node.arguments[0])
            case Op.ADD:
                return sum((self.coefficient(i, order) for i in node.arguments), self._zero)
            case Op.MUL:
                return self.product(node.arguments, order)
        raise Unsupported(f"its equations are not rational: they hold `{node.op.name.lower()}`")

    def product(self, factors: tuple[int, ...], order: int) -> Any:
        """The coefficient of this order in a product of nodes that were computed up to it."""
        if not factors:
            return self._zero if order else self._one
        if len(factors) == 1:
            return self.coefficient(factors[0], order)
        known = self._products.get((factors, order))
        if known is None:
            first, rest = factors[0], factors[1:]
            orders = range(1 if self._circuit.nodes[first].static else order + 1)
            terms = (self.coefficient(first, i) * self.product(rest, order - i) for i in orders)
            known = self._products[factors, order] = sum(terms, self._zero)
        return known

    def coefficient(self, index: int, order: int) -> Any:
        """That of a node, once it was computed; zero beyond order 0 where the node does not change in time."""
        series = self.series[index]
        return self._zero if order and self._circuit.nodes[index].static else series[order]
