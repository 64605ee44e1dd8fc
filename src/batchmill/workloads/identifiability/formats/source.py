"""The text of a foreign model file and its places: reading within limits, and refusals with line and column."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from batchmill import ManifestError, Problem
from batchmill.workloads.identifiability.expressions import ExpressionError

MAX_BYTES = 4_000_000
_SHOWN = 200  # characters of a line in a message


class Source:
    """A file's text. Offsets count characters from 0; lines and columns are told from 1."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return Path(self.path).stem

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(i + 1 for i, character in enumerate(self.text) if character == "\n")]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and column, as near as the text has it."""
        return self._starts[min(max(line, 1), len(self._starts)) - 1] + max(column, 1) - 1

    def line(self, number: int) -> str:
        """One line, shortened."""
        if not 1 <= number <= len(self._starts):
            return ""
        start = self._starts[number - 1]
        return self.text[start : start + _SHOWN].partition("\n")[0]

    def problem(
        self, message: str, place: tuple[int, int], code: str = "unsupported", *, length: int = 1, hint: str = ""
    ) -> Problem:
        """A Problem at a line and column."""
        line, column = place
        return Problem(f"model/{code}", message, self.path, line, column, length, self.line(line), hint=hint)

    def error(self, message: str, offset: int | None = None, *, length: int = 1, hint: str = "") -> ManifestError:
        """What to raise for something wrong at an offset, or in the file as a whole."""
        if offset is None:
            return ManifestError(f"{self.path}: {message}", hint=hint or None, code="model/unsupported")
        place = self.place(offset)
        problem = self.problem(message, place, length=length, hint=hint)
        where = f"{self.path}:{place[0]}:{place[1]}"
        return ManifestError(f"{where}: {message}", problems=(problem,), hint=hint or None, code="model/unsupported")

    def refuse(self, message: str, offset: int | None = None, *, length: int = 1, hint: str = "") -> NoReturn:
        """Raises ManifestError: see `error`."""
        raise self.error(message, offset, length=length, hint=hint)

    def refuse_expression(self, error: ExpressionError, offset: int | None = None) -> NoReturn:
        """Raises ManifestError for an expression; its own offset counts in this text unless one is given."""
        at = error.offset if offset is None else offset
        raise self.error(error.message, at, length=error.length, hint=error.hint) from None


def read_source(path: str) -> Source:
    """The text of a file (UTF-8, at most MAX_BYTES). Raises ManifestError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"cannot read `{path}`: {(error.strerror or str(error)).lower()}") from None
    if len(data) > MAX_BYTES:
        raise ManifestError(f"{path}: a model file may have at most {MAX_BYTES:,} bytes", code="model/too-large")
    return decode(path, data)


def decode(path: str, data: bytes) -> Source:
    """Bytes as text with plain line ends. Raises ManifestError at what is not UTF-8, or not printable."""
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}:{line}: this is not UTF-8 text", hint="save the file as UTF-8", code="model/encoding"
        ) from None
    source = Source(path, text)
    if not text.isprintable():
        for offset, character in enumerate(text):
            if character not in "\n\t\f" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
                source.refuse(f"a control or invisible character, U+{ord(character):04X}", offset, hint="remove it")
    return source


def ascii_name(text: str) -> str | None:
    """A name in letters, digits and `_`: Greek letters are spelt, subscripts become digits; None when it cannot be.

    Greek letters are spelt as Unicode names them (lambda as `lambda`).
    """
    spelt = []
    for character in unicodedata.normalize("NFKC", text):
        if not character.isascii():
            words = unicodedata.name(character, "").split()
            if len(words) != 4 or words[0] != "GREEK" or words[2] != "LETTER":
                return None
            character = words[3].lower().replace("lamda", "lambda")
            character = character.capitalize() if words[1] == "CAPITAL" else character
        spelt.append(character)
    name = "".join(spelt)
    return name if name.isidentifier() else None
