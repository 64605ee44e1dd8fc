"""Bounds on what a hostile file can cost: seconds, characters, what an archive unpacks to, and entities of XML."""

from __future__ import annotations

import signal
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

from batchmill import Skip

SECONDS = 20.0  # of reading one file: less than the 30 s that a job has by default
CHARACTERS = 20_000_000  # of text from one file
_UNPACKED = 200_000_000  # bytes of a whole archive
_RATIO = 200  # of one member that unpacks to more than 10 MB: real ones stay under 30
_MEMBERS = 10_000
_PROLOG = 1 << 20  # bytes of XML before its first element


def too_large(what: str) -> Skip:
    """The Skip of a file that is too large."""
    return Skip(what, kind="too_large")


def unusable(what: str) -> Skip:
    """The Skip of a file that is not what it seems to be."""
    return Skip(what, kind="format")


def checked_text(text: str) -> str:
    """The text. Raises Skip when it is longer than any document."""
    if len(text) > CHARACTERS:
        raise too_large(f"it has more than {CHARACTERS:,} characters of text")
    return text


@contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Raise Skip when the block takes longer. Only a main thread can be stopped: elsewhere the job's own limit holds.

    What runs in C is stopped when it comes back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise too_large(f"reading it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """An Office file as a zip archive whose members are of sane sizes and whose XML declares nothing. Raises Skip."""
    try:
        opened = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise unusable(f"it is damaged: {error}") from None
    with opened:
        members = opened.infolist()
        if len(members) > _MEMBERS or sum(member.file_size for member in members) > _UNPACKED:
            raise too_large(f"it unpacks to more than {_UNPACKED // 1_000_000} MB")
        for member in members:
            if member.flag_bits & 1:
                raise unusable("it is encrypted")
            if member.file_size > 10_000_000 and member.file_size > _RATIO * max(1, member.compress_size):
                raise too_large(f"`{member.filename[:80]}` in it unpacks to more than {_RATIO} times its size")
        for member in members:
            if member.filename.endswith((".xml", ".rels")):
                with opened.open(member) as stream:
                    refuse_declarations(stream)
        yield opened


def refuse_declarations(stream: IO[bytes]) -> None:
    """Raise Skip when an XML text has a document type: Office files have none, and entities can grow without end."""
    parser = xml_parser()
    reached: list[str] = []
    parser.StartElementHandler = lambda name, attributes: reached.append(name)
    left = _PROLOG
    while not reached and left > 0 and (data := stream.read(min(left, 8192))):
        left -= len(data)
        parse_xml(parser, data, final=False)
    if not reached and left <= 0:
        raise unusable("its XML does not begin")


def xml_parser() -> expat.XMLParserType:
    """A parser that raises Skip for a document type, before any entity is read."""

    def refuse(*declared: Any) -> None:
        raise unusable("its XML has a document type declaration, which may hide anything")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    return parser


def parse_xml(parser: expat.XMLParserType, data: bytes, *, final: bool) -> None:
    """Feed a parser. Raises Skip for what is no XML."""
    try:
        parser.Parse(data, final)
    except expat.ExpatError as error:
        raise unusable(f"its XML is damaged: {error}") from None
