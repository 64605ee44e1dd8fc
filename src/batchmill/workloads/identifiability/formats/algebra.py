"""Tokens and expressions of MATLAB, Julia and PEtab formulas. Statements are read by the module of each format."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple, NoReturn

from batchmill.workloads.identifiability.expressions import (
    Expression,
    ExpressionError,
    Number,
    add,
    multiply,
    number,
    power,
)
from batchmill.workloads.identifiability.formats import functions
from batchmill.workloads.identifiability.formats.source import Source

MAX_DEPTH = 64
_LONGEST_NUMBER = 400


class Token(NamedTuple):
    """A piece of text. `spaced`: blank space stands before it."""

    kind: str  # number, name, operator, text, newline or end
    text: str
    offset: int
    spaced: bool


class Dialect(NamedTuple):
    """How one language writes algebra."""

    pattern: re.Pattern[str]
    powers: tuple[str, ...]
    times: tuple[str, ...]
    divides: tuple[str, ...]
    power_from_left: bool = False  # 2^3^2 is (2^3)^2
    juxtaposed: bool = False  # 2x is 2*x


_NUMBER = r"(?P<number>(?:\d+\.?(?![*/^'])\d*|\d+|\.\d+)(?:[eE][+-]?\d+)?)"
MATLAB = Dialect(
    re.compile(
        r"(?P<space>[ \t\f]+|\.\.\.[^\n]*\n|%[^\n]*)" + f"|{_NUMBER}" + r"|(?P<name>[A-Za-z]\w*)"
        r"|(?P<newline>\n)|(?P<operator>\.[*/^']|==|~=|&&|\|\||[-+*/^()\[\]{},;='.:<>&|@!\\~])|(?P<text>\"[^\"\n]*\")",
        re.ASCII,
    ),
    ("^", ".^"),
    ("*", ".*"),
    ("/", "./"),
    power_from_left=True,
)
JULIA = Dialect(
    re.compile(
        r"(?P<space>[ \t\f]+|#=.*?=#|#[^\n]*)" + f"|{_NUMBER}" + r"|(?P<name>@?[^\W\d]\w*!?)"
        r"|(?P<newline>\n)|(?P<operator>\.[*/^+-]|//|==|[-+*/^()\[\]{},;='.:<>&|@!\\~$?%])|(?P<text>\"[^\"\n]*\"|`[^`\n]*`)",
        re.DOTALL,
    ),
    ("^", ".^"),
    ("*", ".*"),
    ("/", "./", "//"),
    juxtaposed=True,
)
PETAB = Dialect(
    re.compile(r"(?P<space>\s+)" + f"|{_NUMBER}" + r"|(?P<name>[A-Za-z_]\w*)|(?P<operator>\*\*|[-+*/^(),])"),
    ("^", "**"),
    ("*",),
    ("/",),
)


def tokens(source: Source, dialect: Dialect, start: int = 0, *, closed: bool = False) -> list[Token]:
    """The tokens from an offset to the end, or, with `closed`, to the end of the brackets that open there.

    Raises ManifestError at a character that belongs to none.
    """
    found: list[Token] = []
    position, spaced, depth = start, False, 0
    while position < len(source.text):
        match = _text_in_quotes(source, found, position, spaced) if dialect is MATLAB else None
        match = match or dialect.pattern.match(source.text, position)
        if match is None:
            character = source.text[position]
            shown = f"`{character}`" if character.isascii() else f"U+{ord(character):04X}"
            source.refuse(f"unexpected character {shown}", position)
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, match[0], position, spaced))
        spaced = kind in ("space", "newline")
        position = match.end()
        depth += (match[0] in _OPENING) - (match[0] in _CLOSING)
        if closed and found and depth <= 0:
            break
    found.append(Token("end", "", len(source.text), spaced))
    return found


_OPENING, _CLOSING = (("(", "[", "{"), (")", "]", "}"))
_QUOTED = re.compile(r"(?P<text>'[^'\n]*')")


def _text_in_quotes(source: Source, found: list[Token], position: int, spaced: bool) -> re.Match[str] | None:
    """In MATLAB a quote right after a value transposes it; anywhere else it opens a text."""
    after_value = found and (found[-1].kind in ("name", "number") or found[-1].text in (")", "]", "}", "'", ".'"))
    if source.text[position] != "'" or (after_value and not spaced):
        return None
    return _QUOTED.match(source.text, position)


class Algebra:
    """A cursor over tokens that reads expressions. `name` and `call` say what a name, and a name with arguments, is."""

    def __init__(
        self,
        source: Source,
        found: list[Token],
        dialect: Dialect,
        name: Callable[[Token], Expression],
        call: Callable[[Token, list[Expression]], Expression],
    ) -> None:
        self.source = source
        self.tokens = found
        self.position = 0
        self.in_matrix = False  # there blank space separates
        self._dialect = dialect
        self._name = name
        self._call = call
        self._depth = 0

    def peek(self, ahead: int = 0) -> Token:
        """The next token, or one after it."""
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        """The next token, taken."""
        token = self.peek()
        self.position += 1
        return token

    def take(self, *texts: str) -> Token | None:
        """The next token when it is one of these operators, taken."""
        token = self.peek()
        if token.kind != "operator" or token.text not in texts:
            return None
        self.position += 1
        return token

    def expect(self, text: str) -> Token:
        """The next token, taken. Raises ManifestError unless it is this operator."""
        token = self.take(text)
        if token is None:
            self.refuse(f"`{text}` is expected here, not {self.shown(self.peek())}")
        return token

    def refuse(self, message: str, token: Token | None = None, hint: str = "") -> NoReturn:
        """Raises ManifestError at a token, or at the next one."""
        token = token or self.peek()
        self.source.refuse(message, token.offset, length=max(len(token.text), 1), hint=hint)

    @staticmethod
    def shown(token: Token) -> str:
        """What a token is, in a message."""
        if token.kind in ("newline", "end"):
            return "the end of the line"
        return f"`{token.text[:60]}`" if token.text.isascii() else ascii(token.text[:60])

    def expression(self) -> Expression:
        """The next expression. Raises ManifestError."""
        try:
            return self._sum()
        except ExpressionError as error:
            self.source.refuse_expression(error)

    def _separates(self) -> bool:
        """Whether a sign opens the next element of a matrix row: `[a -b]` has two elements, `[a - b]` one."""
        return self.in_matrix and self.peek().spaced and not self.peek(1).spaced

    def _sum(self) -> Expression:
        start = self.peek().offset
        terms = [self._product()]
        while self.peek().text in ("+", "-", ".+", ".-") and not self._separates():
            sign = self.next()
            term = self._product()
            terms.append(functions.negative(term) if sign.text.endswith("-") else term)
        return add(terms, start)

    def _product(self) -> Expression:
        start = self.peek().offset
        factors = [self._signed()]
        while operator := self.take(*self._dialect.times, *self._dialect.divides):
            factor = self._signed()
            divides = operator.text in self._dialect.divides
            factors.append(power(factor, Number(Fraction(-1)), operator.offset) if divides else factor)
        return multiply(factors, start)

    def _signed(self) -> Expression:
        start = self.peek().offset
        minus = False
        while sign := self.take("+", "-"):
            minus ^= sign.text == "-"
        value = self._juxtaposed()
        return functions.negative(value, start) if minus else value

    def _juxtaposed(self) -> Expression:
        """`2x^2` is 2*(x^2), and it binds tighter than `/`."""
        token, following = self.peek(), self.peek(1)
        touches = (following.kind == "name" or following.text == "(") and not following.spaced
        if not (self._dialect.juxtaposed and token.kind == "number" and touches):
            return self._power()
        coefficient = self._number(self.next())
        return multiply((coefficient, self._power()), token.offset)

    def _power(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels", self.peek().offset)
        value = self._transposed()
        while operator := self.take(*self._dialect.powers):
            exponent = self._exponent() if self._dialect.power_from_left else self._signed()
            value = power(value, exponent, operator.offset)
        self._depth -= 1
        return value

    def _exponent(self) -> Expression:
        minus = False
        while sign := self.take("+", "-"):
            minus ^= sign.text == "-"
        value = self._transposed()
        return functions.negative(value) if minus else value

    def _transposed(self) -> Expression:
        value = self._atom()
        while self._dialect is MATLAB and not self.peek().spaced and self.take(".'", "'"):
            pass
        return value

    def _atom(self) -> Expression:
        token = self.next()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "name":
            if self.peek().text == "(" and not (self.in_matrix and self.peek().spaced):
                return self._call(token, self._arguments())
            return self._name(token)
        if token.text == "(":
            around, self.in_matrix = self.in_matrix, False
            value = self._sum()
            self.expect(")")
            self.in_matrix = around
            return value
        raise ExpressionError(
            f"{self.shown(token)} stands where a name, a number or `(` is expected",
            token.offset,
            length=max(len(token.text), 1),
        )

    def arguments(self) -> list[Expression]:
        """What stands in the parentheses that open here. Raises ManifestError."""
        try:
            return self._arguments()
        except ExpressionError as error:
            self.source.refuse_expression(error)

    def _arguments(self) -> list[Expression]:
        around, self.in_matrix = self.in_matrix, False
        self.expect("(")
        values: list[Expression] = []
        while not self.take(")"):
            values.append(self._sum())
            if self.peek().text != ")":
                self.expect(",")
        self.in_matrix = around
        return values

    @staticmethod
    def _number(token: Token) -> Number:
        mantissa, _, exponent = token.text.lower().partition("e")
        if len(mantissa) > _LONGEST_NUMBER or abs(int((exponent or "0")[:6])) > _LONGEST_NUMBER:
            raise ExpressionError("this number is too long or too large", token.offset, length=min(len(mantissa), 80))
        return number(Fraction(token.text), token.offset)
