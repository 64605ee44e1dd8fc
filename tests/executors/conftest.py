"""Rigs: real executors in a temporary folder, closed whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.executors.harness import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Make a rig whose workers are ready: `rig("task", ..., modes=...)`."""
    with ExitStack() as stack:

        def make(*tasks: str, **options: Any) -> Rig:
            return stack.enter_context(Rig(tmp_path, *tasks, **options)).ready()

        yield make
