"""The contract between the driver and whatever runs attempts: the scheduler decides, an executor obeys and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from batchmill.model.commands import Ack, Recall, Start, Stop
from batchmill.model.events import Event
from batchmill.model.states import Mode
from batchmill.model.tasks import TaskSource


class SlotSpec(NamedTuple):
    """A place where attempts run: a worker process, the async worker (many jobs at once), or the driver itself."""

    slot: int
    mode: Mode
    capacity: int  # jobs running at once: 1, or the concurrency of the async worker


class ExecutorSettings(NamedTuple):
    """What executors need to know of a run. Nothing here changes while it lives."""

    slots: tuple[SlotSpec, ...]
    tasks: Mapping[str, TaskSource]
    run: str  # the run's id
    run_folder: Path  # holds tmp/, logs/, ledger.db
    folder: Path  # the working directory of attempts
    seed: int
    jobs_reader: str  # `module:function`, called in a worker with run_folder: iterates the planned jobs (`prepare`)
    results_reader: str  # the same for results (`summarise`, `report`)
    memory: int | None = None  # bytes that every attempt may take; a worker that has more before any is of no use
    sample_interval: float = 0.5  # seconds between Sample events; 0.1 where a memory limit is in force


class Executor(Protocol):
    """Runs attempts. One thread calls it; no method blocks on a worker, except `close`."""

    def open(self) -> None:
        """Start what is needed; every slot answers with Ready (or the executor with Broken) later."""

    def fileno(self) -> int:
        """A descriptor that is readable while `receive` has something (an epoll or an eventfd)."""

    def receive(self, now: float, most: int) -> list[Event]:
        """At most `most` events that have happened, without waiting; `now` is the monotonic clock.

        Inline, all that one attempt said comes at once.
        """

    def start(self, starts: Sequence[Start]) -> None:
        """Send jobs to slots. A slot may hold several: it runs them in the order sent (async: at once)."""

    def stop(self, stops: Sequence[Stop]) -> None:
        """Kill, cancel or retire. `kill`: the whole process tree dies now; Recalled (if any) and Died follow.

        A `kill` or `retire` meant for a worker that died meanwhile does not hit its successor: it is ignored when the
        present worker has been sent nothing since its Ready.
        """

    def recall(self, recalls: Sequence[Recall]) -> None:
        """Take unread jobs back; answered with Recalled."""

    def ack(self, acks: Sequence[Ack]) -> None:
        """Answer workers that wait for a step's commit, a call's grant or an offloaded function."""

    def set_prepared(self, prepared: Mapping[str, Mapping[str, str]]) -> None:
        """What `prepare` made: task -> artifact name -> path. Every job started from now on sees it."""

    def close(self) -> None:
        """Kill and reap everything; no process stays behind."""
