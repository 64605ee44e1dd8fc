"""Processes that a job starts for its whole run, such as the server of an embedded model: they end with the run, are no
part of the job's tree, and so neither killed nor measured with it. Who keeps them is for the executor to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Keeper(Protocol):
    """Who keeps the helpers of a run: the process `pid`, which ends with it."""

    pid: int

    def adopt(self, start: Callable[[], int]) -> int:
        """Call `start`, which makes a process that its parent has left, and returns its id; becomes its parent."""


keeper: Keeper | None = None  # in a worker of a run
