"""NullStrike and StrikePy model files (`.py`): their syntax tree is read, nothing in them runs.

A model file makes sympy symbols and assigns `x`, `p`, `h`, `f`, `u`, `w` (and `ics`, `known_ics`); a symbol that is in
none of them is a known constant. Only those statements are known; any other is refused. Options files are read by
`nullstrike_options`, lists and matrices are in `arrays`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from batchmill import ManifestError
from batchmill.workloads.identifiability.expressions import (
    Expression,
    ExpressionError,
    Number,
    Symbol,
    add,
    multiply,
    number,
    power,
)
from batchmill.workloads.identifiability.formats import arrays, functions
from batchmill.workloads.identifiability.formats.draft import Draft
from batchmill.workloads.identifiability.formats.python_text import MAX_DEPTH, is_append, is_locals, parse, words
from batchmill.workloads.identifiability.formats.source import Source, ascii_name
from batchmill.workloads.identifiability.formats.vectors import Vectors

Value = Any  # an Expression, or a list of values, each with its offset
MAX_RANGE = 1000
_LONGEST_LITERAL = 400
_MOST_ITEMS = 1_000_000
INFINITY = "inf"
_MODULES = ("sympy", "math", "numpy")
_HINT = "a model file makes symbols with sympy and assigns x, p, h, f, u and w; write such things out"


def read_models(source: Source) -> list[Draft]:
    """The one model of a file. Raises ManifestError at anything that is not part of one."""
    reader = Reader(source)
    for statement in parse(source).body:
        reader.statement(statement)
    return [Vectors(reader.values, reader.places, source, source.stem).draft()]


class Reader:
    """Values by name. A `tolerant` reader, for options, takes texts, truth values, dictionaries and inf as well."""

    def __init__(self, source: Source, *, tolerant: bool = False) -> None:
        self.source = source
        self._tolerant = tolerant
        self.values: dict[str, Value] = {}
        self.places: dict[str, int] = {}
        self._lines = source.text.split("\n")
        self._modules: set[str] = set()
        self._functions: dict[str, str] = {}
        self._depth = 0
        self._items = 0  # of all lists that were read
        self._kinds: dict[type[ast.expr], Callable[[Any], Value]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.Call: self._call,
            ast.List: self._list,
            ast.Tuple: self._list,
            ast.Attribute: self._attribute,
            ast.Subscript: self._subscript,
        }

    # --- statements

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import):
            self._import(node)
        elif isinstance(node, ast.ImportFrom):
            self._import_from(node)
        elif isinstance(node, ast.Assign):
            self._assign(node)
        elif isinstance(node, ast.AugAssign):
            changed = ast.BinOp(node.target, node.op, node.value)
            self._set(node.target, self._value(ast.copy_location(changed, node)))
        elif isinstance(node, ast.Expr) and is_append(node.value):
            self._append(node.value)
        elif not self._is_text(node):
            raise self._error(node, f"`{words(node)}` is not part of a model", _HINT)

    @staticmethod
    def _is_text(node: ast.stmt) -> bool:
        return isinstance(node, ast.Pass) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name not in _MODULES:
                raise self._error(node, f"`import {alias.name[:60]}` is not part of a model", _HINT)
            self._modules.add(alias.asname or alias.name)

    def _import_from(self, node: ast.ImportFrom) -> None:
        if node.module not in _MODULES or node.level:
            raise self._error(node, f"`from {(node.module or '.')[:60]} import` is not part of a model", _HINT)
        for alias in node.names:
            if alias.name != "*":
                self._functions[alias.asname or alias.name] = alias.name

    def _assign(self, node: ast.Assign) -> None:
        if is_locals(node.value):
            return
        if self._tolerant and isinstance(node.value, ast.Dict):
            return  # settings of plots
        value = self._value(node.value)
        for target in node.targets:
            self._set(target, value)

    def _set(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self._bind(target, value)
        elif isinstance(target, ast.Tuple | ast.List):
            self._unpack(target, value)
        elif isinstance(target, ast.Subscript):
            items, index = self._element(target)
            items[index] = (self._row(target, value), self._offset(target))
        else:
            raise self._error(target, "only names and elements of lists are assigned in a model", _HINT)

    def _append(self, call: ast.Call) -> None:
        """`f.append(expression)`."""
        function = call.func
        items = self._value(function.value) if isinstance(function, ast.Attribute) else None
        if not isinstance(items, list):
            raise self._error(call, "only lists are appended to")
        items.append((self._row(call, self._value(call.args[0])), self._offset(call.args[0])))

    def _row(self, node: ast.expr, value: Value) -> Expression:
        """What goes into a list that is there: an expression, or a row of one. So no list comes to hold itself."""
        if isinstance(value, list) and len(value) == 1:
            value = value[0][0]
        if isinstance(value, list):
            raise self._error(node, "a list stands where a number or an expression is expected")
        return value  # type: ignore[no-any-return]

    def _bind(self, target: ast.Name, value: Value) -> None:
        self.values[target.id] = value
        self.places[target.id] = self._offset(target)

    def _unpack(self, target: ast.Tuple | ast.List, value: Value) -> None:
        values = [item for item, _ in value] if isinstance(value, list) else [value]
        if len(target.elts) != len(values):
            raise self._error(target, f"{len(values)} values for {len(target.elts)} names")
        for part, item in zip(target.elts, values, strict=True):
            self._set(part, item)

    # --- expressions

    def _value(self, node: ast.expr) -> Value:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(node, f"nested deeper than {MAX_DEPTH} levels")
        read = self._kinds.get(type(node))
        if read is None:
            raise self._error(node, f"`{words(node)}` is not part of a model", _HINT)
        try:
            value = read(node)
        except ExpressionError as error:
            raise self._error(node, error.message, error.hint) from None
        self._depth -= 1
        self._items += len(value) if isinstance(value, list) else 0
        if self._items > _MOST_ITEMS:
            raise self._error(node, f"the lists of this file hold over {_MOST_ITEMS:,} things")
        return value

    def _list(self, node: ast.List | ast.Tuple) -> Value:
        items: list[arrays.Item] = []
        for item in node.elts:
            value = self._value(item.value if isinstance(item, ast.Starred) else item)
            whole = isinstance(item, ast.Starred) and isinstance(value, list)
            items.extend(value if whole else [(value, self._offset(item))])
        return items

    def _subscript(self, node: ast.Subscript) -> Value:
        items, index = self._element(node)
        return items[index][0]

    def _element(self, node: ast.Subscript) -> tuple[list[arrays.Item], int]:
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) and node.slice.elts else [node.slice]
        value = self._value(node.value)
        try:
            return arrays.place(value, [self._scalar(index) for index in indices])
        except ExpressionError as error:
            raise self._error(node, error.message, error.hint) from None

    def _scalar(self, node: ast.expr) -> Expression:
        value = self._value(node)
        if isinstance(value, list):
            raise self._error(node, "a list stands where a number or an expression is expected")
        return value  # type: ignore[no-any-return]

    def _constant(self, node: ast.Constant) -> Expression:
        if self._tolerant and isinstance(node.value, bool | str | None):
            return Number(Fraction(int(node.value is True)))
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self._error(node, f"a {type(node.value).__name__} stands where a number is expected")
        text = self._literal(node)
        if len(text) > _LONGEST_LITERAL or not math.isfinite(node.value):
            raise self._error(node, "this number is too long or too large")
        exact = Fraction(node.value) if text[:2].lower() in ("0x", "0b", "0o") else Fraction(text.replace("_", ""))
        return number(exact, 0)

    def _literal(self, node: ast.Constant) -> str:
        # a float's text is exact where its binary value is not: 0.1 is 1/10
        line = self._lines[node.lineno - 1].encode()
        return line[node.col_offset : node.end_col_offset].decode()

    def _name(self, node: ast.Name) -> Value:
        if node.id in self.values:
            return self.values[node.id]
        if self._tolerant and self._functions.get(node.id) == INFINITY:
            return Symbol(INFINITY)
        raise self._error(node, f"`{node.id[:60]}` is not defined", "make it a symbol above, or import what it is")

    def _attribute(self, node: ast.Attribute) -> Value:
        if node.attr == "T":
            return arrays.transposed(self._value(node.value))
        if self._tolerant and node.attr in ("inf", "oo") and isinstance(node.value, ast.Name):
            return Symbol(INFINITY)
        raise self._error(node, f"`.{node.attr[:60]}` is not part of a model", _HINT)

    def _unary(self, node: ast.UnaryOp) -> Expression:
        value = self._scalar(node.operand)
        if isinstance(node.op, ast.USub):
            return functions.negative(value)
        if isinstance(node.op, ast.UAdd):
            return value
        raise self._error(node, "only the signs + and - are known here")

    def _binary(self, node: ast.BinOp) -> Value:
        if isinstance(node.op, ast.Mult) and isinstance(node.left, ast.List):
            return arrays.repeated(self._list(node.left), self._scalar(node.right))
        if isinstance(node.op, ast.Pow):
            return power(self._scalar(node.left), self._scalar(node.right))
        if isinstance(node.op, ast.Add | ast.Sub):
            return add(self._chain(node, (ast.Add, ast.Sub)))
        if isinstance(node.op, ast.Mult | ast.Div):
            return multiply(self._chain(node, (ast.Mult, ast.Div)))
        raise self._error(
            node, f"the operator `{type(node.op).__name__}` is not part of a model", "known are + - * / **"
        )

    def _chain(self, node: ast.expr, kinds: tuple[type[ast.operator], ...]) -> Iterator[Expression]:
        """The terms of `a + b - c` or `a * b / c`, left to right: as long as they come, without recursion."""
        links: list[ast.BinOp] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, kinds):
            links.append(node)
            node = node.left
        yield self._scalar(node)
        for link in reversed(links):
            value = self._scalar(link.right)
            if isinstance(link.op, ast.Sub):
                value = functions.negative(value)
            elif isinstance(link.op, ast.Div):
                value = power(value, Number(Fraction(-1)))
            yield value

    # --- calls

    def _call(self, node: ast.Call) -> Value:
        name = self._called(node)
        if name in ("Symbol", "symbols", "var", "Dummy"):
            return self._symbols(node, name)
        if name in _CONVERSIONS and len(node.args) == 1 and not node.keywords:
            return _CONVERSIONS[name](self._value(node.args[0]), self._offset(node))
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._error(node, f"`{name}` takes plain arguments here")
        if name in ("zeros", "ones"):
            return arrays.filled(int(name == "ones"), self._sizes(node), self._offset(node))
        arguments = [self._scalar(argument) for argument in node.args]
        if name == "Rational" and len(arguments) == 2:
            return functions.quotient(arguments[0], arguments[1])
        if name in ("Integer", "Float", "Rational", "S", "sympify") and len(arguments) == 1:
            return arguments[0]
        return functions.apply(name, arguments)

    def _called(self, node: ast.Call) -> str:
        function = node.func
        if isinstance(function, ast.Name):
            return self._functions.get(function.id, function.id)
        if (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)
            and function.value.id in self._modules
        ):
            return function.attr
        raise self._error(node, f"`{words(function)}` is not a function of sympy or math", _HINT)

    def _sizes(self, node: ast.Call) -> list[Expression]:
        sizes = node.args[0].elts if len(node.args) == 1 and isinstance(node.args[0], ast.Tuple) else node.args
        return [self._scalar(size) for size in sizes]

    def _symbols(self, node: ast.Call, name: str) -> Value:
        if len(node.args) != 1:
            raise self._error(node, f"`{name}` takes one text here")
        return self._made(node.args[0], name)

    def _made(self, argument: ast.expr, name: str) -> Value:
        """The symbols that a text, or a list of texts, names."""
        if isinstance(argument, ast.List | ast.Tuple) and name == "symbols":
            return [(self._made(item, name), self._offset(item)) for item in argument.elts]
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise self._error(argument, f"`{name}` takes one text here")
        names = [argument.value] if name in ("Symbol", "Dummy") else list(self._expanded(argument))
        at = self._offset(argument)
        symbols = [(self._symbol(argument, text.strip()), at) for text in names]
        alone = len(symbols) == 1 and not argument.value.rstrip().endswith(",") and ":" not in argument.value
        return symbols[0][0] if alone else symbols

    def _expanded(self, node: ast.Constant) -> Iterator[str]:
        """The names in `a b, c3:6`."""
        for word in re.split(r"[\s,]+", str(node.value).strip(" ,\t\n")):
            match = re.fullmatch(r"(\w*?)(\d{0,6}):(\d{1,6})", word)
            if match is None:
                yield word
                continue
            first, last = int(match[2] or 0), int(match[3])
            if last - first > MAX_RANGE:
                raise self._error(node, f"`{word[:60]}` makes over {MAX_RANGE:,} symbols")
            yield from (f"{match[1]}{index}" for index in range(first, last))

    def _symbol(self, node: ast.expr, text: str) -> Symbol:
        name = ascii_name(text)
        if name is None:
            raise self._error(
                node, f"{text[:60]!a} cannot be a name", "letters, digits and `_`, not starting with a digit"
            )
        return Symbol(name)

    # --- places

    def _offset(self, node: ast.AST) -> int:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        text = self._lines[line - 1].encode()[:column].decode(errors="ignore")
        return self.source.offset(line, len(text) + 1)

    def _error(self, node: ast.AST, message: str, hint: str = "") -> ManifestError:
        return self.source.error(message, self._offset(node), hint=hint)


_CONVERSIONS: dict[str, Callable[[Value, int], Value]] = {
    "Matrix": arrays.matrix,
    "ImmutableMatrix": arrays.matrix,
    "array": arrays.array,
    "transpose": lambda value, _offset: arrays.transposed(value),
}
