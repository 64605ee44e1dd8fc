"""`describe/basic`: what can be said truly of a picture without a model that sees: size, format, colours, text in it.

The text is found by rapidocr, whose weights come in its package (extra `ocr`); without it everything else is said.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from batchmill import UsageError
from batchmill.llm.local import cores
from batchmill.llm.messages import Reply, Request, Usage
from batchmill.llm.pixels import ROTATED, shrunk
from batchmill.llm.providers.base import Endpoint

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from batchmill.llm.settings import Settings

NAME = "basic"
VERSION = "2"  # another one whenever the same picture may get another description
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_MOST_PIXELS = 100_000_000
_LARGE = 16_000_000  # pixels
_ON_ITS_SIDE = (5, 6, 7, 8)  # orientations of EXIF
_LOOKED_AT = 128  # pixels of the longer side that colours are counted on
_READ_AT = 2000  # the same for text
_NARROW = 8  # times as long as wide
_LEAST_SHARE = 0.05  # of the picture: less is no dominant colour
_SURE = 0.6  # below, what looks like text is left out
_SHOWN = 5  # lines of text that the sentence quotes
# the 11 basic colour terms (B. Berlin, P. Kay, Basic Color Terms, 1969), some with a second shade, as sRGB
_COLOURS = {
    (0, 0, 0): "black", (255, 255, 255): "white", (128, 128, 128): "grey", (200, 200, 200): "light grey",
    (228, 228, 228): "light grey",
    (64, 64, 64): "dark grey", (255, 0, 0): "red", (139, 0, 0): "dark red", (0, 255, 0): "green",
    (0, 128, 0): "green", (144, 238, 144): "light green", (0, 0, 255): "blue", (0, 0, 128): "dark blue",
    (70, 130, 200): "blue", (135, 206, 235): "light blue", (255, 255, 0): "yellow", (255, 165, 0): "orange",
    (128, 0, 128): "purple", (255, 192, 203): "pink", (255, 105, 180): "pink", (139, 69, 19): "brown",
    (245, 245, 220): "beige", (0, 200, 200): "turquoise", (0, 128, 128): "turquoise",
}  # fmt: skip
_reading = threading.BoundedSemaphore(cores())  # one reader a core
_large = threading.Lock()
_idle: list[Any] = []  # readers that are loaded


@dataclass(frozen=True, slots=True)
class Colour:
    """A dominant colour: its plain name, `#rrggbb`, and the part of the picture that has about it."""

    name: str
    hex: str
    share: float


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a picture. `text` holds its lines from top to bottom; None: nothing here can read."""

    format: str
    width: int
    height: int
    colours: tuple[Colour, ...]
    text: tuple[str, ...] | None
    sentence: str


class _Opened(NamedTuple):
    """A picture, upright and on white, no larger than is needed; the format and the true size of its file."""

    image: Image
    kind: str
    width: int
    height: int


class _TooMany(ValueError):
    """More pixels than are unpacked."""


def endpoints(model: str, settings: Settings) -> Sequence[Endpoint]:
    """The one place of `describe/basic`: this process. Raises UsageError for another name, or without Pillow."""
    if model != NAME:
        raise UsageError(f"there is no model `describe/{model}`", hint=f"there is `describe/{NAME}`")
    if find_spec("PIL") is None:
        raise UsageError(f"`describe/{NAME}` needs Pillow", hint="`pip install 'batchmill[ocr]'`")
    return [Endpoint("python:batchmill.llm.describe:answer")]


def answer(request: Request) -> Reply:
    """A sentence for each picture of the request; with a schema, the description as JSON (a list, of several).

    Raises ValueError without a picture, or for one that is none.
    """
    if not request.images:
        raise ValueError(f"`describe/{NAME}` describes pictures, and there is none")
    found = [describe(image.data) for image in request.images]
    if request.schema is not None:
        records = [asdict(each) for each in found]
        text = json.dumps(records[0] if len(records) == 1 else records, ensure_ascii=False)
    else:
        text = "\n".join(each.sentence for each in found)
    return Reply(text, "stop", Usage(), f"describe/{NAME}")


def describe(data: bytes) -> Description:
    """What is known of the picture in a file's bytes. Takes about a second, most of it to find text.

    Raises ValueError for what is no picture, or one of more than 100 million pixels.
    """
    image, kind, width, height = _opened(data)
    colours = tuple(_dominant(image))
    text = _text(image)
    return Description(kind, width, height, colours, text, _sentence(kind, (width, height), colours, text))


def _opened(data: bytes) -> _Opened:
    """The picture of a file; a large one alone, since it may take 400 MB."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata and sizes: the latter are checked here
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                pixels = image.width * image.height
                if pixels > _MOST_PIXELS:
                    raise _TooMany(f"the picture has {image.width} x {image.height} pixels: too many")
                with _large if pixels > _LARGE else nullcontext():
                    return _upright(image)
        except _TooMany:
            raise
        except UnidentifiedImageError:
            raise ValueError(f"this is no picture that can be read: it is none of {', '.join(_FORMATS)}") from None
        except Exception as error:  # noqa: BLE001 - the decoders of damaged files raise whatever they like
            raise ValueError(f"this is no picture that can be read: {error or type(error).__name__}") from None


def _upright(image: ImageFile) -> _Opened:
    from PIL import ImageOps

    turn, (width, height) = image.getexif().get(ROTATED, 1), image.size
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # several JPEGs in one file
    small = shrunk(image, _READ_AT)
    small.getexif()[ROTATED] = turn
    upright = ImageOps.exif_transpose(small)
    return _Opened(upright, kind, *((height, width) if turn in _ON_ITS_SIDE else (width, height)))


def _dominant(image: Image) -> Iterator[Colour]:
    """The colours that cover most of the picture, the greatest first, shades of one name together."""
    from PIL import Image

    small = image.copy()
    small.thumbnail((_LOOKED_AT, _LOOKED_AT), Image.Resampling.BOX)
    few = small.quantize(8, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    counted: list[tuple[int, tuple[int, int, int]]] = few.getcolors() or []  # type: ignore[assignment]
    shares: dict[str, list[tuple[int, tuple[int, int, int]]]] = {}
    for count, colour in sorted(counted, reverse=True):
        shares.setdefault(_name(colour), []).append((count, colour))
    total = few.width * few.height
    for name, parts in sorted(shares.items(), key=lambda item: -sum(count for count, _ in item[1])):
        share = sum(count for count, _ in parts) / total
        if share >= _LEAST_SHARE:
            yield Colour(name, f"#{bytes(parts[0][1]).hex()}", round(share, 2))


@lru_cache(maxsize=4096)
def _name(colour: tuple[int, int, int]) -> str:
    """The nearest of the named colours, by the weighted distance of T. Riemersma (Colour metric, 2008)."""
    return _COLOURS[min(_COLOURS, key=lambda known: _distance(colour, known))]


def _distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    red = (one[0] + other[0]) / 2
    r, g, b = ((x - y) ** 2 for x, y in zip(one, other, strict=True))
    return (2 + red / 256) * r + 4 * g + (2 + (255 - red) / 256) * b


def _sentence(kind: str, size: tuple[int, int], colours: Sequence[Colour], text: Sequence[str] | None) -> str:
    said = f"A {kind} image of {size[0]} x {size[1]} pixels"
    names = [colour.name for colour in colours[:3]]
    if names:
        said += f", mostly {names[0]}" + (f" with {' and '.join(names[1:])}" if names[1:] else "")
    if text is None:
        return f"{said}; its text was not looked for."
    if not text:
        return f"{said}, without readable text."
    more = f" and {len(text) - _SHOWN} more lines" if len(text) > _SHOWN else ""
    return f"{said}, with the text “{' / '.join(text[:_SHOWN])}”{more}."


# --- text ------------------------------------------------------------------------------------------------------------


def _text(image: Image) -> tuple[str, ...] | None:
    """The lines of text in the picture, from top to bottom."""
    if find_spec("rapidocr") is None:
        return None
    import numpy

    image.thumbnail((_READ_AT, _READ_AT))
    pixels = numpy.asarray(_widened(image))[:, :, ::-1]  # blue first, as OpenCV has it
    with _reader() as read:
        found = read(pixels)
    lines = zip(found.boxes if found.boxes is not None else (), found.txts or (), found.scores or (), strict=True)
    placed = [(_place(box), " ".join(text.split())) for box, text, score in lines if score >= _SURE]
    return tuple(text for _, text in sorted(placed) if text)


def _widened(image: Image) -> Image:
    """A narrow strip with white beside it: the reader scales by the shorter side, to any size."""
    from PIL.Image import new

    least = max(image.size) // _NARROW
    if min(image.size) >= least:
        return image
    ground = new("RGB", (max(image.width, least), max(image.height, least)), "white")
    ground.paste(image)
    return ground


def _place(box: Any) -> tuple[int, float]:
    """Where a text stands for who reads: in which line of its height, and how far from the left."""
    top, bottom = float(box[:, 1].min()), float(box[:, 1].max())
    return round((top + bottom) / 2 / max(1.0, bottom - top)), float(box[:, 0].min())


@contextmanager
def _reader() -> Iterator[Any]:
    """A loaded reader that nobody else uses meanwhile."""
    with _reading:
        reader = _idle.pop() if _idle else _load_reader()
        yield reader
        _idle.append(reader)


def _load_reader() -> Any:
    """A reader on one thread: others run beside it, and waiting threads of its library would spin."""
    rapidocr = importlib.import_module("rapidocr")
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return rapidocr.RapidOCR(
        params={
            "Global.log_level": "error",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
