"""Pictures of unusual depth or size, brought to what the rest can work with. What is in them is not looked at here."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

ROTATED = 0x0112  # the tag of EXIF that says how a camera was held
_OF_16_BITS = 257  # 65535 / 255
_STRIP = 1 << 20  # pixels that are unfolded at a time


def eight_bits(image: Image) -> Image:
    """The picture as it is, unless its grey has more than 8 bits: Pillow's own conversion would cut off all above 255.

    16 bits are divided; other numbers are stretched from the darkest to the brightest pixel.
    """
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / _OF_16_BITS)).convert("L")
    if image.mode not in ("I", "F"):
        return image
    darkest, brightest = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    if not (isfinite(darkest) and isfinite(brightest)) or (darkest >= 0 and brightest <= 1):
        darkest, brightest = 0.0, 1.0
    elif darkest >= 0 and image.mode == "I" and brightest <= 255 * _OF_16_BITS:  # PNG's 16 bits
        darkest, brightest = 0.0, 255.0 * _OF_16_BITS
    scale = 255 / (brightest - darkest) if brightest > darkest else 0.0
    return image.convert("F").point(lambda value: value * scale - darkest * scale).convert("L")


def shrunk(image: Image, side: int) -> Image:
    """The picture on white, its longer side from `side` to twice that where it was longer, unfolded in strips: each
    pixel of a palette takes four bytes then. A JPEG is read at a fraction of its size."""
    from PIL.Image import new

    image.draft("RGB", (side, side))
    factor = max(1, max(image.size) // side)
    width, height = image.size
    whole = new("RGB", (-(-width // factor), -(-height // factor)), "white")
    step = factor * max(1, _STRIP // (width * factor))
    for top in range(0, height, step):
        strip = eight_bits(image.crop((0, top, width, min(top + step, height)))).convert("RGBA")
        ground = new("RGB", strip.size, "white")
        ground.paste(strip, mask=strip.getchannel("A"))
        whole.paste(ground.reduce(factor) if factor > 1 else ground, (0, top // factor))
    return whole
