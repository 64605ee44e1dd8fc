"""Arithmetic circuits: rational expressions as shared nodes, and their derivatives by reverse accumulation.

A node is a number; the order of numbers is topological. Equal nodes exist once. A node is *static* when it does not
change in time (numbers, parameters, constant inputs and what is computed from them); static factors are pulled out of
products, because multiplying a power series by one costs O(1) an order instead of O(order).
Values, series and primes are the business of `taylor`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from enum import IntEnum
from fractions import Fraction
from typing import Any, NamedTuple

from batchmill.workloads.identifiability.expressions import Call, Expression, Number, Power, Product, Sum, Symbol


class NotRational(ValueError):
    """An expression is not a rational function of its symbols: why, and where in its text (0-based offset)."""

    def __init__(self, message: str, offset: int, length: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.length = length


class Op(IntEnum):
    """What a node computes from its arguments."""

    NUMBER = 0  # (Fraction,)
    LEAF = 1  # (name,)
    ADD = 2  # two or more nodes
    MUL = 3  # two nodes; a static one comes first
    INV = 4  # 1 / node


class Node(NamedTuple):
    """One operation. `arguments` are node numbers, or the value of a number, or the name of a leaf."""

    op: Op
    arguments: tuple[Any, ...]
    static: bool


class Circuit:
    """Nodes that are made once and shared. All methods return node numbers."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[tuple[Op, tuple[Any, ...]], int] = {}
        self.zero = self.number(Fraction(0))
        self.one = self.number(Fraction(1))

    def _node(self, op: Op, arguments: tuple[Any, ...], static: bool) -> int:
        found = self._known.get((op, arguments))
        if found is None:
            found = self._known[op, arguments] = len(self.nodes)
            self.nodes.append(Node(op, arguments, static))
        return found

    def _all_static(self, arguments: Iterable[int]) -> bool:
        return all(self.nodes[i].static for i in arguments)

    def _value(self, node: int) -> Fraction | None:
        found = self.nodes[node]
        return found.arguments[0] if found.op is Op.NUMBER else None

    def number(self, value: Fraction) -> int:
        """An exact number."""
        return self._node(Op.NUMBER, (value,), True)

    def leaf(self, name: str, *, static: bool) -> int:
        """A symbol. Asking for the same name again returns the same node."""
        return self._node(Op.LEAF, (name,), static)

    def add(self, terms: Iterable[int]) -> int:
        """The sum."""
        constant, rest = Fraction(0), []
        for term in terms:
            value = self._value(term)
            if value is None:
                rest.append(term)
            else:
                constant += value
        if constant or not rest:
            rest.append(self.number(constant))
        return rest[0] if len(rest) == 1 else self._node(Op.ADD, tuple(sorted(rest)), self._all_static(rest))

    def multiply(self, a: int, b: int) -> int:
        """The product, as (static factors) times (factors that change in time)."""
        static_a, series_a = self._split(a)
        static_b, series_b = self._split(b)
        static = self._static_product(static_a, static_b)
        if series_a is None or series_b is None:
            series = series_a if series_b is None else series_b
        else:
            series = self._node(Op.MUL, (min(series_a, series_b), max(series_a, series_b)), False)
        if series is None or static == self.zero:
            return static
        return series if static == self.one else self._node(Op.MUL, (static, series), False)

    def _split(self, node: int) -> tuple[int, int | None]:
        found = self.nodes[node]
        if found.static:
            return node, None
        if found.op is Op.MUL and self.nodes[found.arguments[0]].static:
            return found.arguments[0], found.arguments[1]
        return self.one, node

    def _static_product(self, a: int, b: int) -> int:
        if self.zero in (a, b):
            return self.zero
        if self.one in (a, b):
            return a if b == self.one else b
        value_a, value_b = self._value(a), self._value(b)
        if value_a is not None and value_b is not None:
            return self.number(value_a * value_b)
        return self._node(Op.MUL, (min(a, b), max(a, b)), True)

    def invert(self, node: int) -> int:
        """The reciprocal. Raises ZeroDivisionError for the number 0."""
        static, series = self._split(node)
        value = self._value(static)
        inverse = self._node(Op.INV, (static,), True) if value is None else self.number(1 / value)
        return inverse if series is None else self.multiply(inverse, self._node(Op.INV, (series,), False))

    def power(self, node: int, exponent: int) -> int:
        """A whole-number power by repeated squaring; the squares are shared."""
        if exponent < 0:
            return self.power(self.invert(node), -exponent)
        result, square = self.one, node
        while exponent:
            if exponent & 1:
                result = self.multiply(result, square)
            exponent >>= 1
            if exponent:
                square = self.multiply(square, square)
        return result

    def lower(self, expression: Expression, symbols: Mapping[str, int]) -> int:
        """The node of an expression whose symbols are these nodes. Raises NotRational, ZeroDivisionError."""
        match expression:
            case Number(value):
                return self.number(value)
            case Symbol(name):
                return symbols[name]
            case Sum(terms):
                lowered = []
                for term in terms:  # a loop, not a comprehension: half the frames for a deep tree
                    lowered.append(self.lower(term, symbols))
                return self.add(lowered)
            case Product(factors):
                result = self.one
                for factor in factors:
                    result = self.multiply(result, self.lower(factor, symbols))
                return result
            case Power(base, Number(value), offset):
                if value.denominator != 1:
                    raise NotRational(f"the exponent {value} is not a whole number", offset, 2)
                return self.power(self.lower(base, symbols), int(value))
            case Power(_, _, offset):
                raise NotRational("the exponent is not a number", offset, 2)
            case Call(function, _, offset):
                raise NotRational(f"`{function}` is not a rational function", offset, len(function))

    def gradient(self, root: int) -> dict[int, int]:
        """The partial derivatives of a node, as nodes: leaf -> d root / d leaf; leaves without influence are absent.

        Reverse accumulation: at most a small multiple of the root's own size, however many leaves there are.
        """
        pending, adjoints = [-root], {root: [self.one]}
        found: dict[int, int] = {}
        while pending:
            index = -heapq.heappop(pending)
            adjoint = self.add(adjoints.pop(index))
            node = self.nodes[index]
            if node.op is Op.LEAF:
                found[index] = adjoint
            elif node.op is not Op.NUMBER and adjoint != self.zero:
                for argument, part in self._partials(index, node):
                    if argument not in adjoints:
                        adjoints[argument] = []
                        heapq.heappush(pending, -argument)
                    adjoints[argument].append(self.multiply(adjoint, part))
        return {leaf: value for leaf, value in found.items() if value != self.zero}

    def _partials(self, index: int, node: Node) -> list[tuple[int, int]]:
        if node.op is Op.ADD:
            return [(argument, self.one) for argument in node.arguments]
        if node.op is Op.MUL:
            a, b = node.arguments
            return [(a, b), (b, a)]
        return [(node.arguments[0], self.multiply(self.number(Fraction(-1)), self.multiply(index, index)))]

    def reachable(self, roots: Iterable[int]) -> list[int]:
        """All nodes that the roots are computed from, themselves included, in topological order."""
        seen: set[int] = set()
        pending = list(roots)
        while pending:
            index = pending.pop()
            if index not in seen:
                seen.add(index)
                if self.nodes[index].op >= Op.ADD:
                    pending.extend(self.nodes[index].arguments)
        return sorted(seen)
