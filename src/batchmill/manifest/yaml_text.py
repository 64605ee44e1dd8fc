"""Texts before and beside their YAML: reading and decoding, lines, problems in them, syntax errors in plain words."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from batchmill.errors import ManifestError, Problem
from batchmill.model.text import one_line

MAX_BYTES = 64_000_000
MAX_TEXT_LENGTH = 2000  # of the line kept in a Problem: a line of megabytes would be copied into every message

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what libyaml counts as the end of a line
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FOREIGN_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Spot(NamedTuple):
    """A place in a text: line and column from 1, and how many characters it covers on that line."""

    line: int
    column: int
    length: int


def shown(value: object, width: int = 60) -> str:
    """A user's value for a message: one clean line, spelled as YAML spells it, cut to `width` characters."""
    if value is None or isinstance(value, bool):
        return str({None: "null", True: "true", False: "false"}[value])
    if isinstance(value, dict | list):
        return "{...}" if isinstance(value, dict) else "[...]"
    return one_line(value if isinstance(value, str) else str(value)[: 8 * width], width)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises ManifestError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ManifestError(f"`{shown(path)}` is larger than 64 MB", hint="put the jobs into a `table`")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a pipe or device has no size: never read more than one byte too many
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        message = f"cannot read `{shown(path)}`: {reason.lower()}"
        raise ManifestError(message, code="manifest/unreadable", hint="check the path") from None
    if len(data) > MAX_BYTES:
        raise ManifestError(f"`{shown(path)}` is larger than 64 MB", hint="put the jobs into a `table`")
    return decode(data, str(path))


def decode(data: bytes, source: str) -> str:
    """UTF-8 bytes as text, without a byte order mark. Raises ManifestError with the place of the first bad byte."""
    if data.startswith(_FOREIGN_MARKS) or data[:2].count(0) == 1:
        message = "the text is not UTF-8 but UTF-16 or UTF-32"
        raise single("", source, Spot(1, 1, 1), "yaml/encoding", message, "save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = error.object[error.start]  # `utf-8-sig` counts from after the mark, in the object it names
        before = error.object[: error.start].decode("utf-8", "replace")
        message = f"the text is not UTF-8: byte 0x{bad:02x}"
        raise single(before, source, _end_of(before), "yaml/encoding", message, "save the file as UTF-8") from None


def refuse_unprintable(text: str, source: str) -> None:
    """Raises ManifestError at the first character that YAML does not allow."""
    found = _UNPRINTABLE.search(text)
    if found is not None:
        message = f"the character U+{ord(found[0]):04X} is not allowed in YAML"
        spot = _end_of(text[: found.start()])
        raise single(text, source, spot, "yaml/character", message, "remove it, or write it as an escape in quotes")


def split_lines(text: str) -> list[str]:
    """The lines, counted as libyaml counts them."""
    return _BREAK.split(text)


def problem(
    line: Callable[[int], str], source: str, spot: Spot, code: str, message: str, hint: str = "", note: str = ""
) -> Problem:
    """A Problem at `spot`; of a line of megabytes only the surroundings of the spot are kept."""
    text = line(spot.line)
    if len(text) > MAX_TEXT_LENGTH:
        # the text is cut behind the spot only: the column must stay true, and what is before it is cut when shown
        text = text[: spot.column + MAX_TEXT_LENGTH]
    return Problem(code, message, source, spot.line, spot.column, spot.length, text, note, hint)


def single(text: str, source: str, spot: Spot, code: str, message: str, hint: str = "") -> ManifestError:
    """A ManifestError of one problem."""

    return _single(split_lines(text), source, spot, code, message, hint)


def _single(lines: list[str], source: str, spot: Spot, code: str, message: str, hint: str) -> ManifestError:
    found = problem(lambda number: _line(lines, number - 1), source, spot, code, message, hint)
    return invalid((found,))


def _line(lines: list[str], index: int) -> str:
    return lines[index] if index < len(lines) else ""


def invalid(problems: tuple[Problem, ...]) -> ManifestError:
    """The ManifestError that holds these problems; its own message names the first."""
    first = problems[0]
    place = f"{first.source}:{first.line}:{first.column}: " if first.line else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ManifestError(f"{place}{first.message}{more}", problems=problems, hint=first.hint or None, code=first.code)


def _end_of(text: str) -> Spot:
    breaks = list(_BREAK.finditer(text))
    return Spot(len(breaks) + 1, len(text) - (breaks[-1].end() if breaks else 0) + 1, 1)


# the parser's words -> ours and a hint
_SYNTAX = {
    "mapping values are not allowed in this context": (
        "a `:` is not allowed here",
        "quote the text if the `:` belongs to it, else check the indentation",
    ),
    "could not find expected ':'": ("a key without its `:`", "write `key: value`"),
    "did not find expected key": ("expected a key here", "check the indentation and the quotes"),
    "did not find expected '-' indicator": ("expected a list item (`- `) here", "check the indentation"),
    "did not find expected ',' or ']'": ("expected `,` or `]` here", "close the list"),
    "did not find expected ',' or '}'": ("expected `,` or `}` here", "close the mapping"),
    "found unknown escape character": ("an unknown escape", "use single quotes to keep backslashes as they are"),
    "did not find expected <document start>": ("text after the end of the document", "keep one document per file"),
    "did not find expected node content": ("expected a value here", "check brackets and commas"),
    "found undefined tag handle": ("tags (`!...`) are not allowed", "leave the tag out"),
    "block sequence entries are not allowed in this context": ("a list item is not allowed here", "check indentation"),
}
_STARTS = {
    "\t": ("a tab cannot indent", "indent with spaces"),
    "@": ("a text cannot start with `@`", "quote it"),
    "`": ("a text cannot start with a backtick", "quote it"),
    "%": ("a text cannot start with `%`", "quote it"),
}


def syntax_error(error: yaml.YAMLError, text: str, source: str) -> ManifestError:
    """The parser's error as ours, in plain words, at the place where a reader would look."""
    mark, words = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or "")
    if mark is None:
        return single(text, source, Spot(1, 1, 1), "yaml/syntax", "this is not YAML")
    context, began = str(getattr(error, "context", None) or ""), getattr(error, "context_mark", None)
    lines = split_lines(text)
    message, hint = _words(words, _line(lines, mark.line)[mark.column : mark.column + 1])
    if began is not None and _is_end(mark, lines):
        mark = began
        if "quoted scalar" in context:
            message, hint = "this quote is never closed", "add the closing quote"
        elif "flow" in context:
            message, hint = "this bracket is never closed", "add the closing bracket"
    return _single(lines, source, Spot(mark.line + 1, mark.column + 1, 1), "yaml/syntax", message, hint)


def _words(parser_words: str, character: str) -> tuple[str, str]:
    if "cannot start any token" in parser_words:
        return _STARTS.get(character, (f"a value cannot start with `{character}`", "quote it"))
    return _SYNTAX.get(parser_words, (f"not valid YAML: {one_line(parser_words, 100)}", ""))


def _is_end(mark: Any, lines: list[str]) -> bool:
    """Whether nothing but blanks follows the mark: what is wrong is then where the unfinished thing began."""
    rest = (_line(lines, mark.line)[mark.column :], *lines[mark.line + 1 :])
    return not any(text.strip() for text in rest)
