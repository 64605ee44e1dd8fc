"""A project in a folder of its own; nothing of it survives the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A user's folder."""
    made = Project(tmp_path / "project")
    yield made
    made.clean_up()
