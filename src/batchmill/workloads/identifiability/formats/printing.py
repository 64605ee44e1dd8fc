"""Expressions as text that `parser` reads back. LaTeX is in `latex`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from batchmill.workloads.identifiability.expressions import (
    Call,
    Expression,
    ExpressionError,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
    add,
    multiply,
    power,
)
from batchmill.workloads.identifiability.parser import MAX_LENGTH

_SUM, _PRODUCT, _POWER, _ATOM = range(4)  # how tightly a text holds together
MAX_NESTING = 200


def to_text(expression: Expression) -> str:
    """The expression in the syntax of model files. Raises ExpressionError when it is too long or too deep."""
    return _Printer().text(expression)


def factors_of(product: Expression) -> tuple[Fraction, list[Expression], list[Expression]]:
    """The coefficient, the factors above and the factors below the line of a product (or of anything else)."""
    coefficient, above, below = Fraction(1), list[Expression](), list[Expression]()
    waiting = [product]
    while waiting:
        factor = waiting.pop()
        if isinstance(factor, Product):
            waiting.extend(reversed(factor.factors))
        elif isinstance(factor, Number):
            coefficient *= factor.value
        elif isinstance(factor, Power) and isinstance(factor.exponent, Number) and factor.exponent.value < 0:
            below.append(power(factor.base, Number(-factor.exponent.value), factor.offset))
        else:
            above.append(factor)
    return coefficient, above, below


def decimal_text(value: Fraction) -> str | None:
    """A whole number or a short decimal; None for numbers that are neither."""
    if value.denominator == 1:
        return str(value.numerator)
    for digits in range(1, 13):
        scaled = value * 10**digits
        if scaled.denominator == 1:
            whole, rest = divmod(abs(scaled.numerator), 10**digits)
            return f"{'-' if value < 0 else ''}{whole}.{rest:0{digits}d}"
    return None


class _Printer:
    def __init__(self) -> None:
        self._written = 0
        self._depth = 0

    def text(self, expression: Expression, level: int = _SUM) -> str:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise ExpressionError(f"nested deeper than {MAX_NESTING} levels", 0)
        text, own = self._spelt(expression)
        self._depth -= 1
        # what is shared in the tree is written out each time: lengths may grow exponentially
        if len(text) > MAX_LENGTH or self._written > 20 * MAX_LENGTH:
            raise ExpressionError(f"an expression grows to over {MAX_LENGTH:,} characters", 0)
        return f"({text})" if own < level else text

    def _spelt(self, expression: Expression) -> tuple[str, int]:
        self._written += 1
        if isinstance(expression, Symbol):
            return expression.name, _ATOM
        if isinstance(expression, Call):
            return f"{expression.function}({self.text(expression.argument)})", _ATOM
        if isinstance(expression, Sum):
            return self._sum(expression), _SUM
        if isinstance(expression, Power) and not _is_below(expression):
            return f"{self.text(expression.base, _ATOM)}**{self.text(expression.exponent, _ATOM)}", _POWER
        return self._product(expression)

    def _sum(self, expression: Sum) -> str:
        pieces: list[str] = []
        for term in _terms(expression):
            text = self.text(term, _PRODUCT)
            if not pieces:
                pieces.append(text)
            else:
                pieces.append(f" - {text[1:]}" if text.startswith("-") else f" + {text}")
        return "".join(pieces)

    def _product(self, expression: Expression) -> tuple[str, int]:
        coefficient, above, below = factors_of(expression)
        size = abs(coefficient)
        decimal = decimal_text(size)
        upper = [self.text(factor, _POWER) for factor in above]
        lower = [self.text(factor, _POWER) for factor in below]
        if decimal is None:
            lower.insert(0, str(size.denominator))
            decimal = str(size.numerator)
        if decimal != "1" or not upper:
            upper.insert(0, decimal)
        if not lower:
            text = "*".join(upper)
        else:
            text = "*".join(upper) + "/" + (lower[0] if len(lower) == 1 else f"({'*'.join(lower)})")
        simple = len(upper) == 1 and not lower
        level = _ATOM if simple and not above else _PRODUCT
        return ("-" + text, _PRODUCT) if coefficient < 0 else (text, level)


def _is_below(expression: Power) -> bool:
    return isinstance(expression.exponent, Number) and expression.exponent.value < 0


def _terms(expression: Sum) -> Iterator[Expression]:
    for term in expression.terms:
        if isinstance(term, Sum):
            yield from term.terms
        else:
            yield term


def names_in(expression: Expression) -> set[str]:
    """Every symbol's name."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Symbol):
            found.add(node.name)
        waiting.extend(_children(node))
    return found


def substitute(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """The expression with symbols replaced. Raises ExpressionError (a division by zero, too deep)."""
    return _Substitution(values).of(expression)


class _Substitution:
    def __init__(self, values: Mapping[str, Expression]) -> None:
        self._values = values
        self._done: dict[int, Expression] = {}
        self._depth = 0

    def of(self, node: Expression) -> Expression:
        if id(node) not in self._done:
            self._depth += 1
            if self._depth > MAX_NESTING:
                raise ExpressionError(f"nested deeper than {MAX_NESTING} levels", 0)
            self._done[id(node)] = self._replaced(node)
            self._depth -= 1
        return self._done[id(node)]

    def _replaced(self, node: Expression) -> Expression:
        if isinstance(node, Symbol):
            return self._values.get(node.name, node)
        if isinstance(node, Sum):
            return add(self.of(term) for term in node.terms)
        if isinstance(node, Product):
            return multiply(self.of(factor) for factor in node.factors)
        if isinstance(node, Power):
            return power(self.of(node.base), self.of(node.exponent), node.offset)
        if isinstance(node, Call):
            return Call(node.function, self.of(node.argument), node.offset)
        return node


def _children(node: Expression) -> tuple[Expression, ...]:
    if isinstance(node, Sum):
        return node.terms
    if isinstance(node, Product):
        return node.factors
    if isinstance(node, Power):
        return (node.base, node.exponent)
    return (node.argument,) if isinstance(node, Call) else ()
