"""A finding: something wrong at a location of the manifest's values, before it has a line and a column.

Validation and checks make findings; the document turns them into Problems. Words for their messages are here too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from batchmill.manifest.yaml_source import Location
from batchmill.model import near

MAX_FINDINGS = 500  # of one kind: a text that is no manifest at all may hold millions
_MAX_NEAR = 64  # longer words are no misspellings, and comparing them costs their length squared


class Finding(NamedTuple):
    """`key`: the key at the location is wrong, not its value; `also`: where the other of two that clash stands."""

    location: Location
    code: str
    message: str
    hint: str = ""
    note: str = ""
    key: bool = False
    also: Location | None = None


def did_you_mean(word: object, names: Iterable[str], otherwise: str = "") -> str:
    """A hint with the near name; without one, `otherwise`."""
    hint = near.did_you_mean(word, names) if isinstance(word, str) and len(word) <= _MAX_NEAR else ""
    return hint or otherwise


def listed(names: Iterable[str], last: str = "or") -> str:
    """Names in backticks: `a`, `b` or `c`."""
    words = [f"`{name}`" for name in names]
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1] if words else "")))


def label(location: Location) -> str:
    """The last name of a location with the indexes behind it: `exclude[0]`, `workers`."""
    tail = ""
    for step in reversed(location):
        if isinstance(step, str):
            return step + tail
        tail = f"[{step}]{tail}"
    return tail


def dotted(location: Location) -> str:
    """A location as `--set` takes it: `jobs[0].params.x`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).removeprefix(".")
