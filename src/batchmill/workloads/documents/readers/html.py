"""HTML to what a reader would see: headings, lists, tables and paragraphs as plain text; no scripts, no styles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from batchmill.workloads.documents.readers.base import Document, Wish
from batchmill.workloads.documents.readers.text import decode

_UNSEEN = {"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "head", "select", "canvas"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_BLOCKS = {
    *("p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "address", "blockquote"),
    *("ul", "ol", "dl", "dt", "dd", "table", "tr", "caption", "figure", "figcaption", "form", "fieldset", "hr", "pre"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "li", "details", "summary", "title", "body", "html"),
}
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.I)
_BLANKS = re.compile(r"[ \t\n\f\r\xa0]+")


def read_html(path: Path, wish: Wish) -> Document:
    """The readable text of a page."""
    data = path.read_bytes()
    declared = _META.search(data[:4096])
    page = _Page()
    page.feed(decode(data, declared.group(1).decode("ascii") if declared else None))
    page.close()
    return Document(page.text, "html")


class _Page(HTMLParser):
    """Collects lines. A page may end anywhere: whatever is open then counts as closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._line: list[str] = []
        self._hidden: list[str] = []  # open elements whose content nobody sees
        self._preformatted = 0
        self._title = False

    @property
    def text(self) -> str:
        """All lines, with at most one empty line between two."""
        self._end_line()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self._lines)).strip()

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        """An element begins."""
        if tag == "title":
            self._title = True
        if tag in _UNSEEN or (self._hidden and tag not in _VOID and tag != "title"):
            if tag == "body":  # an unclosed `head` ends here
                self._hidden.clear()
            else:
                self._hidden.append(tag)
        if self._hidden and not self._title:
            return
        self._begin(tag, dict(attributes))

    def _begin(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag in _BLOCKS:
            self._end_line(paragraph=tag not in ("li", "tr", "dt", "dd"))
        if tag in _HEADINGS:
            self._line.append(_HEADINGS[tag])
        elif tag == "li":
            self._line.append("- ")
        elif tag in ("td", "th") and "".join(self._line).strip():
            self._line.append(" | ")
        elif tag == "br":
            self._end_line()
        elif tag == "img" and (label := (attributes.get("alt") or "").strip()):
            self._line.append(f"[{label}]")
        elif tag == "pre":
            self._preformatted += 1

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag == "title":
            self._end_line(paragraph=True)
            self._title = False
        elif tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        elif not self._hidden:
            if tag in _BLOCKS:
                self._end_line(paragraph=tag not in ("li", "tr", "dt", "dd"))
            if tag == "pre":
                self._preformatted = max(0, self._preformatted - 1)

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._hidden and not self._title:
            return
        if self._preformatted:
            first, *more = data.split("\n")
            self._line.append(first)
            for line in more:
                self._end_line()
                self._line.append(line)
        else:
            self._line.append(_BLANKS.sub(" ", data))

    def _end_line(self, *, paragraph: bool = False) -> None:
        line = "".join(self._line)
        line = line.rstrip() if self._preformatted else re.sub(" {2,}", " ", line).strip()
        self._line.clear()
        if line and line not in ("-", "#"):
            self._lines.append(line)
        if paragraph and self._lines and self._lines[-1]:
            self._lines.append("")
