"""Truncated power series through a circuit, over any ring: numbers modulo a prime, or polynomials over them.

The two uses: the solution at a random point (numbers), and the same equations with unknown coefficients (polynomials).
A reciprocal is not expanded: what its coefficients are is the caller's choice, as it is for the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from batchmill.workloads.identifiability.circuit import Circuit, Op
from batchmill.workloads.identifiability.model import Unsupported
from batchmill.workloads.identifiability.system import System

Leaf = Callable[[int, int], Any]  # (node, order) -> the coefficient of a leaf or a reciprocal


def needed_orders(system: System, outputs: Mapping[int, int]) -> dict[int, int]:
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
        if node.op >= Op.ADD:
            pending += [(argument, order) for argument in node.arguments]
        elif index in slopes and order:
            pending.append((slopes[index], order - 1))
    return needed


class Expansion:
    """The coefficients of nodes, order by order. `number` brings a Fraction into the ring; `zero` is its zero."""

    def __init__(
        self, circuit: Circuit, needed: Mapping[int, int], number: Callable[[Fraction], Any], leaf: Leaf
    ) -> None:
        self.series: dict[int, list[Any]] = {index: [] for index in sorted(needed)}
        self._circuit, self._needed, self._number, self._leaf = circuit, needed, number, leaf
        self._zero = number(Fraction(0))

    def step(self, order: int) -> None:
        """Append the coefficient of this order to every node that is needed so far."""
        for index, series in self.series.items():
            if self._needed[index] >= order:
                series.append(self._coefficient(index, order))

    def _coefficient(self, index: int, order: int) -> Any:
        node = self._circuit.nodes[index]
        match node.op:
            case Op.NUMBER:
                return self._number(node.arguments[0])
            case Op.LEAF | Op.INV:
                return self._leaf(index, order)
            case Op.ADD:
                return self._sum(self.coefficient(i, order) for i in node.arguments)
            case Op.MUL:
                a, b = node.arguments
                return self.product(a, b, order)
        raise Unsupported(f"its equations are not rational: they hold `{node.op.name.lower()}`")

    def product(self, a: int, b: int, order: int) -> Any:
        """The coefficient of this order in the product of two nodes."""
        first = self.series[a] if not self._circuit.nodes[a].static else self.series[a][:1]
        terms = range(min(len(first), order + 1))
        return self._sum(first[i] * self.coefficient(b, order - i) for i in terms)

    def coefficient(self, index: int, order: int) -> Any:
        """That of a node, once it was computed; zero beyond order 0 where the node does not change in time."""
        series = self.series[index]
        return self._zero if order and self._circuit.nodes[index].static else series[order]

    def _sum(self, terms: Iterable[Any]) -> Any:
        total = self._zero
        for term in terms:
            total = total + term
        return total


def reciprocals(circuit: Circuit, needed: Mapping[int, int]) -> Sequence[int]:
    """The needed nodes that are 1 / another node, in order."""
    return [index for index in sorted(needed) if circuit.nodes[index].op is Op.INV]
