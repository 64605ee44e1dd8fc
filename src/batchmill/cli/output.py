"""How commands speak: data on stdout in the form that was asked for, talk on stderr. Pages are `report.page`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from batchmill.report.page import Page

SCHEMA_VERSION = 1


class Output(StrEnum):
    """What stdout is for: people, programs, or nothing beyond what cannot be left out."""

    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


def tell(output: Output, record: Mapping[str, Any], words: Callable[[], str | Page], quiet: str = "") -> None:
    """Write the answer of a command to stdout: the versioned record as JSON, or words, or what `quiet` keeps."""
    if output is Output.JSON:
        from batchmill.report.encode import json_text

        write(json_text({"schema_version": SCHEMA_VERSION, **record}, indent=1))
    else:
        write(words() if output is Output.HUMAN else quiet)


def say(output: Output, words: str | Page) -> None:
    """Talk to people on stderr; programs and `quiet` are spared."""
    if output is Output.HUMAN:
        write(words, sys.stderr)


def write(words: str | Page, stream: TextIO | None = None) -> None:
    """Write whole lines to a stream (stdout); a page in colour where the stream is a terminal that wants it."""
    stream = sys.stdout if stream is None else stream
    if isinstance(words, str):
        stream.write(words if not words or words.endswith("\n") else words + "\n")
    elif wants_colour(stream):
        from rich.console import Console

        Console(file=stream, highlight=False).print(words)
    else:
        stream.write(str(words))


def wants_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream is a terminal, and nobody asked for plain text."""
    in_ci = environment.get("CI", "").lower() not in ("", "0", "false")
    plain = in_ci or environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return stream.isatty() and not plain
