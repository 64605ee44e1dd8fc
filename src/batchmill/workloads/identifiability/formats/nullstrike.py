"""NullStrike and StrikePy model and options files (`.py`): their syntax tree is read, nothing in them runs.

A model file makes sympy symbols and assigns `x`, `p`, `h`, `f`, `u`, `w` (and `ics`, `known_ics`); a symbol that is in
none of them is a known constant. Only those statements are known; any other is refused.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
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
from batchmill.workloads.identifiability.formats import functions
from batchmill.workloads.identifiability.formats.draft import Draft, symbol_name
from batchmill.workloads.identifiability.formats.source import Source, ascii_name, read_source
from batchmill.workloads.identifiability.formats.vectors import Vectors, flat

Value = Any  # an Expression, or a list of values, each with its offset
MAX_DEPTH = 64
MAX_RANGE = 1000
_LONGEST_LITERAL = 400
_OPTIONS = ("nnzDerU", "nnzDerW", "prev_ident_pars", "checkObser", "maxLietime", "checkLIE", "numexp", "modelname")
_INFINITY = "inf"
_MODULES = ("sympy", "math", "numpy")
_HINT = "a model file makes symbols with sympy and assigns x, p, h, f, u and w; write such things out"


def read_models(source: Source) -> list[Draft]:
    """The one model of a file. Raises ManifestError at anything that is not part of one."""
    reader = _Reader(source)
    for statement in parse(source).body:
        reader.statement(statement)
    return [Vectors(reader.values, reader.places, source, source.stem).draft()]


def read_options(path: str) -> dict[str, Any]:
    """The options of a NullStrike or StrikePy options file, under our names.

    `nnzDerU` becomes `nonzero_input_derivatives`, `nnzDerW` `unknown_input_derivatives`, `prev_ident_pars`
    `known_parameters` and `checkObser = 0` `parameters_only`. The rest (`modelname`, `maxLietime`, `checkLIE`, plots)
    has no meaning here: the method needs no such limits. Raises ManifestError.
    """
    source = read_source(path)
    reader = _Reader(source, tolerant=True)
    for statement in parse(source).body:
        reader.statement(statement)
    return _Options(reader.values, reader.places, source).read()


class _Options:
    def __init__(self, values: dict[str, Value], places: dict[str, int], source: Source) -> None:
        self._values = values
        self._places = places
        self._source = source

    def read(self) -> dict[str, Any]:
        if not any(name in self._values for name in _OPTIONS):
            self._source.refuse("no option is set here", hint=f"known are {', '.join(_OPTIONS)}")
        options: dict[str, Any] = {}
        if "nnzDerU" in self._values:
            options["nonzero_input_derivatives"] = self._count("nnzDerU")
        if "nnzDerW" in self._values:
            options["unknown_input_derivatives"] = self._count("nnzDerW")
        if self._one("checkObser", 1) == 0:
            options["parameters_only"] = True
        known = [symbol_name(value) for value, _ in flat(self._values.get("prev_ident_pars", []), 0)]
        if None in known:
            self._source.refuse("`prev_ident_pars` holds symbols", self._places["prev_ident_pars"])
        if known:
            options["known_parameters"] = known
        if self._one("numexp", 1) != 1 or self._one("multiexp", 0) != 0:
            self._source.refuse("several experiments at once are not supported", self._places.get("numexp"))
        return {name: value for name, value in options.items() if value is not None}

    def _one(self, name: str, default: int) -> Fraction:
        value = self._values.get(name, Number(Fraction(default)))
        if not isinstance(value, Number):
            self._source.refuse(f"`{name}` is a number", self._places[name])
        return value.value

    def _count(self, name: str) -> int | str | None:
        """One number of derivatives for all inputs, or `generic`; None for an empty list."""
        counts = {self._derivatives(name, value) for value, _ in flat(self._values[name], self._places[name])}
        if len(counts) > 1:
            hint = "analyse once for each number, or give the same to all inputs"
            self._source.refuse(f"`{name}` differs from input to input", self._places[name], hint=hint)
        return counts.pop() if counts else None

    def _derivatives(self, name: str, value: Expression) -> int | str:
        if symbol_name(value) == _INFINITY:
            return "generic"
        if isinstance(value, Number) and value.value.denominator == 1 and value.value >= 0:
            return int(value.value)
        raise self._source.error(f"`{name}` holds whole numbers or inf", self._places[name])


def parse(source: Source) -> ast.Module:
    """The syntax tree. Raises ManifestError."""
    _refuse_deep_brackets(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes and literals in a text that is not ours
            return ast.parse(source.text)
    except SyntaxError as error:
        at = source.offset(error.lineno or 1, error.offset or 1)
        source.refuse(f"this is not Python: {error.msg}", at)
    except (RecursionError, MemoryError, ValueError):
        source.refuse("an expression here is too long or nested too deeply to be read")


def _refuse_deep_brackets(source: Source) -> None:
    depth = 0
    for match in re.finditer(r"[\[({]|[\])}]", source.text):
        depth += 1 if match[0] in "[({" else -1
        if depth > MAX_DEPTH:
            source.refuse(f"nested deeper than {MAX_DEPTH} levels", match.start())


class _Reader:
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
        self._kinds: dict[type[ast.expr], Callable[[Any], Value]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.Call: self._call,
            ast.List: self._list,
            ast.Tuple: self._list,
            ast.Attribute: self._attribute,
        }

    # --- statements

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import):
            self._import(node)
        elif isinstance(node, ast.ImportFrom):
            self._import_from(node)
        elif isinstance(node, ast.Assign):
            self._assign(node)
        elif not self._is_text(node):
            raise self._error(node, f"`{_words(node)}` is not part of a model", _HINT)

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
        if _is_locals(node.value):
            return
        if self._tolerant and isinstance(node.value, ast.Dict):
            return  # settings of plots
        value = self._value(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._bind(target, value)
            elif isinstance(target, ast.Tuple | ast.List):
                self._unpack(target, value)
            else:
                raise self._error(target, "only plain names are assigned in a model", _HINT)

    def _bind(self, target: ast.Name, value: Value) -> None:
        self.values[target.id] = value
        self.places[target.id] = self._offset(target)

    def _unpack(self, target: ast.Tuple | ast.List, value: Value) -> None:
        values = [item for item, _ in value] if isinstance(value, list) else [value]
        names = [item for item in target.elts if isinstance(item, ast.Name)]
        if len(names) != len(target.elts) or len(names) != len(values):
            raise self._error(target, f"{len(values)} values for {len(target.elts)} names")
        for name, item in zip(names, values, strict=True):
            self._bind(name, item)

    # --- expressions

    def _value(self, node: ast.expr) -> Value:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(node, f"nested deeper than {MAX_DEPTH} levels")
        read = self._kinds.get(type(node))
        if read is None:
            raise self._error(node, f"`{_words(node)}` is not part of a model", _HINT)
        try:
            value = read(node)
        except ExpressionError as error:
            raise self._error(node, error.message, error.hint) from None
        self._depth -= 1
        return value

    def _list(self, node: ast.List | ast.Tuple) -> Value:
        return [(self._value(item), self._offset(item)) for item in node.elts]

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
        if self._tolerant and self._functions.get(node.id) == _INFINITY:
            return Symbol(_INFINITY)
        raise self._error(node, f"`{node.id[:60]}` is not defined", "make it a symbol above, or import what it is")

    def _attribute(self, node: ast.Attribute) -> Value:
        if node.attr == "T":
            return self._value(node.value)
        if self._tolerant and node.attr in ("inf", "oo") and isinstance(node.value, ast.Name):
            return Symbol(_INFINITY)
        raise self._error(node, f"`.{node.attr[:60]}` is not part of a model", _HINT)

    def _unary(self, node: ast.UnaryOp) -> Expression:
        value = self._scalar(node.operand)
        if isinstance(node.op, ast.USub):
            return functions.negative(value)
        if isinstance(node.op, ast.UAdd):
            return value
        raise self._error(node, "only the signs + and - are known here")

    def _binary(self, node: ast.BinOp) -> Expression:
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
        if name in ("Matrix", "array", "ImmutableMatrix", "transpose") and len(node.args) == 1 and not node.keywords:
            return self._value(node.args[0])
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._error(node, f"`{name}` takes plain arguments here")
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
        raise self._error(node, f"`{_words(function)}` is not a function of sympy or math", _HINT)

    def _symbols(self, node: ast.Call, name: str) -> Value:
        argument = node.args[0] if len(node.args) == 1 else None
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise self._error(node, f"`{name}` takes one text here")
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


def _is_locals(node: ast.expr) -> bool:
    """Whether this is the `locals().copy()` that every such file ends with."""
    return ast.dump(node) in _LOCALS


_LOCALS = tuple(
    ast.dump(ast.parse(text, mode="eval").body) for text in ("locals().copy()", "locals()", "dict(locals())")
)


def _words(node: ast.AST) -> str:
    """What a piece of Python is, in few words."""
    names = {"FunctionDef": "def", "ClassDef": "class", "With": "with", "Subscript": "[...]", "Lambda": "lambda"}
    if isinstance(node, ast.Expr):
        return _words(node.value)
    if isinstance(node, ast.Call):
        return f"{_words(node.func)}(...)"
    if isinstance(node, ast.Name):
        return node.id[:60]
    if isinstance(node, ast.Attribute):
        return f"{_words(node.value)}.{node.attr}"[:60]
    kind = type(node).__name__
    return names.get(kind, kind.lower())
