"""What is said of a picture without a model is true."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from batchmill import UsageError
from batchmill.llm import describe as describing
from batchmill.llm.describe import answer, describe
from batchmill.llm.endpoints import resolve
from batchmill.llm.messages import Image, Message, Request
from batchmill.llm.settings import load

pil = pytest.importorskip("PIL.Image")


def _picture(colour: str, size: tuple[int, int] = (64, 48), kind: str = "PNG", mode: str = "RGB") -> bytes:
    target = io.BytesIO()
    pil.new(mode, size, colour).save(target, kind)
    return target.getvalue()


@pytest.fixture
def _blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here can read text: loading what can takes seconds."""
    monkeypatch.setattr(describing, "_text", lambda image: None)


@pytest.mark.usefixtures("_blind")
@pytest.mark.parametrize(
    ("colour", "name"),
    [("red", "red"), ("#00a000", "green"), ("blue", "blue"), ("yellow", "yellow"), ("white", "white"),
     ("black", "black"), ("orange", "orange"), ("purple", "purple"), ("pink", "pink"), ("#808080", "grey"),
     ("saddlebrown", "brown"), ("navy", "dark blue"), ("teal", "turquoise")],
)  # fmt: skip
def test_a_plain_picture_has_its_colour(colour: str, name: str) -> None:
    found = describe(_picture(colour))
    assert [(c.name, c.share) for c in found.colours] == [(name, 1.0)]
    assert found.sentence == f"A PNG image of 64 x 48 pixels, mostly {name}; its text was not looked for."


@pytest.mark.usefixtures("_blind")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats_and_sizes_are_told(kind: str) -> None:
    found = describe(_picture("red", (31, 17), kind))
    assert (found.format, found.width, found.height) == (kind, 31, 17)


@pytest.mark.usefixtures("_blind")
def test_what_is_transparent_counts_as_white() -> None:
    target = io.BytesIO()
    pil.new("RGBA", (10, 10), (255, 0, 0, 0)).save(target, "PNG")
    assert describe(target.getvalue()).colours[0].name == "white"


@pytest.mark.parametrize("data", [b"", b"no picture", _picture("red")[:60]])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no picture that can be read"):
        describe(data)


@pytest.mark.usefixtures("_blind")
def test_a_picture_of_too_many_pixels_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "_MOST_PIXELS", 100)
    with pytest.raises(ValueError, match="64 x 48 pixels: too many"):
        describe(_picture("red"))


def _saved(image: Any, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def _palette(transparent: int | bytes) -> bytes:
    image = pil.new("P", (20, 20), 0)
    image.putpalette([255, 0, 0] + [0, 0, 255] * 255)
    return _saved(image, "PNG", transparency=transparent)


@pytest.mark.usefixtures("_blind")
@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (lambda: _saved(pil.new("I;16", (20, 20), 32_768), "PNG"), "grey"),
        (lambda: _saved(pil.new("I;16", (20, 20), 32_768), "TIFF"), "grey"),
        (lambda: _saved(pil.new("F", (20, 20), 0.5), "TIFF"), "grey"),
        (lambda: _saved(pil.new("LA", (20, 20), (200, 128)), "PNG"), "light grey"),
        (lambda: _saved(pil.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG"), "red"),
        (lambda: _palette(0), "white"),
        (lambda: _palette(bytes(256)), "white"),
        (lambda: _palette(1), "red"),
        (lambda: _picture("white", (20, 20), mode="1"), "white"),
    ],
)
def test_unusual_depths_and_palettes_keep_their_colour(picture: Callable[[], bytes], colour: str) -> None:
    assert describe(picture()).colours[0].name == colour


@pytest.mark.usefixtures("_blind")
def test_of_an_animation_the_first_picture_counts_and_a_camera_may_be_held_on_its_side() -> None:
    frames = [pil.new("RGB", (20, 10), colour) for colour in ("red", "blue", "green")]
    found = describe(_saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (found.width, found.height, found.colours[0].name) == (20, 10, "red")
    exif = pil.Exif()
    exif[0x0112] = 6
    found = describe(_saved(pil.new("RGB", (80, 40), "green"), "JPEG", exif=exif))
    assert (found.width, found.height) == (40, 80)


@pytest.mark.parametrize("size", [(9000, 4000), (1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("mode", ["1", "RGB"])
def test_what_is_looked_at_is_small_however_large_the_picture_is(
    monkeypatch: pytest.MonkeyPatch, mode: str, size: tuple[int, int]
) -> None:
    def read(image: Any) -> None:
        assert max(image.size) < 2 * describing._READ_AT
        image.thumbnail((describing._READ_AT, describing._READ_AT))
        wide = describing._widened(image)
        assert max(wide.size) <= describing._NARROW * (min(wide.size) + 1)  # else its reader would blow it up

    monkeypatch.setattr(describing, "_text", read)
    found = describe(_saved(pil.new(mode, size, "white"), "PNG"))
    assert (found.width, found.height, found.colours[0].name) == (*size, "white")


@pytest.mark.usefixtures("_blind")
def test_whatever_a_decoder_raises_is_told_in_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    png = importlib.import_module("PIL.PngImagePlugin")
    text = png.PngInfo()
    text.add_text("comment", "x" * 10_000_000, zip=True)
    with pytest.raises(ValueError, match="this is no picture that can be read: Decompressed data too large"):
        describe(_saved(pil.new("RGB", (5, 5)), "PNG", pnginfo=text))
    with pytest.raises(ValueError, match="it is none of PNG, JPEG"):
        describe(b"icns and more")


@pytest.mark.usefixtures("_blind")
def test_answers_are_sentences_or_data() -> None:
    images = (Image(_picture("red")), Image(_picture("blue")))
    request = Request("describe/basic", (Message("user", ("Describe these", *images)),))
    assert [line.split("mostly ")[1].split(";")[0] for line in answer(request).text.splitlines()] == ["red", "blue"]
    one = Request("describe/basic", (Message("user", (images[0],)),), schema={"type": "object"})
    assert json.loads(answer(one).text)["colours"] == [{"name": "red", "hex": "#ff0000", "share": 1.0}]


def test_a_question_without_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="there is none"):
        answer(Request("describe/basic", (Message("user", ("Describe it",)),)))
    with pytest.raises(UsageError, match="no model `describe/better`"):
        resolve("describe/better", load())


def test_text_in_a_picture_is_read_from_top_to_bottom() -> None:
    pytest.importorskip("rapidocr")
    from PIL import ImageDraw, ImageFont

    picture = pil.new("RGB", (420, 160), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(28)
    for text, place in (("Quarterly sales", (20, 15)), ("North", (20, 100)), ("South", (230, 100))):
        draw.text(place, text, fill="black", font=font)
    target = io.BytesIO()
    picture.save(target, "PNG")
    found = describe(target.getvalue())
    assert found.text == ("Quarterly sales", "North", "South")
    assert found.sentence.endswith("with the text “Quarterly sales / North / South”.")
    assert describe(_picture("white")).text == ()


def test_reading_is_loaded_only_when_a_picture_comes() -> None:
    import subprocess

    code = "import batchmill.llm.describe, sys; sys.exit('rapidocr' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
