"""How one value is written into a cell of CSV or Markdown, so that no reader takes it for a formula or markup."""

from __future__ import annotations

import re
from typing import Any

from batchmill.model.text import clean
from batchmill.report.encode import json_text
from batchmill.report.records import non_finite

# OWASP, "CSV Injection": what spreadsheets take for the start of a formula, and the full-width forms that East
# Asian editions take for the same.
_FORMULA = tuple("=+-@＝＋－＠")
_HARMLESS = re.compile(r"[0-9A-Za-z_.,:;/(\[{\"][ -~]*").fullmatch  # most cells: a shortcut, nothing more
_LINE_STARTS = ("\t", "\r", "\n")
_MARKUP = re.compile(r"([\\`*\[\]|~])")


def text_cell(text: str) -> str:
    """Text without control characters and terminal escapes, with a leading `'` if it could start a formula."""
    if _HARMLESS(text):
        return text
    text = clean(text)
    if text.lstrip(" ").startswith(_LINE_STARTS) or text.lstrip().startswith(_FORMULA):
        return "'" + text
    return text


def cell(value: Any) -> str:
    """A value of a result, a parameter or a metric as one cell.

    Numbers as every table reader takes them back (`nan`, `inf`, `-inf`), lists and mappings as JSON text, None
    empty.
    """
    if isinstance(value, str):
        number = non_finite(value)
        return text_cell(value) if number is None else str(number)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else text_cell(json_text(value))


def markdown_cell(value: Any) -> str:
    """The same as one cell of a Markdown table: one line, and nothing in it is markup or HTML."""
    return markdown_text(cell(value))


def markdown_text(text: str) -> str:
    """Text as one line of Markdown in which nothing is markup or HTML."""
    line = " ".join(clean(text).split())
    return _MARKUP.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;"))
