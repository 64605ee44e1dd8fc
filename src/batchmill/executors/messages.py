"""What driver, zygote and workers say to each other, and the board of shared numbers that the zygote watches.

Rare messages of a worker are events of `model.events` as they are. The common one, a plain success, is a flat
tuple, because pickling it and building it again costs a third of an `Outcome`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from batchmill.model.commands import Start
from batchmill.model.events import Ended
from batchmill.model.jobs import FileIdentity, SavedStep
from batchmill.model.outcomes import LogSlice, Outcome, Usage
from batchmill.model.states import JobState, Mode
from batchmill.model.tasks import TaskSource

# --- driver -> worker: Work (async: a list), `Prepared`, or None (leave when idle); on `talk`: Acks or a Cancel --


class Work(NamedTuple):
    """What a worker needs of a Start."""

    job: int
    attempt: int
    task: str
    name: str
    group: str | None
    params: str
    key: str | None
    timeout: float | None
    memory: int | None
    steps: tuple[SavedStep, ...]
    inputs: tuple[FileIdentity, ...]
    payload: bytes | None
    hook: str
    version: str


def work_of(start: Start) -> tuple[Any, ...]:
    """The fields of a Work as a plain tuple: it pickles four times as fast as a named one."""
    row = start.row
    return (
        row.job,
        start.attempt,
        row.task,
        row.name,
        row.group,
        row.params,
        row.key,
        start.timeout,
        start.memory,
        row.steps,
        row.inputs,
        start.payload,
        start.hook,
        row.version,
    )


class PreparedPaths(NamedTuple):
    """What `prepare` made: task -> artifact name -> path. For all jobs after it."""

    paths: Mapping[str, Mapping[str, str]]


class Cancel(NamedTuple):
    """End one async job."""

    job: int


# --- worker -> driver ------------------------------------------------------------------------------------------------


class Unusable(NamedTuple):
    """A task cannot be used at all: why, and the traceback. Also said by the zygote."""

    message: str
    detail: str


def pack_end(job: int, outcome: Outcome) -> tuple[Any, ...]:
    """An attempt's end as a worker sends it: flat for a plain success, else whole."""
    if outcome.state is not JobState.SUCCEEDED or outcome.artifacts or outcome.result_blob is not None:
        return (job, outcome)
    log = outcome.log
    return (job, tuple(outcome.usage), outcome.result, outcome.metrics, log and tuple(log), outcome.resting_rss)


def unpack_end(at: float, slot: int, message: tuple[Any, ...]) -> Ended:
    """The event that `pack_end` packed."""
    if len(message) == 2:
        return Ended(at, slot, message[0], message[1])
    job, usage, result, metrics, log, resting = message
    outcome = Outcome(
        JobState.SUCCEEDED,
        Usage._make(usage),
        result=result,
        metrics=metrics,
        log=log and LogSlice._make(log),
        resting_rss=resting,
    )
    return Ended(at, slot, job, outcome)


# --- driver -> zygote ------------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """What zygote and workers need to know of a run."""

    run: str
    run_folder: str
    folder: str
    seed: int
    tasks: dict[str, TaskSource]
    jobs_reader: str
    results_reader: str
    sample_interval: float
    slots: int  # one more than the highest slot
    path: tuple[str, ...]  # the driver's sys.path
    hung_after: float  # seconds without a turn of an async worker's loop
    environment: dict[str, str]  # of everything below the zygote


class Fork(NamedTuple):
    """Make a worker; the ends of its two sockets come with the message. `generation` is unique in the run."""

    slot: int
    generation: int
    mode: Mode


class Kill(NamedTuple):
    """End a worker's process tree; with a grace time, SIGTERM goes first."""

    slot: int
    generation: int
    grace: float


# --- zygote -> driver ------------------------------------------------------------------------------------------------


class Up(NamedTuple):
    """The tasks are imported; `note` says why workers cannot be forked, if so."""

    note: str


class Reaped(NamedTuple):
    """A worker is dead and reaped, and so is all that it left. `head` is the job that held it (0: none)."""

    slot: int
    generation: int
    signal: int | None
    exit_code: int | None
    cpu: float
    peak_rss: int
    head: int
    log: LogSlice | None
    reason: str = ""
    shared: bool = False  # with all other workers


class Sampled(NamedTuple):
    """Resident bytes of each worker's tree, and of memory left."""

    rss: tuple[tuple[int, int], ...]
    available: int


# --- the board -------------------------------------------------------------------------------------------------------


class Cell:
    """What stands on the board for each slot, as a double. Plain numbers: a member of an enum takes 0.1 us to find."""

    JOB = 0  # the job that holds the worker (async: whose code runs now)
    LOG = 1  # where its log slice begins
    CPU = 2  # CPU seconds of the worker before it
    BEAT = 3  # counts turns of an async worker's loop
    HELPER = 4  # the process that was last started here for the whole run


CELLS = 8  # a cache line each


class Board:
    """Shared memory with a few numbers per slot: a worker writes, the zygote reads them also after its death."""

    def __init__(self, memfd: int) -> None:
        self.memfd = memfd
        self._map = mmap.mmap(memfd, 0)

    @classmethod
    def create(cls, slots: int) -> Board:
        """A board of zeros."""
        memfd = os.memfd_create("batchmill-board")
        os.ftruncate(memfd, max(1, slots) * CELLS * 8)
        return cls(memfd)

    def row(self, slot: int) -> memoryview[float]:
        """The cells of one slot, indexed by Cell."""
        start = slot * CELLS * 8
        return memoryview(self._map)[start : start + CELLS * 8].cast("d")
