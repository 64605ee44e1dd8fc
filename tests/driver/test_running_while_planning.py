"""A whole run whose plan is longer than what is kept ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import batchmill
from batchmill.driver import planner


def same(x: int) -> int:
    return x


def test_a_plan_that_rests_again_and_again_is_run_to_its_end(tmp_path: Path) -> None:
    rested: list[bool] = []

    class Seen(planner.Planner):
        def pace(self, ready: Callable[[int], int]) -> None:
            super().pace(ready)
            rested.append(self._allowed <= 0)

    small = mock.patch.multiple(planner, PLENTY=60, CHUNK=20, FIRST_CHUNK=10)
    with small, mock.patch("batchmill.driver.session.Planner", Seen):
        matrix = {"axes": {"x": {"range": [0, 1000]}}}
        run = batchmill.run(same, matrix=matrix, workers=2, home=tmp_path, name="long", progress=False)
    assert (run.state, run.counts["succeeded"]) == ("finished", 1000)
    assert any(rested)
