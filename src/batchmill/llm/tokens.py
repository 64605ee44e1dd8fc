"""How many tokens a request can come to, without any tokenizer: a bound for money, an estimate for pace.

A token of a byte-level vocabulary stands for at least one byte, so the bytes of the texts bound their tokens. The
estimate follows what a model's replies report. Nothing here reads a reply or knows a price.
"""

from __future__ import annotations

import struct
from math import ceil
from typing import NamedTuple

import pydantic_core

from batchmill.llm.messages import Image, Request

MESSAGE_TOKENS = 16  # of a template around a message; the known ones take 3 to 10
REQUEST_TOKENS = 64  # of a template around a request, with a system message of its own
_FIRST_RATIO = 1 / 3  # tokens of a byte: English has about a quarter
_MARGIN = 1.1
_FORGETTING = 0.05
_PLAUSIBLE = 8.0  # more tokens than so many times the bound are a mistake of whoever reports them


class Size(NamedTuple):
    """A request before it is counted.

    It cannot take more than `most` input tokens, and will hardly take more than `expected`. `bytes` are those of its
    texts, `bound` is what `most` was made of.
    """

    bytes: int
    bound: int
    most: int
    expected: int


class TokenCounter:
    """What is known of one model's tokens. Not for several threads at once."""

    def __init__(self, provider: str, model: str) -> None:
        self._provider, self._model = provider, model
        self._factor = 1.0  # of the bound, raised when a reply reports more than it
        self._ratio = _FIRST_RATIO

    def size(self, request: Request) -> Size:
        """What a request comes to."""
        size, fixed = 0, REQUEST_TOKENS + MESSAGE_TOKENS * len(request.messages)
        for message in request.messages:
            for part in message.parts:
                if isinstance(part, Image):
                    fixed += image_tokens(self._provider, self._model, part)
                else:
                    size += len(part) if part.isascii() else len(part.encode("utf-8", "surrogatepass"))
        if request.schema is not None:
            size += len(pydantic_core.to_json(request.schema))
        most = ceil((size + fixed) * self._factor)
        return Size(size, size + fixed, most, min(most, ceil(size * self._ratio) + fixed))

    def learn(self, size: Size, reported: int) -> bool:
        """Take in the input tokens that a reply reported: at once when they are more than thought, slowly when less.

        False, and nothing is learned, where they cannot be right.
        """
        bytes, bound, _, _ = size
        if not 0 < reported <= _PLAUSIBLE * bound:
            return False
        if reported > self._factor * bound:
            self._factor = reported / bound
        if bytes >= 100:  # of less, the template is the larger part
            ratio = _MARGIN * reported / bytes
            self._ratio = ratio if ratio > self._ratio else self._ratio + _FORGETTING * (ratio - self._ratio)
        return True


def image_tokens(provider: str, model: str, image: Image) -> int:
    """Tokens that an image cannot pass, by the rules that the providers publish.

    OpenAI: at most 8 tiles of 512 pixels after scaling, 170 tokens each and 85 more (5,667 and 2,833 for
    `gpt-4o-mini`), or 1,536 patches times at most 2.46. Anthropic: one for 750 pixels, scaled to at most 4,784.
    Gemini: 258 for each tile of 256 to 768 pixels, or 1,120. Others: one for a square of 14 pixels.
    """
    width, height = image_size(image.data) or (4096, 4096)
    if provider == "openai":
        return 48_169 if model.startswith("gpt-4o-mini") else 3_779
    if provider == "anthropic":
        return min(4_784, ceil(width * height / 750)) + 1
    if provider == "gemini":
        return max(1_120, 258 * ceil(width / 256) * ceil(height / 256))
    return min(16_384, ceil(width / 14) * ceil(height / 14)) + 2


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as the head of a PNG, GIF, JPEG or WebP file tells them, or None."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack_from(">II", data, 16)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return struct.unpack_from("<HH", data, 6)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except struct.error:
        return None
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """From the start of frame: ITU-T T.81, B.2.2."""
    at = 2
    while at < len(data):
        marker = data[at + 1] if data[at] == 0xFF and at + 1 < len(data) else 0
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0]) if marker else len(data)
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """From the first chunk: RFC 9649."""
    if data[12:16] == b"VP8X":
        wide, high = data[24:27], data[27:30]
        return int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
