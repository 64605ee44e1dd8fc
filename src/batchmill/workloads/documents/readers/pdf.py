"""PDF: the text of its pages; pages without text as images, for a model that sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batchmill import Skip, TaskError
from batchmill.workloads.documents.readers.base import Document, Picture, Wish
from batchmill.workloads.documents.readers.image import encoded
from batchmill.workloads.documents.readers.limits import CHARACTERS, too_large, unusable

_PAGES = 5000
_RENDERED = 100  # pages drawn at most
_LARGEST_SCALE = 4.0  # of 72 dots an inch


def read_pdf(path: Path, wish: Wish) -> Document:
    """All pages in order, an empty line between two."""
    try:
        import pypdfium2
    except ImportError:
        raise TaskError("reading PDF needs the extra `documents`: `pip install 'batchmill[documents]'`") from None
    try:
        opened = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        secret = "assword" in str(error) or "ecurity" in str(error)
        raise unusable("it is encrypted" if secret else f"it is not a readable PDF: {error}") from None
    try:
        if len(opened) > _PAGES:
            raise too_large(f"it has {len(opened):,} pages, more than {_PAGES:,}")
        return _read(opened, wish)
    finally:
        opened.close()


def _read(opened: Any, wish: Wish) -> Document:
    texts: list[str] = []
    pictures: list[Picture] = []
    size = 0
    for number in range(len(opened)):
        page = opened[number]
        text = _page_text(page)
        size += len(text)
        if size > CHARACTERS:
            raise too_large(f"it has more than {CHARACTERS:,} characters of text")
        if text:
            texts.append(text)
        elif wish.sees and _is_drawn(page):
            if len(pictures) == _RENDERED:
                raise too_large(f"it has more than {_RENDERED} pages without text")
            pictures.append(_drawn(page, wish))
        page.close()
    if not texts and not pictures:
        raise _without_text(len(opened), wish)
    return Document("\n\n".join(texts), "pdf", tuple(pictures), pages=len(opened))


def _without_text(pages: int, wish: Wish) -> Skip:
    if wish.sees:
        return Skip("its pages are empty", kind="empty")
    scanned = "its page is an image" if pages == 1 else f"its {pages} pages are images"
    return unusable(f"{scanned} without text: it needs a model that sees (`vision: true`)")


def _page_text(page: Any) -> str:
    layer = page.get_textpage()
    try:
        text: str = layer.get_text_bounded()
    finally:
        layer.close()
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").replace("\ufffe", "-").strip()


def _is_drawn(page: Any) -> bool:
    return next(iter(page.get_objects(max_depth=2)), None) is not None


def _drawn(page: Any, wish: Wish) -> Picture:
    """The page so large that its longer side has the pixels that the provider makes use of."""
    scale = min(_LARGEST_SCALE, wish.pictures.side / max(1.0, *page.get_size()))
    return encoded(page.render(scale=scale).to_pil(), wish.pictures)
