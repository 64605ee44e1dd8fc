"""The command line called in this process: in a folder of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from batchmill.cli.app import run

MODULE = """
import sys

def square(x: int, fail: bool = False) -> dict:
    print(f"squaring {x}")
    if fail:
        raise ValueError(f"no square of {x}")
    return {"square": x * x}
"""
MANIFEST = """\
name: squares
task: python
defaults: {function: "squares:square"}
limits: {workers: 2}
jobs:
  - {name: two, params: {x: 2}}
  - {name: three, params: {x: 3}, group: odd}
  - {name: bad/one, params: {x: 1, fail: true}}
"""


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Call = Callable[..., Said]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command line in `tmp_path`; returns its exit code and what it wrote."""
    monkeypatch.chdir(tmp_path)
    for name in ("BATCHMILL_HOME", "NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)

    def called(*argv: str | Path) -> Said:
        capsys.readouterr()
        code = run([str(word) for word in argv])
        return Said(code, *capsys.readouterr())

    return called


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """A folder in which the squares were run once, by a process of its own, and what that said."""
    folder = tmp_path_factory.mktemp("squares")
    _write_squares(folder)
    command = [sys.executable, "-m", "batchmill", "run", "squares.yaml"]
    environment = {name: value for name, value in os.environ.items() if name != "BATCHMILL_HOME"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return folder, Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def ran(first_run: tuple[Path, Said], tmp_path: Path) -> Said:
    """The home of that run, copied into `tmp_path` beside its manifest."""
    folder, said = first_run
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return said


def _write_squares(folder: Path) -> Path:
    (folder / "squares.py").write_text(MODULE)
    manifest = folder / "squares.yaml"
    manifest.write_text(MANIFEST)
    return manifest


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A manifest of three `python` jobs, one of which fails."""
    return _write_squares(tmp_path)
