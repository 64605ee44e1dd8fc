"""What a reader is: a function from a file to a Document. No reader is here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol


class Picture(NamedTuple):
    """An image as bytes that a provider takes: `media_type` such as `image/png`."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What a provider takes: bytes of one image, pixels of its longer side, images of one request, media types."""

    size: int = 4_000_000
    side: int = 1568
    most: int = 20
    types: tuple[str, ...] = ("image/png", "image/jpeg")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller can use: `sees`, the model takes images; `pictures`, which ones."""

    sees: bool = False
    pictures: PictureLimits = PictureLimits()


@dataclass(frozen=True, slots=True)
class Document:
    """What was read. `header` is a table's first line, which each of its parts begins with; a table is only ever cut
    between lines. `pages` is None where there are none; `size` in bytes is filled in by whoever calls the reader."""

    text: str
    reader: str
    pictures: tuple[Picture, ...] = ()
    header: str = ""
    is_table: bool = False
    pages: int | None = None
    size: int = 0


class Reader(Protocol):
    """A reader is a function. It runs in a worker process, under the limits of the job.

    Raises `batchmill.Skip` with the kind `format`, `too_large` or `empty` for a file that it cannot use; whatever
    else it raises counts as `format`.
    """

    def __call__(self, path: Path, wish: Wish) -> Document:
        """The file, read."""
        ...
