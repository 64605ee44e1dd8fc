"""What is said of a picture without a model is true."""

from __future__ import annotations

import io
import json
import sys

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
