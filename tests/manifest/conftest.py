"""Helpers: a manifest's text or values in, its document or the problems out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import ManifestError, Problem
from batchmill.manifest.document import Document, read

DATA = Path(__file__).parent / "data"
Read = Callable[..., Document]
Problems = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def read_text(tmp_path: Path) -> Read:
    """Reads a text as a manifest."""

    def run(text: str, overrides: Sequence[str] = ()) -> Document:
        path = tmp_path / "batch.yaml"
        path.write_text(text, encoding="utf-8")
        return read(path, overrides, known_tasks=("count", "identifiability", "python", "shell"))

    return run


@pytest.fixture
def problems(read_text: Read) -> Problems:
    """All problems of a text that is a wrong manifest."""

    def run(text: str, overrides: Sequence[str] = ()) -> tuple[Problem, ...]:
        with pytest.raises(ManifestError) as caught:
            read_text(text, overrides)
        return caught.value.problems

    return run


def place(problem: Problem) -> tuple[int, int]:
    """Line and column."""
    return problem.line, problem.column


def pick(found: Sequence[Any], code: str) -> Problem:
    """The only problem of a code."""
    (problem,) = [problem for problem in found if problem.code == code]
    return problem
