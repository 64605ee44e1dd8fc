"""What the pages show is what happens: every command, script and manifest in them is run, in the order of the text."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from batchmill.manifest.document import from_values
from batchmill.manifest.yaml_source import parse_yaml
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands

TIMEOUT = 60  # seconds for one command; a hang is a failure
_UNSET = ("BATCHMILL_HOME", "CI", "PYTHONPATH", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
BASE = {"task": "shell", "jobs": [{"params": {"command": "true"}}]}
_VARIES = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|[+-][\d:]+)?"), "DATE"),
    (re.compile(r"\b\d[\d,.]* (ms|s|min|h|KB|MB|GB)\b"), "QUANTITY"),
    (re.compile(r"\b\d[\d,.]* jobs/h\b"), "PACE"),
    (re.compile(r"\b\d+\.\d{4,}(e-\d+)?\b"), "FRACTION"),
    (re.compile(r"/\S*/\.batchmill/"), "HOME/"),
    (re.compile(r"\s+"), " "),
)


class Done(NamedTuple):
    """The exit code as a shell tells it, and all that was written."""

    code: int
    said: str


Run = Callable[[str], Done]


def plain(line: str) -> str:
    """The line without what differs from one run to the next."""
    for pattern, word in _VARIES:
        line = pattern.sub(word, line)
    return line.strip()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a script with bash in a folder that holds the examples; both outputs come together, as on a screen."""
    shutil.copytree(ROOT / "examples", tmp_path / "page" / "examples")
    shutil.copytree(Path(__file__).parent / "bin", tmp_path / "bin")
    ours = {name: value for name, value in os.environ.items() if name not in _UNSET}
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), ours.get("PATH", "")])
    environment = ours | {"PATH": path, "HOME": str(tmp_path), "COLUMNS": "120", "PYTHONPATH": str(tmp_path / "site")}

    def run(script: str) -> Done:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path / "page",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        return Done(done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout)

    return run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_is_what_happens(page: Path, run: Run, tmp_path: Path) -> None:
    for block in blocks(page):
        place = f"{page.name}:{block.line}"
        if block.file:
            target = tmp_path / "page" / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        elif not block.is_run:
            continue
        elif block.language == "console":
            _play(block, place, run)
        elif block.language in ("sh", "python"):
            script = _script(block, tmp_path / "page")
            done = run(script)
            assert done.code == block.exits, f"{place}: exit {done.code}\n{done.said}"
        elif block.language == "yaml":
            from_values({**BASE, **parse_yaml(block.text, place).value}, folder=tmp_path, name="piece")


def _script(block: Block, folder: Path) -> str:
    if block.language == "sh":
        return f"set -e\n{block.text}"
    (folder / f"block_{block.line}.py").write_text(block.text)
    return f"python block_{block.line}.py"


def _play(block: Block, place: str, run: Run) -> None:
    shown = commands(block)
    assert shown, f"{place}: a `console` block needs a line with `$ `"
    for command in shown:
        done = run(command.text)
        said = f"{place}: `{command.text}` exits {done.code}:\n{done.said}"
        assert done.code == (block.exits if command is shown[-1] else 0), said
        missing = _first_missing(command.output, done.said.splitlines())
        assert missing is None, f"{said}\nthe page shows: {missing}"


def _first_missing(expected: list[str], lines: list[str]) -> str | None:
    """The first line that the page shows and that does not come, in its turn."""
    rest = iter([plain(line) for line in lines])
    for line in expected:
        if line.strip() == "...":
            continue
        start, dots, _ = line.partition("...") if line.rstrip().endswith("...") else (line, "", "")
        wanted = plain(start)
        if not any(found.startswith(wanted) if dots else found == wanted for found in rest):
            return line
    return None
