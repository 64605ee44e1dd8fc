"""STRIKE-GOLDD model files (`.m`): `syms`, assignments and `save`, read as text. MATLAB is never called.

Known are `syms a b`, `name = expression`, `name = [a; b]`, `name(3) = 1`, `zeros`/`ones`, `save(...)` and `clear`.
A file that saves several variants holds several models, named as they are saved.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import PureWindowsPath
from typing import Any

from batchmill.workloads.identifiability.expressions import Expression, ExpressionError, Number, Symbol
from batchmill.workloads.identifiability.formats import functions
from batchmill.workloads.identifiability.formats.algebra import MATLAB, MAX_DEPTH, Algebra, Token, tokens
from batchmill.workloads.identifiability.formats.draft import Draft
from batchmill.workloads.identifiability.formats.source import Source
from batchmill.workloads.identifiability.formats.vectors import NAMES, Vectors

_IGNORED = ("clear", "clc", "close", "clearvars", "end", "format")
_ASSUMPTIONS = ("real", "positive", "integer", "rational", "nonnegative")
_BLOCK_COMMENT = re.compile(r"^[ \t]*%\{[ \t]*\n.*?^[ \t]*%\}[ \t]*$", re.DOTALL | re.MULTILINE)
_MAX_ELEMENTS = 1000
_MOST_MADE = 1_000_000
_HINT = "a model file holds syms, assignments of x, p, u, w, h, f, ics and known_ics, and save"


def read_models(source: Source) -> list[Draft]:
    """The models of a file. Raises ManifestError at any statement that is not part of one."""
    blanked = _BLOCK_COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source.text)
    reader = _Reader(Source(source.path, blanked))
    reader.read()
    saved = reader.saved if len(reader.saved) > 1 else {source.stem: reader.values}
    return [Vectors(values, reader.places, source, name).draft() for name, values in saved.items()]


class _Reader:
    def __init__(self, source: Source) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[str, int] = {}
        self.saved: dict[str, dict[str, Any]] = {}
        self._depth = 0
        self._made = 0  # elements by `zeros` and `ones`
        self._algebra = Algebra(source, tokens(source, MATLAB), MATLAB, self._name, self._call)

    def read(self) -> None:
        algebra = self._algebra
        while algebra.peek().kind != "end":
            if algebra.peek().kind == "newline" or algebra.peek().text in (";", ","):
                algebra.next()
            else:
                self._statement()

    def _statement(self) -> None:
        algebra = self._algebra
        token = algebra.peek()
        following = algebra.peek(1)
        if token.kind == "name" and following.text == "=":
            self._assign()
        elif token.kind == "name" and following.text == "(" and (token.text in self.values or token.text in NAMES):
            self._assign_element()
        elif token.text == "syms":
            self._syms()
        elif token.text == "save":
            self._save()
        elif token.text in _IGNORED or (token.text == "function" and not self.values):
            self._skip_line()
        else:
            algebra.refuse(f"{algebra.shown(token)} is not part of a model", token, _HINT)

    def _ends(self) -> bool:
        return self._algebra.peek().kind in ("newline", "end") or self._algebra.peek().text == ";"

    def _skip_line(self) -> None:
        """Pass over a statement of plain words, which says nothing about the model."""
        algebra = self._algebra
        first = algebra.next()
        allowed = ("(", ")", ",", "=", "[", "]") if first.text == "function" else ()
        while not self._ends():
            token = algebra.next()
            if token.kind not in ("name", "text") and token.text not in allowed:
                algebra.refuse(f"`{first.text}` with {algebra.shown(token)} is not part of a model", first, _HINT)

    def _syms(self) -> None:
        algebra = self._algebra
        algebra.next()
        while not self._ends():
            token = algebra.next()
            if token.kind != "name" or algebra.peek().text == "(":
                algebra.refuse("`syms` takes plain names here", token)
            if token.text not in _ASSUMPTIONS:
                self._bind(token, Symbol(token.text))

    def _bind(self, token: Token, value: Any) -> None:
        self.values[token.text] = value
        self.places[token.text] = token.offset

    def _assign(self) -> None:
        target = self._algebra.next()
        self._algebra.next()
        self._bind(target, self._value())
        self._end_statement()

    def _end_statement(self) -> None:
        if not self._ends() and self._algebra.peek().text != ",":
            shown = self._algebra.shown(self._algebra.peek())
            self._algebra.refuse(f"an operator or the end of the statement is expected, not {shown}")

    def _assign_element(self) -> None:
        """`ics(3) = value`, `f(2, 1) = value`; a vector grows by one where the index is the next."""
        algebra = self._algebra
        target = algebra.next()
        held = self.values.get(target.text, [])
        vector = [*held, (Number(Fraction(0)), target.offset)] if isinstance(held, list) else []
        index = self._index(target, algebra.arguments(), vector[:_MAX_ELEMENTS])
        algebra.expect("=")
        offset = algebra.peek().offset
        vector[index] = (self._value(), offset)
        if index < len(vector) - 1:
            vector.pop()
        self.values[target.text] = vector
        self.places.setdefault(target.text, target.offset)
        self._end_statement()

    def _index(self, target: Token, arguments: list[Expression], vector: Any) -> int:
        """Where in a vector `(2)`, `(2, 1)` or `(1, 2)` is. Raises ManifestError for an element that it has not."""
        numbers = [argument.value if isinstance(argument, Number) else Fraction(0) for argument in arguments]
        index = max(numbers) if len(numbers) == 1 or (len(numbers) == 2 and 1 in numbers) else Fraction(0)
        if not isinstance(vector, list) or index.denominator != 1 or not 1 <= index <= len(vector) or min(numbers) < 1:
            self._algebra.refuse(f"`{target.text}` has no such element", target)
        return int(index) - 1

    def _value(self) -> Any:
        """A matrix, a vector made by `zeros` or `ones`, another vector, or an expression."""
        algebra = self._algebra
        token = algebra.peek()
        if token.text == "[":
            value = self._matrix()
        elif token.text in ("sym", "transpose", "simplify") and algebra.peek(1).text == "(":
            value = self._wrapped()
        elif token.text in ("zeros", "ones"):
            value = self._filled()
        elif isinstance(self.values.get(token.text), list) and algebra.peek(1).text not in (
            "(",
            "+",
            "-",
            "*",
            "/",
            "^",
        ):
            value = self.values[algebra.next().text]
        else:
            return algebra.expression()
        while algebra.take("'", ".'"):
            pass
        return value

    def _wrapped(self) -> Any:
        algebra = self._algebra
        first = algebra.next()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            algebra.refuse(f"nested deeper than {MAX_DEPTH} levels", first)
        algebra.expect("(")
        text = algebra.peek()
        if first.text == "sym" and text.kind == "text":
            algebra.next()
            name = text.text[1:-1]
            if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
                algebra.refuse(f"{name[:60]!a} cannot be a name", text)
            value: Any = Symbol(name)
        else:
            value = self._value()
        algebra.expect(")")
        self._depth -= 1
        return value

    def _filled(self) -> Any:
        first = self._algebra.next()
        sizes = self._algebra.arguments()
        count = 1
        for size in sizes or [Number(Fraction(1))]:
            if not isinstance(size, Number) or size.value.denominator != 1 or not 0 <= size.value <= _MAX_ELEMENTS:
                self._algebra.refuse(f"`{first.text}` takes one or two whole numbers here", first)
            count *= int(size.value)
        if count > _MAX_ELEMENTS:
            self._algebra.refuse(f"`{first.text}` makes over {_MAX_ELEMENTS:,} elements", first)
        self._made += count
        if self._made > _MOST_MADE:
            self._algebra.refuse(f"the vectors of this file hold over {_MOST_MADE:,} elements", first)
        return [(Number(Fraction(first.text == "ones")), first.offset)] * count

    def _matrix(self) -> Any:
        """The elements of `[...]`, whatever its shape: blanks, commas, semicolons and line ends separate them."""
        algebra = self._algebra
        opening = algebra.next()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            algebra.refuse(f"nested deeper than {MAX_DEPTH} levels", opening)
        around, algebra.in_matrix = algebra.in_matrix, True
        items: list[tuple[Any, int]] = []
        while not algebra.take("]"):
            token = algebra.peek()
            if token.kind == "end":
                algebra.refuse("this bracket is never closed", opening)
            if token.kind == "newline" or token.text in (",", ";"):
                algebra.next()
            else:
                items.append((self._value(), token.offset))
        algebra.in_matrix = around
        self._depth -= 1
        return items

    def _save(self) -> None:
        """`save('name', 'x', ...)`: what the model is called. Nothing is written."""
        algebra = self._algebra
        first = algebra.next()
        texts: list[str] = []
        while not self._ends():
            token = algebra.next()
            if token.kind == "text":
                texts.append(token.text[1:-1])
            elif token.kind == "name":
                texts.append(token.text)
            elif token.text not in ("(", ")", ",", "-", "."):
                algebra.refuse("`save` takes plain names here", first)
        name = PureWindowsPath(texts[0]).stem if texts else ""
        if name:
            self.saved[name] = dict(self.values)

    def _name(self, token: Token) -> Expression:
        value = self.values.get(token.text)
        if isinstance(value, list) and len(value) == 1:
            value = value[0][0]
        if value is None or isinstance(value, list):
            why = "is a vector, where one value is expected" if value else "is not defined"
            raise ExpressionError(f"`{token.text[:60]}` {why}", token.offset, length=len(token.text), hint="see `syms`")
        return value  # type: ignore[no-any-return]

    def _call(self, token: Token, arguments: list[Expression]) -> Expression:
        if token.text in self.values:
            return self.values[token.text][self._index(token, arguments, self.values[token.text])][0]  # type: ignore[no-any-return]
        name = token.text
        if name == "nthroot" and len(arguments) == 2:
            name, arguments = "power", [arguments[0], functions.quotient(Number(Fraction(1)), arguments[1])]
        return functions.apply(name, arguments, token.offset)
