"""Reads one file of any kind into a Document: which reader takes it, and what keeps a hostile file in bounds.

Readers come through the entry point group `batchmill.readers`: an entry's name is the suffix that it reads, its value
a function as `base.Reader` describes it. Ours are in this folder; installing another package can add or replace some.
"""

from __future__ import annotations

import os
import stat
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from batchmill import Entry, Skip, TaskError, entry_points
from batchmill.workloads.documents.readers.base import Document, Picture, PictureLimits, Reader, Wish
from batchmill.workloads.documents.readers.limits import checked_text, time_limit, unusable
from batchmill.workloads.documents.readers.text import decode

__all__ = [
    "Document",
    "Picture",
    "PictureLimits",
    "Reader",
    "Wish",
    "kind_of",
    "read",
    "read_small",
    "reader_version",
    "suffixes",
]

GROUP = "batchmill.readers"
_IMAGES = ("png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff")
OWN_SIZES = {"pdf": 50_000_000, **dict.fromkeys(_IMAGES, 20_000_000)}
"""Bytes that a PDF or an image may have, where the general limit is lower."""

_MAGIC = (  # what a file begins with tells more than its name
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
)
_SMALL = 64 * 1024  # bytes
_PLAIN = {f"{__name__}.text:read_text": "text", f"{__name__}.text:read_markdown": "markdown"}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # also what holds an encrypted new one
_ZIP = b"PK\x03\x04"
_INSIDE = {"word/document.xml": "docx", "xl/workbook.xml": "xlsx"}
_NEED_MAGIC = {"pdf", "docx", "xlsx", "xlsm", *_IMAGES}


def read(path: str, wish: Wish, max_size: int) -> Document:
    """The file as a Document. Raises Skip with the kind `not_found`, `unreadable`, `empty`, `too_large` or `format`,
    and TaskError when a library is not installed."""
    place = Path(path)
    size, head = _look(place)
    if size == 0:
        raise Skip("it is empty", kind="empty")
    _check_size(size, max(max_size, *OWN_SIZES.values()))  # before anything looks into it
    kind = kind_of(place, head)
    _check_size(size, max(max_size, OWN_SIZES.get(kind, 0)))
    document = _guarded(_reader(kind), place, wish)
    if not document.text.strip() and not document.pictures:
        raise Skip("there is no text in it", kind="empty")
    checked_text(document.text)
    return replace(document, size=size)


def read_small(path: str, max_size: int) -> Document | None:
    """What `read` makes of a small plain text; None for all else, and wherever anything is doubtful: then `read` must.

    Of a stranger's bytes it takes at most 64 KB and asks no more than that they are UTF-8: this much is safe, and far
    cheaper, in the process that asks the models. Whatever parses, unpacks or guesses belongs in a process of its own.
    """
    place = Path(path)
    suffix = place.suffix.lower().removeprefix(".")
    entry = _readers().get(suffix)
    if entry is None or entry.value not in _PLAIN:
        return None
    try:
        with open(path, "rb", opener=_at_once) as file:
            data = file.read(_SMALL + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
        if not 0 < len(data) <= min(_SMALL, max_size) or kind_of(place, data[:1024]) != suffix:
            return None
        data.decode()
        text = decode(data)
    except (OSError, ValueError, Skip):
        return None
    return Document(text, _PLAIN[entry.value], size=len(data)) if text.strip() else None


def _at_once(path: str, flags: int) -> int:
    """Open without waiting, as a pipe without a writer would have it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise Skip(f"it has {size:,} bytes, more than {most:,}", kind="too_large")


def _look(path: Path) -> tuple[int, bytes]:
    """Size and first bytes."""
    try:
        if not path.is_file():
            there = path.exists()
            raise Skip(
                "it is not a file" if there else "it does not exist", kind="unreadable" if there else "not_found"
            )
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_size, file.read(1024)
    except FileNotFoundError:
        raise Skip("it does not exist", kind="not_found") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Skip(f"it cannot be read: {reason}", kind="unreadable") from None


def kind_of(path: Path, head: bytes) -> str:
    """The suffix, without its dot, whose reader takes this file: by its first bytes, else by its name. Raises Skip."""
    suffix = path.suffix.lower().removeprefix(".")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith(_OLD_OFFICE):
        raise unusable("it is an encrypted or old Office file: save it as .docx or .xlsx, without a password")
    if head.startswith(_ZIP):
        return _kind_of_archive(path, suffix)
    if b"%PDF-" in head:
        return "pdf"
    if head.startswith(b"BM") and suffix == "bmp":
        return "bmp"
    if suffix in _NEED_MAGIC:
        raise unusable(f"its name ends in `.{suffix}`, but it is something else, or damaged")
    return suffix if suffix in _readers() else "txt"


def _kind_of_archive(path: Path, suffix: str) -> str:
    if suffix in _readers():
        return suffix
    try:
        with zipfile.ZipFile(path) as opened:
            names = set(opened.namelist())
    except (OSError, zipfile.BadZipFile):
        names = set()
    for inside, kind in _INSIDE.items():
        if inside in names:
            return kind
    raise unusable("it is an archive")


def _guarded(reader: Reader, path: Path, wish: Wish) -> Document:
    try:
        with time_limit():
            return reader(path, wish)
    except (Skip, TaskError):
        raise
    except MemoryError:
        raise Skip("reading it takes more memory than a job has", kind="too_large") from None
    except Exception as error:  # noqa: BLE001 - a stranger's file makes parsers raise anything
        raise unusable(f"it cannot be understood: {type(error).__name__}: {str(error)[:200]}") from None


@cache
def _readers() -> dict[str, Entry]:
    """By suffix. Another package's reader replaces ours."""
    entries = sorted(entry_points(group=GROUP), key=lambda entry: not entry.value.startswith("batchmill."))
    return {entry.name: entry for entry in entries}


def suffixes() -> list[str]:
    """All suffixes that have a reader of their own, sorted."""
    return sorted(_readers())


def _reader(kind: str) -> Reader:
    found: Any = _loaded(kind)
    return cast(Reader, found)


@cache
def _loaded(kind: str) -> Any:
    entry = _readers()[kind]
    try:
        found = entry.load()
    except Exception as error:
        raise TaskError(f"the reader of `.{kind}` ({entry.value}) does not import: {error}") from error
    if not callable(found):
        raise TaskError(f"the reader of `.{kind}` ({entry.value}) is not a function")
    return found


@cache
def reader_version() -> str:
    """Which packages read files, besides our own: part of the version of the task, and so of keys."""
    others = {f"{e.distribution}-{e.version}" for e in _readers().values() if e.distribution != "batchmill"}
    return "+".join(sorted(others))
