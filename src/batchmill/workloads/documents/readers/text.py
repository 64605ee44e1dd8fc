"""Plain text and Markdown, and how bytes become text: byte order mark, UTF-8, then a guess."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from batchmill.workloads.documents.readers.base import Document, Wish
from batchmill.workloads.documents.readers.limits import unusable

_MARKS = (  # the longer ones first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 64 * 1024  # bytes that a guess looks at
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROLS = 0.02  # share of control characters in what still counts as text


def read_text(path: Path, wish: Wish) -> Document:
    """Text, as it is."""
    return Document(decode(path.read_bytes()), "text")


def read_markdown(path: Path, wish: Wish) -> Document:
    """Markdown, as it is: models read it well."""
    return Document(decode(path.read_bytes()), "markdown")


def decode(data: bytes, declared: str | None = None) -> str:
    """Bytes as text with `\\n` at line ends. `declared` is the encoding that the file itself names. Raises Skip."""
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    candidates = [marked] if marked else [_wide(data) or "utf-8", declared]
    for encoding in filter(None, candidates):
        try:
            return _plain(data.decode(encoding))
        except (UnicodeDecodeError, LookupError):
            continue
    if marked:
        raise unusable(f"it is marked as {marked}, but is not")
    return _plain(_guessed(data))


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of mostly Latin text is zero."""
    sample = data[:1024]
    if len(sample) < 4 or b"\0" not in sample:
        return None
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    most = 0.6 * len(sample) / 2
    return "utf-16-le" if odd > most and not even else "utf-16-be" if even > most and not odd else None


def _guessed(data: bytes) -> str:
    from charset_normalizer import from_bytes

    if b"\0" in data:
        raise unusable("it is binary, not text")
    best = from_bytes(data[:_SAMPLE]).best()
    if best is None:
        raise unusable("it is binary, or text in an unknown encoding")
    return data.decode(best.encoding, errors="replace")


def _plain(text: str) -> str:
    if len(_CONTROLS.findall(text)) > _MOST_CONTROLS * len(text):
        raise unusable("it is binary, not text")
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
