"""What cannot be read is skipped with a kind, in bounded time and memory, whatever a file does."""

from __future__ import annotations

import os
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchmill import Skip
from batchmill.workloads.documents import readers
from batchmill.workloads.documents.readers import Wish, limits
from tests.documents import files

LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE w:document [<!ENTITY a "ha ha ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 if n > 1 else str()};" * 10}">' for n in range(1, 10))
    + "]><w:document><w:body><w:p><w:r><w:t>&a9;</w:t></w:r></w:p></w:body></w:document>"
)


def _laughing_docx(folder: Path) -> Path:
    return files.archive(folder / "a.docx", {"word/document.xml": LAUGHS})


def _laughing_in_utf_16(folder: Path) -> Path:
    return files.archive(folder / "a.docx", {"word/document.xml": LAUGHS.encode("utf-16")})


def _laughing_xlsx(folder: Path) -> Path:
    path = files.xlsx(folder / "b.xlsx", A=[["x"]])
    with zipfile.ZipFile(path) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    return files.archive(folder / "a.xlsx", {**members, "xl/sharedStrings.xml": LAUGHS.encode()})


def _zip_bomb(folder: Path) -> Path:
    return files.docx(folder / "a.docx", "<w:p>" + " " * 50_000_000 + "</w:p>")


def _many_members(folder: Path) -> Path:
    return files.archive(folder / "a.docx", {f"{n}": "" for n in range(10_100)})


def _deep_json(folder: Path) -> Path:
    (folder / "a.json").write_text("[" * 900_000)
    return folder / "a.json"


def _long_number(folder: Path) -> Path:
    (folder / "a.json").write_text("9" * 900_000 + ",")
    return folder / "a.json"


def _encrypted_pdf(folder: Path) -> Path:
    return files.pdf(folder / "a.pdf", "secret", user_password=True)


def _truncated_pdf(folder: Path) -> Path:
    path = files.pdf(folder / "b.pdf", "text")
    (folder / "a.pdf").write_bytes(path.read_bytes()[:30])
    return folder / "a.pdf"


def _many_pages(folder: Path) -> Path:
    return files.pdf(folder / "a.pdf", *["x"] * 5_001)


def _truncated_image(folder: Path) -> Path:
    path = files.image(folder / "b.png", (500, 500))
    (folder / "a.png").write_bytes(path.read_bytes()[:-400])
    return folder / "a.png"


def _image_bomb(folder: Path) -> Path:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return folder / "a.png"


def _not_an_image(folder: Path) -> Path:
    (folder / "a.png").write_text("just text")
    return folder / "a.png"


def _old_word(folder: Path) -> Path:
    (folder / "a.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500))
    return folder / "a.doc"


def _other_archive(folder: Path) -> Path:
    return files.archive(folder / "a.zip", {"a": "b"})


def _binary(folder: Path) -> Path:
    (folder / "a.txt").write_bytes(os.urandom(3000))
    return folder / "a.txt"


def _controls(folder: Path) -> Path:
    (folder / "a.txt").write_bytes(bytes(range(1, 32)) * 20)
    return folder / "a.txt"


def _broken_mark(folder: Path) -> Path:
    (folder / "a.txt").write_bytes(b"\xff\xfeabc")
    return folder / "a.txt"


def _damaged_docx(folder: Path) -> Path:
    return files.docx(folder / "a.docx", "<w:p><w:r><w:t>open")


def _endless_prolog(folder: Path) -> Path:
    return files.archive(folder / "a.docx", {"word/document.xml": "<!--" + os.urandom(700_000).hex()})


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (_laughing_docx, "format"),
        (_laughing_in_utf_16, "format"),
        (_laughing_xlsx, "format"),
        (_zip_bomb, "too_large"),
        (_many_members, "too_large"),
        (_deep_json, "format"),
        (_long_number, "format"),
        (_encrypted_pdf, "format"),
        (_truncated_pdf, "format"),
        (_many_pages, "too_large"),
        (_truncated_image, "format"),
        (_image_bomb, "too_large"),
        (_not_an_image, "format"),
        (_old_word, "format"),
        (_other_archive, "format"),
        (_binary, "format"),
        (_controls, "format"),
        (_broken_mark, "format"),
        (_damaged_docx, "format"),
        (_endless_prolog, "format"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_hostile_file_is_skipped(tmp_path: Path, make: Callable[[Path], Path], kind: str) -> None:
    path = make(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Skip) as told:
        readers.read(str(path), Wish(sees=True), 2_000_000)
    assert told.value.kind == kind
    assert str(told.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # KB


def test_files_that_are_not_there_or_empty_have_kinds(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text(" \n\t\n")
    (tmp_path / "large.txt").write_text("x" * 101)
    expected = {"gone.txt": "not_found", ".": "unreadable", "empty.txt": "empty", "blank.txt": "empty",
                "large.txt": "too_large"}  # fmt: skip
    for name, kind in expected.items():
        with pytest.raises(Skip) as told:
            readers.read(str(tmp_path / name), Wish(), 100)
        assert told.value.kind == kind


def test_a_pdf_has_a_size_limit_of_its_own(tmp_path: Path) -> None:
    assert readers.read(str(files.pdf(tmp_path / "a.pdf", "text")), Wish(), 100).text == "text"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Skip) as told:
        readers.read(str(tmp_path / "pipe"), Wish(), 100)
    assert told.value.kind == "unreadable"


def test_a_reader_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    monkeypatch.setattr(readers, "_loaded", lambda kind: lambda path, wish: sum(endless()))
    monkeypatch.setattr(readers, "time_limit", lambda: limits.time_limit(0.05))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(Skip, match=r"takes longer than 0\.05 s") as told:
        readers.read(str(tmp_path / "a.txt"), Wish(), 100)
    assert told.value.kind == "too_large"


def test_a_sheet_may_lie_about_its_size(tmp_path: Path) -> None:
    path = files.xlsx(tmp_path / "b.xlsx", A=[["x"], [1]])
    with zipfile.ZipFile(path) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    sheet = members["xl/worksheets/sheet1.xml"]
    members["xl/worksheets/sheet1.xml"] = sheet.replace(b'ref="A1:A2"', b'ref="A1:XFD1048576"').replace(
        b'<row r="2"', b'<row r="1000000"'
    )
    found = readers.read(str(files.archive(tmp_path / "a.xlsx", members)), Wish(), 1_000_000)
    assert found.text in ("x", "x\n1")
