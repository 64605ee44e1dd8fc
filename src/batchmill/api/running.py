"""`run`: a batch goes to its end. The same batch again continues its run; an edited one starts the next."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from batchmill import plugins
from batchmill._version import __version__
from batchmill.api.batch import Batch, Target, from_call
from batchmill.api.runs import Run, exit_code, home_path
from batchmill.driver.session import Finish, Order, Session
from batchmill.errors import UsageError
from batchmill.ledger.home import Home, RunInfo
from batchmill.ledger.index import HomeIndex
from batchmill.ledger.lease import acquire
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import Selection
from batchmill.live.base import Display
from batchmill.model.events import Act, Event
from batchmill.model.jobs import PlannedJob

LIMITS = (
    "workers",
    "concurrency",
    "timeout",
    "memory",
    "total_memory",
    "budget",
    "max_failures",
    "deadline",
    "rate",
    "quotas",
    "kill_grace",
    "jobs_per_worker",
    "worker_growth",
)


class Invocation(NamedTuple):
    """How a batch is run this time. Nothing here changes its plan."""

    home: Path
    selection: Selection | None = None
    keep_failed: bool = False
    fresh: bool = False  # results of other runs do not count
    inline: bool = False  # in this process, for a debugger
    drain_grace: float = 30.0


class Finished(NamedTuple):
    """How an invocation ended. `nothing_to_do`: every job was done before."""

    run: Run
    exit_code: int
    nothing_to_do: bool = False
    new_run: bool = False
