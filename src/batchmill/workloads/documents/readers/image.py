"""Images, made to fit what a provider takes: its media types, bytes and pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill import TaskError
from batchmill.llm.pixels import ROTATED, eight_bits
from batchmill.workloads.documents.readers.base import Document, Picture, PictureLimits, Wish
from batchmill.workloads.documents.readers.limits import too_large, unusable

if TYPE_CHECKING:
    from PIL.Image import Image

_PIXELS = 100_000_000  # of one image: 400 MB in memory
_FRAMES = 100
_QUALITY = 85
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")


def read_image(path: Path, wish: Wish) -> Document:
    """The image, or the pages of a TIFF file. Raises Skip where the model cannot see it."""
    if not wish.sees:
        raise unusable("it is an image, and the model reads text only: set `vision: true`, with a model that sees")
    return Document("", "image", pictures_of(path.read_bytes(), wish.pictures))


def pictures_of(data: bytes, limits: PictureLimits) -> tuple[Picture, ...]:
    """The bytes as they are where they fit, else scaled down and encoded anew. Raises Skip."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise TaskError("reading images needs the extra `documents`: `pip install 'batchmill[documents]'`") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd EXIF and sizes: the latter are checked here
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                return _pictures(image, data, limits)
        except Image.DecompressionBombError:
            raise too_large(f"it has more than {_PIXELS // 1_000_000} million pixels") from None
        except UnidentifiedImageError:
            raise unusable("it is not an image of a known format") from None
        except (OSError, SyntaxError, ValueError) as error:  # truncated or damaged
            raise unusable(f"it is a damaged image: {error}") from None


def _pictures(image: Any, data: bytes, limits: PictureLimits) -> tuple[Picture, ...]:
    width, height = image.size
    if width * height > _PIXELS:
        raise too_large(f"it has {width} x {height} pixels, more than {_PIXELS // 1_000_000} million")
    frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if frames > _FRAMES:
        raise too_large(f"it has {frames} pages, more than {_FRAMES}")
    media_type = f"image/{str(image.format).lower()}"
    fits = media_type in limits.types and len(data) <= limits.size and max(image.size) <= limits.side
    if fits and frames == 1 and image.getexif().get(ROTATED, 1) == 1:
        image.load()  # a truncated one must not be sent
        return (Picture(data, media_type),)
    return tuple(_frame(image, number, limits) for number in range(frames))


def _frame(image: Any, number: int, limits: PictureLimits) -> Picture:
    from PIL import ImageOps

    image.seek(number)
    if image.size[0] * image.size[1] > _PIXELS:
        raise too_large(f"one of its pages has more than {_PIXELS // 1_000_000} million pixels")
    image.draft("RGB", (limits.side, limits.side))  # a JPEG is read at a fraction of its size
    return encoded(eight_bits(ImageOps.exif_transpose(image)), limits)


def encoded(image: Image, limits: PictureLimits) -> Picture:
    """An image within the limits: PNG where that is small enough, else JPEG on white. Raises Skip."""
    small = image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGBA" if _has_alpha(image) else "RGB")
    small.thumbnail((limits.side, limits.side))
    is_photo = image.format == "JPEG" or "image/png" not in limits.types
    if not is_photo and len(data := _saved(small, "PNG", optimize=True)) <= limits.size:
        return Picture(data, "image/png")
    flat = _flat(small)
    while len(data := _saved(flat, "JPEG", quality=_QUALITY)) > limits.size:
        if max(flat.size) < 64:
            raise too_large(f"it cannot be made smaller than {limits.size} bytes")
        flat = flat.resize((max(1, flat.size[0] * 3 // 4), max(1, flat.size[1] * 3 // 4)))
    return Picture(data, "image/jpeg")


def _has_alpha(image: Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _flat(image: Image) -> Image:
    from PIL.Image import new

    if image.mode != "RGBA":
        return image
    ground = new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _saved(image: Image, fmt: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, fmt, **options)
    return target.getvalue()
