"""The command line called in this process: in a folder of its own, with a home of its own."""

from __future__ import annotations

import json
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


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A manifest of three `python` jobs, one of which fails."""
    (tmp_path / "squares.py").write_text(MODULE)
    manifest = tmp_path / "squares.yaml"
    manifest.write_text(MANIFEST)
    return manifest
