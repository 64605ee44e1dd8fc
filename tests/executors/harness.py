"""A driver small enough to see through: sends jobs to a real executor and waits for events, never without a limit."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from batchmill.executors.base import Executor, ExecutorSettings, SlotSpec
from batchmill.executors.facade import Executors
from batchmill.model.commands import Ack, Start, Stop
from batchmill.model.events import CallAsked, Died, Ended, Event, OffloadAsked, Ready, StepDone
from batchmill.model.jobs import Row
from batchmill.model.outcomes import Outcome
from batchmill.model.states import Mode
from batchmill.model.tasks import TaskSource

LIMIT = 20.0  # seconds for anything at all
_Event = TypeVar("_Event", bound=Event)
HERE = Path(__file__).parent


def sources(*names: str) -> dict[str, TaskSource]:
    """Functions of `jobs.py` as tasks of the same names."""
    return {
        name: TaskSource("module", "tests.executors.jobs", name, search_path=(str(HERE.parents[1]),)) for name in names
    }


class Rig:
    """An executor and everything that it said."""

    def __init__(
        self,
        folder: Path,
        *tasks: str,
        modes: tuple[Mode, ...] = (Mode.PROCESS,),
        sample_interval: float = 0.5,
        more: dict[str, TaskSource] | None = None,
        executor: Callable[[ExecutorSettings], Executor] = Executors,
    ) -> None:
        self.folder = folder / "run"
        self.settings = ExecutorSettings(
            slots=tuple(SlotSpec(n, mode, 100 if mode is Mode.ASYNC else 1) for n, mode in enumerate(modes, 1)),
            tasks={**sources(*tasks), **(more or {})},
            run="test-1",
            run_folder=self.folder,
            folder=folder,
            seed=42,
            jobs_reader="tests.executors.harness:read_jobs",
            results_reader="tests.executors.harness:read_results",
            sample_interval=sample_interval,
        )
        self.executor = executor(self.settings)
        self.events: list[Event] = []
        self.answers: Callable[[Event], Ack | None] = lambda _: None
        self._jobs = 0

    def __enter__(self) -> Rig:
        self.executor.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.executor.close()

    def ready(self) -> Rig:
        """Wait until every slot has its worker."""
        for spec in self.settings.slots:
            self.wait(Ready, lambda e, slot=spec.slot: e.slot == slot)
        return self

    def send(self, task: str, slot: int = 1, *, job: int = 0, attempt: int = 1, **options: Any) -> int:
        """Start a job; its number. `options`: params, and fields of Row and Start."""
        self._jobs = max(self._jobs + 1, job)
        number = job or self._jobs
        row_fields = {k: options.pop(k) for k in ("key", "inputs", "steps", "group") if k in options}
        start_fields = {k: options.pop(k) for k in ("timeout", "memory", "payload", "hook") if k in options}
        row = Row(
            number,
            f"job-{number}",
            task,
            Mode.PROCESS,
            "1",
            json.dumps(options),
            row_fields.pop("key", f"key-{number}"),
            **row_fields,
        )
        self.executor.start(
            [
                Start(
                    slot,
                    row,
                    attempt,
                    start_fields.pop("timeout", None),
                    start_fields.pop("memory", None),
                    **start_fields,
                )
            ]
        )
        return number

    def turn(self, patience: float = 0.1) -> list[Event]:
        """Wait a little for something to happen."""
        poll = select.poll()
        poll.register(self.executor.fileno(), select.POLLIN)
        poll.poll(1000 * patience)
        events = self.executor.receive(time.monotonic(), 256)
        self.events += events
        for event in events:
            if (ack := self.answers(event)) is not None:
                self.executor.ack([ack])
        return events

    def wait(self, kind: type[_Event], which: Callable[[Any], bool] = lambda _: True) -> _Event:
        """The first event of this kind that fits, of those that came and those to come."""
        deadline = time.monotonic() + LIMIT
        seen = 0
        while True:
            for event in self.events[seen:]:
                if isinstance(event, kind) and which(event):
                    return event
            seen = len(self.events)
            assert time.monotonic() < deadline, f"no {kind.__name__} came; seen: {self.events[-20:]}"
            self.turn()

    def outcome(self, job: int) -> Outcome:
        """How a job ended."""
        return self.wait(Ended, lambda e: e.job == job).outcome

    def run(self, task: str, slot: int = 1, **options: Any) -> Outcome:
        """Start a job and wait for its end."""
        return self.outcome(self.send(task, slot, **options))

    def value(self, task: str, slot: int = 1, **options: Any) -> Any:
        """The JSON value of a job's result."""
        outcome = self.run(task, slot, **options)
        assert outcome.result is not None, outcome
        return json.loads(outcome.result)

    def kill(self, slot: int = 1, grace: float = 0.0, *, respawn: bool = True) -> Died:
        """Kill a slot's worker and wait for its death."""
        before = len(self.events)
        self.executor.stop([Stop(slot, "kill", 0, grace, respawn)])
        return self.wait(Died, lambda e: e.slot == slot and any(e is later for later in self.events[before:]))

    def of(self, kind: type[_Event]) -> list[_Event]:
        """All events of a kind so far."""
        return [e for e in self.events if isinstance(e, kind)]


def grant(event: Event) -> Ack | None:
    """Answers every question with yes."""
    if isinstance(event, StepDone | CallAsked | OffloadAsked):
        return Ack(event.slot, event.job, event.ticket)
    return None


def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait for something outside the executor."""
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.002)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def no_process_left(marker: str) -> Iterator[None]:
    """Check that no process with this text in its environment outlives the block."""
    yield
    until(lambda: not processes_with(marker), f"the end of all processes with `{marker}`")


def processes_with(marker: str) -> list[int]:
    """Processes whose environment holds this text."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and alive(int(entry)):
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if marker.encode() in file.read():
                        found.append(int(entry))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """What `prepare` reads in tests."""
    return [{"n": 1}, {"n": 2}]


def read_results(folder: Path) -> list[int]:
    """What `summarise` reads in tests."""
    return [10, 20, 30]
