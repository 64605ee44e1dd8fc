"""Text to expression: a tokenizer and a precedence parser of our own. Nothing is ever evaluated as code.

Grammar, loosest first: `+ -`, `* /`, sign, `**` (to the right; `-x**2` is `-(x**2)`), names, numbers, parentheses
and calls of the functions below. Numbers are exact: `0.1` is 1/10.
"""

from __future__ import annotations

import difflib
import re
from fractions import Fraction
from typing import NamedTuple, NoReturn

from batchmill.workloads.identifiability.expressions import (
    Call,
    Expression,
    ExpressionError,
    Number,
    Symbol,
    add,
    multiply,
    number,
    power,
)

MAX_LENGTH = 50_000  # characters
MAX_DEPTH = 64  # nested parentheses and powers; each level takes six frames of the interpreter's stack
FUNCTIONS = ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh")

_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator>\*\*|[-+*/()])",
    re.ASCII,
)
_LONGEST_NUMBER = 400
_LARGEST_DECIMAL_EXPONENT = 400
_MINUS_ONE = Number(Fraction(-1))
_HINTS = {
    "^": "write `**` for powers",
    ",": "functions take one argument, and decimals are written with a point",
    "=": "write the right-hand side only",
    "−": "write `-` (U+002D)",
    "·": "write `*`",
    "×": "write `*`",
}


class _Token(NamedTuple):
    kind: str  # number, name, operator or end
    text: str
    offset: int


class Parsed(NamedTuple):
    """An expression, and where each name that stands in its text stands first."""

    expression: Expression
    names: dict[str, int]


def parse(text: str) -> Parsed:
    """The expression that `text` spells. Raises ExpressionError with the place of the first mistake."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the expression has {len(text):,} characters; the limit is {MAX_LENGTH:,}", 0)
    return _Parser(_tokens(text)).parse()


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            _refuse_character(text[position], position)
        if match.lastgroup != "space":
            tokens.append(_Token(str(match.lastgroup), match[0], position))
        position = match.end()
    tokens.append(_Token("end", "", len(text)))
    return tokens


def _refuse_character(character: str, offset: int) -> NoReturn:
    shown = f"`{character}`" if character.isascii() and character.isprintable() else f"U+{ord(character):04X}"
    hint = _HINTS.get(character, "" if character.isascii() else "names and numbers are plain ASCII")
    raise ExpressionError(f"unexpected character {shown}", offset, hint=hint)


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0
        self._names: dict[str, int] = {}

    def parse(self) -> Parsed:
        expression = self._sum()
        token = self._peek()
        if token.kind != "end":
            self._refuse_rest(token)
        return Parsed(expression, self._names)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *operators: str) -> _Token | None:
        token = self._tokens[self._next]
        if token.kind != "operator" or token.text not in operators:
            return None
        self._next += 1
        return token

    def _sum(self) -> Expression:
        start = self._peek().offset
        terms = [self._product()]
        while operator := self._take("+", "-"):
            term = self._product()
            terms.append(multiply((_MINUS_ONE, term)) if operator.text == "-" else term)
        return add(terms, start)

    def _product(self) -> Expression:
        start = self._peek().offset
        factors = [self._signed()]
        while operator := self._take("*", "/"):
            factor = self._signed()
            factors.append(power(factor, _MINUS_ONE, operator.offset) if operator.text == "/" else factor)
        return multiply(factors, start)

    def _signed(self) -> Expression:
        start = self._peek().offset
        negative = False
        while sign := self._take("+", "-"):
            negative ^= sign.text == "-"
        value = self._power()
        return multiply((_MINUS_ONE, value), start) if negative else value

    def _power(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels", self._peek().offset)
        value = self._atom()
        if operator := self._take("**"):
            value = power(value, self._signed(), operator.offset)
        self._depth -= 1
        return value

    def _atom(self) -> Expression:
        token = self._peek()
        self._next += 1
        if token.kind == "number":
            return _literal(token)
        if token.kind == "name":
            return self._call(token) if self._take("(") else self._symbol(token)
        if token.text == "(":
            return self._closed(token)
        what = "the expression ends" if token.kind == "end" else f"`{token.text}` stands"
        raise ExpressionError(f"{what} where a name, a number or `(` is expected", token.offset)

    def _symbol(self, token: _Token) -> Symbol:
        self._names.setdefault(token.text, token.offset)
        return Symbol(token.text)

    def _call(self, token: _Token) -> Expression:
        if token.text not in FUNCTIONS:
            raise ExpressionError(
                f"`{token.text}` is not a function", token.offset, length=len(token.text), hint=_call_hint(token.text)
            )
        return Call(token.text, self._closed(token), token.offset)

    def _closed(self, opening: _Token) -> Expression:
        value = self._sum()
        if self._take(")") is None:
            token = self._peek()
            if token.kind != "end":
                self._refuse_rest(token)
            raise ExpressionError("this parenthesis is never closed", opening.offset, length=len(opening.text))
        return value

    def _refuse_rest(self, token: _Token) -> NoReturn:
        if token.text == ")":
            raise ExpressionError("this parenthesis was never opened", token.offset)
        raise ExpressionError(
            f"an operator is expected before `{token.text}`",
            token.offset,
            length=len(token.text),
            hint="products are written with `*`",
        )


def _call_hint(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), FUNCTIONS, n=1)
    return f"did you mean `{near[0]}`?" if near else f"for a product write `{name}*(...)`"


def _literal(token: _Token) -> Number:
    mantissa, _, exponent = token.text.lower().partition("e")
    if len(mantissa) > _LONGEST_NUMBER or len(exponent) > 5 or abs(int(exponent or 0)) > _LARGEST_DECIMAL_EXPONENT:
        raise ExpressionError("this number is too long or too large", token.offset, length=min(len(token.text), 80))
    return number(Fraction(token.text), token.offset)
