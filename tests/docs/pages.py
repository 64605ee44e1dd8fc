"""The pages of the documentation as data: their fenced blocks, links and anchors. Nothing here runs anything.

How a page is written, so that the tests can run it. All blocks of a page share one folder, in the order of the text.

- A block that follows a line ending in a file name and a colon, such as "Save this as `pi.py`:", is that file.
- `console`: lines that begin with `$ ` are run (`> ` continues one), the others are their output. `...` at the end of a
  line stands for its rest, alone on a line for any lines. Times, sizes and dates need not be the same.
- `python` without a file name is run as a script, `sh` by bash; `yaml` without one is a piece of a manifest.
- `<!-- exits 2 -->` before a block is the exit code of its last command.
- `<!-- not run: REASON -->` before a block leaves it alone. `text` blocks are never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *ROOT.glob("docs/*.md")])

_FENCE = re.compile(r"^```(\w*)[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w./-]+\.\w+)`:$")
_EXITS = re.compile(r"<!-- exits (\d+) -->$")
_NOT_RUN = re.compile(r"<!-- not run: .+ -->$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its language, its text, the line where it begins, and what the line before it says of it."""

    language: str
    text: str
    line: int
    file: str | None
    exits: int
    is_run: bool


class Command(NamedTuple):
    """A command of a `console` block, and the lines that it is said to write."""

    text: str
    output: list[str]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()].rstrip().rpartition("\n")[2]
        file, exits = _FILE.search(before), _EXITS.search(before)
        line = text.count("\n", 0, fence.start()) + 1
        is_run = _NOT_RUN.search(before) is None
        yield Block(fence[1], fence[2], line, file and file[1], int(exits[1]) if exits else 0, is_run)


def commands(block: Block) -> list[Command]:
    """The commands of a `console` block."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif line.startswith("> ") and found and not found[-1].output:
            found[-1] = Command(f"{found[-1].text}\n{line[2:]}", [])
        elif found and line.strip():
            found[-1].output.append(line)
    return found


def links(page: Path) -> set[str]:
    """The targets of a page's links, outside its blocks."""
    return set(_LINK.findall(_FENCE.sub("", page.read_text("utf-8"))))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
