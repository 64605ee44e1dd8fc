"""DOCX: paragraphs, headings, lists, tables and notes, by one pass of a streaming parser over the archive's XML.

Deleted text of tracked changes, comments, headers and footers are left out.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from batchmill.workloads.documents.readers.base import Document, Wish
from batchmill.workloads.documents.readers.limits import CHARACTERS, archive, parse_xml, too_large, unusable, xml_parser

_MAIN = "word/document.xml"
_NOTES = ("word/footnotes.xml", "word/endnotes.xml")
_HEADING = re.compile(r"(?:heading|berschrift|titre|título)\s*([1-6])$", re.I)
_PIECE = 1 << 20


def read_docx(path: Path, wish: Wish) -> Document:
    """The text of a Word document, tables as lines with ` | ` between cells."""
    with archive(path) as opened:
        names = set(opened.namelist())
        if _MAIN not in names:
            raise unusable("it is an Office archive without a Word document")
        parts = [_text(opened, _MAIN), *(_text(opened, name) for name in _NOTES if name in names)]
    return Document("\n\n".join(part for part in parts if part), "docx")


def _text(opened: zipfile.ZipFile, name: str) -> str:
    body = _Body()
    parser = xml_parser()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = body.start, body.end
    parser.CharacterDataHandler = body.characters
    with opened.open(name) as stream:
        while data := stream.read(_PIECE):
            parse_xml(parser, data, final=False)
    parse_xml(parser, b"", final=True)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(body.lines)).strip()


class _Body:
    """Collects lines. Element names keep their usual prefix: no program writes another one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._size = 0
        self._text: list[str] = []
        self._cells: list[list[str]] = []  # of the open rows, outermost first
        self._mark = ""  # of a heading or a list
        self._in_text = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if name == "w:t":
            self._in_text = True
        elif name in ("w:tab", "w:br", "w:cr"):
            self._text.append("\t" if name == "w:tab" else "\n")
        elif name == "w:noBreakHyphen":
            self._text.append("-")
        elif name == "w:pStyle":
            found = _HEADING.search(attributes.get("w:val", ""))
            self._mark = "#" * int(found.group(1)) + " " if found else self._mark
        elif name == "w:numPr" and not self._mark:
            self._mark = "- "
        elif name == "w:tr":
            self._cells.append([])
        elif name == "w:tc" and self._cells:
            self._cells[-1].append("")

    def end(self, name: str) -> None:
        """An element ends."""
        if name == "w:t":
            self._in_text = False
        elif name == "w:p":
            self._end_paragraph()
        elif name == "w:tr" and self._cells:
            row = " | ".join(self._cells.pop())
            self._put(row)
        elif name == "w:tbl" and not self._cells:
            self.lines.append("")

    def characters(self, data: str) -> None:
        """Text, of whatever element."""
        if self._in_text:
            self._size += len(data)
            if self._size > CHARACTERS:
                raise too_large(f"it has more than {CHARACTERS:,} characters of text")
            self._text.append(data)

    def _end_paragraph(self) -> None:
        text = "".join(self._text).strip()
        mark, self._mark = self._mark, ""
        self._text.clear()
        if self._cells:
            self._put(text)
        elif text:
            self.lines += [mark + text] if mark == "- " else [mark + text, ""]

    def _put(self, text: str) -> None:
        """Into the open cell, or a line of its own."""
        if not self._cells:
            self.lines.append(text)
        elif self._cells[-1]:
            cell = self._cells[-1]
            cell[-1] = f"{cell[-1]} {text}".strip().replace("\n", " ")
