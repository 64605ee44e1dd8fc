"""Arithmetic circuits: expressions as shared nodes, and their derivatives by reverse accumulation.

A node is a number; the order of numbers is topological. Equal nodes exist once. A node is *static* when it does not
change in time (numbers, parameters, constant inputs and what is computed from them); static factors are pulled out of
products, because multiplying a power series by one costs O(1) an order instead of O(order).
Powers that are not whole numbers are exponentials of multiples of logarithms. Values, series and primes are the
business of `taylor`; how functions depend on each other is that of `transcendental`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from fractions import Fraction
from functools import reduce
from typing import Any, NamedTuple

from batchmill.workloads.identifiability.expressions import (
    MAX_EXPONENT,
    Expression,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
)


class Op(IntEnum):
    """What a node computes from its arguments."""

    NUMBER = 0  # (Fraction,)
    LEAF = 1  # (name,)
    ADD = 2  # two or more nodes
    MUL = 3  # two nodes; a static one comes first
    INV = 4  # 1 / node
    EXP = 5  # of a node, as all below
    LOG = 6
    SIN = 7
    COS = 8


_ZERO = Fraction(0)
_HALF = Fraction(1, 2)
_MINUS_ONE = Fraction(-1)


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
        self._numbers: dict[tuple[int, int], int] = {}  # a Fraction takes long to hash
        self.zero = self.number(Fraction(0))
        self.one = self.number(Fraction(1))

    def _node(self, op: Op, arguments: tuple[Any, ...], static: bool) -> int:
        found = self._known.get((op, arguments))
        if found is None:
            found = self._known[op, arguments] = len(self.nodes)
            self.nodes.append(Node(op, arguments, static))
        return found

    def _value(self, node: int) -> Fraction | None:
        found = self.nodes[node]
        return found.arguments[0] if found.op is Op.NUMBER else None

    def number(self, value: Fraction) -> int:
        """An exact number."""
        key = value.numerator, value.denominator
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.nodes)
            self.nodes.append(Node(Op.NUMBER, (value,), True))
        return found

    def leaf(self, name: str, *, static: bool) -> int:
        """A symbol. Asking for the same name again returns the same node."""
        return self._node(Op.LEAF, (name,), static)

    def add(self, terms: Sequence[int]) -> int:
        """The sum."""
        nodes = self.nodes
        rest = [term for term in terms if nodes[term].op is not Op.NUMBER]
        if len(rest) < len(terms):
            numbers = [term for term in terms if nodes[term].op is Op.NUMBER]
            constant = numbers[0] if len(numbers) == 1 else self._sum_of_numbers(numbers)
            if constant != self.zero or not rest:
                rest.append(constant)
        if len(rest) == 1:
            return rest[0]
        rest.sort()
        return self._node(Op.ADD, tuple(rest), all(nodes[term].static for term in rest))

    def _sum_of_numbers(self, terms: Sequence[int]) -> int:
        return self.number(sum((self.nodes[term].arguments[0] for term in terms), _ZERO))

    def multiply(self, a: int, b: int) -> int:
        """The product, as (static factors) times (factors that change in time)."""
        if a == self.one:
            return b
        if b == self.one:
            return a
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

    def exp(self, node: int) -> int:
        """The exponential."""
        return self.one if node == self.zero else self._function(Op.EXP, node)

    def log(self, node: int) -> int:
        """A logarithm. Raises ZeroDivisionError for the number 0."""
        if node == self.zero:
            raise ZeroDivisionError
        if self.nodes[node].op is Op.EXP:
            return int(self.nodes[node].arguments[0])
        return self.zero if node == self.one else self._function(Op.LOG, node)

    def _function(self, op: Op, node: int) -> int:
        return self._node(op, (node,), self.nodes[node].static)

    def general_power(self, base: int, exponent: int) -> int:
        """A power with any exponent."""
        value = self._value(exponent)
        if value is not None and value.denominator == 1:
            if abs(value) > MAX_EXPONENT:
                raise OverflowError(f"an exponent is over {MAX_EXPONENT}")
            return self.power(base, int(value))
        return self.exp(self.multiply(exponent, self.log(base)))

    def call(self, function: str, node: int) -> int:
        """A function by its name in `parser.FUNCTIONS`."""
        match function:
            case "exp":
                return self.exp(node)
            case "log":
                return self.log(node)
            case "sqrt":
                return self.general_power(node, self.number(_HALF))
            case "sin":
                return self.zero if node == self.zero else self._function(Op.SIN, node)
            case "cos":
                return self.one if node == self.zero else self._function(Op.COS, node)
            case "sinh" | "cosh":
                grown = self.exp(node)
                sign = _MINUS_ONE if function == "sinh" else Fraction(1)
                both = self.add((grown, self.multiply(self.number(sign), self.invert(grown))))
                return self.multiply(self.number(_HALF), both)
            case _:  # tan, tanh
                ending = function.removeprefix("tan")
                return self.multiply(self.call(f"sin{ending}", node), self.invert(self.call(f"cos{ending}", node)))

    def lower(self, expression: Expression, symbols: Mapping[str, int]) -> int:
        """The node of an expression whose symbols are these nodes. Raises ZeroDivisionError, OverflowError."""
        if isinstance(expression, Symbol):  # no `match`, which takes twice as long
            return symbols[expression.name]
        if isinstance(expression, Number):
            return self.number(expression.value)
        if isinstance(expression, Product):
            result = self.one
            for factor in expression.factors:
                result = self.multiply(result, self.lower(factor, symbols))
            return result
        if isinstance(expression, Sum):
            lowered = []
            for term in expression.terms:  # a loop, not a comprehension: half the frames for a deep tree
                lowered.append(self.lower(term, symbols))
            return self.add(lowered)
        if isinstance(expression, Power):
            return self.general_power(self.lower(expression.base, symbols), self.lower(expression.exponent, symbols))
        return self.call(expression.function, self.lower(expression.argument, symbols))

    def gradient(self, root: int) -> dict[int, int]:
        """The partial derivatives of a node, as nodes: leaf -> d root / d leaf; leaves without influence are absent.

        Reverse accumulation: at most a small multiple of the root's own size, however many leaves there are.
        """
        found: dict[int, int] = {}
        if self.nodes[root].op is Op.NUMBER:
            return found
        pending, adjoints = [-root], {root: [self.one]}
        while pending:
            index = -heapq.heappop(pending)
            parts = adjoints.pop(index)
            adjoint = parts[0] if len(parts) == 1 else self.add(parts)
            node = self.nodes[index]
            if node.op is Op.LEAF:
                found[index] = adjoint
            elif adjoint != self.zero:
                for argument, factors in self._partials(index, node):
                    if self.nodes[argument].op is Op.NUMBER:
                        continue
                    part = reduce(self.multiply, factors, adjoint)
                    if argument in adjoints:
                        adjoints[argument].append(part)
                    else:
                        adjoints[argument] = [part]
                        heapq.heappush(pending, -argument)
        return {leaf: value for leaf, value in found.items() if value != self.zero}

    def _partials(self, index: int, node: Node) -> list[tuple[int, tuple[int, ...]]]:
        """For each argument the factors of the derivative; what they multiply comes first."""
        if node.op is Op.ADD:
            return [(argument, ()) for argument in node.arguments]
        if node.op is Op.MUL:
            a, b = node.arguments
            return [(a, (b,)), (b, (a,))]
        argument = node.arguments[0]
        if node.op is Op.INV:  # -(a / b) / b, as the quotient a / b is there already: a product less than a / b**2
            return [(argument, (index, index, self.number(_MINUS_ONE)))]
        return [(argument, (self._slope(index, node.op, argument),))]

    def _slope(self, index: int, op: Op, argument: int) -> int:
        """The derivative of a function of one argument."""
        if op is Op.EXP:
            return index
        if op is Op.LOG:
            return self.invert(argument)
        if op is Op.SIN:
            return self._function(Op.COS, argument)
        return self.multiply(self.number(_MINUS_ONE), self._function(Op.SIN, argument))

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
