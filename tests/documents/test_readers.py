"""Every kind of file gives the text that a person would read in it."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from batchmill import Entry, Skip
from batchmill.workloads.documents import readers
from batchmill.workloads.documents.readers import Document, PictureLimits, Wish
from batchmill.workloads.documents.readers.image import pictures_of
from batchmill.workloads.documents.readers.text import decode
from tests.documents import files

SEES = Wish(sees=True)


def read(path: Path, wish: Wish | None = None) -> Document:
    return readers.read(str(path), wish or Wish(), 1_000_000)


# --- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_text_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    text = "Die Fähre fährt täglich um acht, und für das Fahrrad zahlt man fünf Euro.\n" * 5
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert read(path) == Document(text, "text", size=path.stat().st_size)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.sampled_from(["utf-8", "utf-16"]))
def test_what_was_encoded_is_decoded(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text.removeprefix("\ufeff" if encoding == "utf-8" else "")


def test_line_ends_become_newlines(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\r\ntwo\rthree\n")
    assert read(tmp_path / "a.log").text == "one\ntwo\nthree\n"


def test_markdown_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\n- *one*\n")
    assert read(tmp_path / "a.md") == Document("# Title\n\n- *one*\n", "markdown", size=17)


@given(
    st.one_of(st.binary(max_size=64), st.text(max_size=64).map(lambda text: text.encode("utf-8", "replace"))),
    st.sampled_from(["a.txt", "a.md", "a.MD", "a.csv", "a"]),
)
@example("\ufeffa\r\nb".encode(), "a.txt")
@example("abc".encode("utf-16-le"), "a.txt")
@example(b"text with %PDF-", "a.txt")
@example(b"PK\3\4", "a.md")
def test_what_is_read_on_the_spot_is_what_a_process_of_its_own_would_read(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        small = readers.read_small(str(path), 60)
        assert small is None or small == readers.read(str(path), Wish(), 60)


def test_a_folder_that_is_called_like_a_text_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    before = set(os.listdir("/proc/self/fd"))
    assert readers.read_small(str(tmp_path / "folder.txt"), 100) is None
    assert set(os.listdir("/proc/self/fd")) <= before


def test_only_small_plain_text_is_read_on_the_spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "guessed.txt").write_bytes("Fähre".encode("cp1252"))
    (tmp_path / "large.txt").write_text("x" * 65_537)
    (tmp_path / "page.html").write_text("<p>x")
    (tmp_path / "empty.txt").write_text(" ")
    files.pdf(tmp_path / "pdf.txt", "text")
    for path in (*tmp_path.iterdir(), tmp_path / "absent.txt", "nul\0.txt"):
        assert readers.read_small(str(path), 1_000_000) is None
    (tmp_path / "plain.txt").write_text("plain")
    assert readers.read_small(str(tmp_path / "plain.txt"), 5) == Document("plain", "text", size=5)
    assert readers.read_small(str(tmp_path / "plain.txt"), 4) is None
    monkeypatch.setattr(readers, "_readers", lambda: {"txt": Entry("txt", "other:read", readers.GROUP, "other")})
    assert readers.read_small(str(tmp_path / "plain.txt"), 5) is None


# --- HTML ----------------------------------------------------------------------------------------------------------

PAGE = """<!doctype html><html><head><title>Ferry &amp; bridge</title><style>p {color: red}</style>
<script>alert("<p>no</p>")</script></head>
<body><nav><a href="/">Home</a></nav><h2>Times</h2><p>The   first<br>leaves <b>at eight</b>.</p>
<ul><li>bikes<li>dogs</ul><table><tr><th>day<th>fare</tr><tr><td>Mon<td>5&nbsp;€</table>
<pre>a
  b</pre><img src=x alt="a map"><noscript>no</noscript><template>no</template></body></html>"""


def test_html_reads_like_the_page(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    assert read(tmp_path / "a.html").text.split("\n") == [
        *("Ferry & bridge", "", "Home", "", "## Times", "", "The first", "leaves at eight.", ""),
        *("- bikes", "- dogs", "", "day | fare", "Mon | 5 €", "", "a", "  b", "", "[a map]"),
    ]


def test_html_is_read_in_the_encoding_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "a.htm").write_bytes('<meta charset="koi8-r"><p>Паром'.encode("koi8-r"))
    assert read(tmp_path / "a.htm").text == "Паром"


@given(st.text(st.sampled_from(list("<>/!-=\"' abp&;\n")), max_size=200))
def test_any_html_can_be_read(text: str) -> None:
    from batchmill.workloads.documents.readers.html import _Page

    page = _Page()
    page.feed(text)
    page.close()
    assert "<script" not in page.text


# --- tables and data -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "name;n\n'A, B';1\n"), ("a.tsv", "name\tn\n'A, B'\t1\n"), ("a.csv", "name|n\n'A, B'|1\n")],
)
def test_tables_have_one_form_whatever_their_delimiter(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = read(tmp_path / name)
    assert (found.text, found.header, found.is_table) == ("name,n\n\"'A, B'\",1", "name,n", True)


def test_a_workbook_is_its_sheets(tmp_path: Path) -> None:
    one = read(files.xlsx(tmp_path / "one.xlsx", Fares=[["day", "fare"], ["Mon", 5], [None, None], ["Tue", 5.5]]))
    assert (one.text, one.header) == ("day,fare\nMon,5\nTue,5.5", "day,fare")
    two = read(files.xlsx(tmp_path / "two.xlsx", A=[["x"], [1]], B=[["y"], [True]], Empty=[]))
    assert two.text == "## A\nx\n1\n\n## B\ny\nTrue"


def test_json_is_checked_and_given_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.50]}')
    assert read(tmp_path / "a.json").text == '{"a": [1, 2.50]}'
    (tmp_path / "b.json").write_text('{"a": [1, }')
    with pytest.raises(Skip, match="line 1, column 11") as told:
        read(tmp_path / "b.json")
    assert told.value.kind == "format"
    (tmp_path / "c.jsonl").write_text('{"a": 1}\n\n{"a"\n')
    with pytest.raises(Skip, match="line 3"):
        read(tmp_path / "c.jsonl")


# --- PDF, DOCX -----------------------------------------------------------------------------------------------------


def test_a_pdf_is_the_text_of_its_pages(tmp_path: Path) -> None:
    found = read(files.pdf(tmp_path / "a.pdf", "The ferry leaves.", "It comes back."))
    assert (found.text, found.pages, found.pictures) == ("The ferry leaves.\n\nIt comes back.", 2, ())


def test_pages_without_text_are_images_for_who_sees(tmp_path: Path) -> None:
    path = files.pdf(tmp_path / "a.pdf", "", "Text.", "")
    found = read(path, SEES)
    assert (found.text, len(found.pictures)) == ("Text.", 2)
    with Image.open(io.BytesIO(found.pictures[0].data)) as page:
        assert page.size == (1212, 1568)
    assert read(path).pictures == ()


def test_a_scanned_pdf_is_skipped_for_who_does_not_see(tmp_path: Path) -> None:
    with pytest.raises(Skip, match="needs a model that sees") as told:
        read(files.pdf(tmp_path / "a.pdf", ""))
    assert told.value.kind == "format"


BODY = """<w:p><w:pPr><w:pStyle w:val="Heading2"/></w:pPr><w:r><w:t>Fares</w:t></w:r></w:p>
<w:p><w:r><w:t xml:space="preserve">For </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>bikes</w:t><w:tab/>
<w:t>too</w:t></w:r>
<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>
<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>first</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>Mon</w:t></w:r></w:p><w:p><w:r><w:t>and Tue</w:t></w:r></w:p></w:tc>
<w:tc><w:p><w:r><w:t>5</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"""


def test_a_word_document_is_its_paragraphs_and_tables(tmp_path: Path) -> None:
    notes = '<w:footnotes xmlns:w="w"><w:footnote><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    found = read(files.docx(tmp_path / "a.docx", BODY, **{"word/footnotes.xml": notes}))
    assert found.text == "## Fares\n\nFor bikes\ttoo\n\n- first\nMon and Tue | 5\n\nA note."


# --- images --------------------------------------------------------------------------------------------------------


def test_an_image_that_fits_is_sent_as_it_is(tmp_path: Path) -> None:
    path = files.image(tmp_path / "a.png")
    (picture,) = read(path, SEES).pictures
    assert picture == (path.read_bytes(), "image/png")


def test_an_image_is_nothing_to_a_model_that_reads_text(tmp_path: Path) -> None:
    with pytest.raises(Skip, match="vision: true") as told:
        read(files.image(tmp_path / "a.png"))
    assert told.value.kind == "format"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("types", [("image/png", "image/jpeg"), ("image/jpeg",)])
def test_other_images_are_made_to_fit(mode: str, types: tuple[str, ...]) -> None:
    data = io.BytesIO()
    Image.new(mode, (900, 300)).save(data, "TIFF")
    (picture,) = pictures_of(data.getvalue(), PictureLimits(100_000, 300, 5, types))
    with Image.open(io.BytesIO(picture.data)) as made:
        assert made.size == (300, 100)
        assert f"image/{str(made.format).lower()}" == picture.media_type
        assert picture.media_type in types


def test_grey_of_16_bits_stays_grey() -> None:
    data = io.BytesIO()
    Image.new("I;16", (40, 40), 32_768).save(data, "TIFF")
    (picture,) = pictures_of(data.getvalue(), PictureLimits())
    with Image.open(io.BytesIO(picture.data)) as made:
        assert made.getextrema() == (127, 127)


def test_an_image_is_made_smaller_until_its_bytes_fit() -> None:
    noise = Image.effect_noise((600, 600), 80)
    data = io.BytesIO()
    noise.save(data, "PNG")
    (picture,) = pictures_of(data.getvalue(), PictureLimits(20_000, 2000))
    assert len(picture.data) <= 20_000
    assert picture.media_type == "image/jpeg"


def test_a_photo_is_turned_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(data, "JPEG", exif=exif)
    (picture,) = pictures_of(data.getvalue(), PictureLimits())
    with Image.open(io.BytesIO(picture.data)) as made:
        assert made.size == (20, 40)


def test_the_pages_of_a_tiff_are_images(tmp_path: Path) -> None:
    pages = [Image.new("L", (20, 20), shade) for shade in (0, 128, 255)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert len(read(tmp_path / "a.tif", SEES).pictures) == 3


# --- which reader --------------------------------------------------------------------------------------------------


def test_the_first_bytes_tell_more_than_the_name(tmp_path: Path) -> None:
    assert read(files.pdf(tmp_path / "a.txt", "Text.")).reader == "pdf"
    assert read(files.docx(tmp_path / "a.zip", "<w:p><w:r><w:t>x</w:t></w:r></w:p>")).reader == "docx"
    assert read(files.image(tmp_path / "a.jpg", format="PNG"), SEES).pictures[0].media_type == "image/png"
    (tmp_path / "a.py").write_text("print()")
    assert read(tmp_path / "a.py").reader == "text"
    (tmp_path / "README").write_text("hello")
    assert read(tmp_path / "README").reader == "text"


def test_another_package_can_bring_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "extra_reader.py").write_text(
        "from batchmill.workloads.documents.readers import Document\n"
        "def read_rot(path, wish):\n    return Document(path.read_text()[::-1], 'rot')\n"
        "def broken(path, wish):\n    raise KeyError('nothing')\n"
    )
    entries = {name: Entry(name, f"extra_reader:{fn}", readers.GROUP) for name, fn in
               {"rot": "read_rot", "txt": "read_rot", "bad": "broken"}.items()}  # fmt: skip
    monkeypatch.setattr(readers, "_readers", lambda: entries)
    readers._loaded.cache_clear()
    for name in ("a.rot", "a.txt", "a.bad"):
        (tmp_path / name).write_text("abc")
    try:
        assert (read(tmp_path / "a.rot").text, read(tmp_path / "a.txt").reader) == ("cba", "rot")
        with pytest.raises(Skip, match="KeyError"):
            read(tmp_path / "a.bad")
    finally:
        readers._loaded.cache_clear()
