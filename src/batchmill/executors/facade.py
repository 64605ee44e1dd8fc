"""Several executors behind the contract of one: each slot's commands go to the executor of its mode."""

from __future__ import annotations

import select
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from batchmill.executors.base import ExecutorSettings
from batchmill.executors.processes import ProcessExecutor
from batchmill.model.commands import Ack, Recall, Start, Stop
from batchmill.model.events import Event, Remark
from batchmill.model.states import Mode

if TYPE_CHECKING:
    from batchmill.executors.inline import InlineExecutor

_Command = TypeVar("_Command", Start, Stop, Recall, Ack)


class Executors:
    """Runs slots of any mode (see `base.Executor`); makes only the executors that the slots need."""

    def __init__(self, settings: ExecutorSettings) -> None:
        inline = tuple(s for s in settings.slots if s.mode is Mode.INLINE)
        others = tuple(s for s in settings.slots if s.mode is not Mode.INLINE)
        self._processes = ProcessExecutor(settings._replace(slots=others)) if others else None
        self._inline = _inline(settings._replace(slots=inline)) if inline else None
        self._all = [executor for executor in (self._processes, self._inline) if executor is not None]
        self._of_slot = {s.slot: self._inline if s.mode is Mode.INLINE else self._processes for s in settings.slots}
        self._remarked = [0] * len(self._all)  # notes that were passed on
        self._epoll = select.epoll()
        for executor in self._all:
            self._epoll.register(executor.fileno(), select.EPOLLIN)

    @property
    def notes(self) -> list[str]:
        """Lines for the run's log: what executors did that a user may wonder about."""
        return [note for executor in self._all for note in executor.notes]

    @property
    def limits_not_enforced(self) -> tuple[str, ...]:
        """What inline slots, if any, do not enforce."""
        return self._inline.limits_not_enforced if self._inline is not None else ()

    def open(self) -> None:
        """See `base.Executor`."""
        for executor in self._all:
            executor.open()

    def fileno(self) -> int:
        """See `base.Executor`."""
        return self._epoll.fileno()

    def receive(self, now: float, most: int) -> list[Event]:
        """See `base.Executor`. Inline attempts run here, after everything else was heard."""
        events: list[Event] = []
        for executor in self._all:
            events += executor.receive(now, most - len(events))
        for number, executor in enumerate(self._all):
            if len(executor.notes) > self._remarked[number]:
                events += [Remark(now, note) for note in executor.notes[self._remarked[number] :]]
                self._remarked[number] = len(executor.notes)
        return events

    def start(self, starts: Sequence[Start]) -> None:
        """See `base.Executor`."""
        for executor, some in self._routed(starts):
            executor.start(some)

    def stop(self, stops: Sequence[Stop]) -> None:
        """See `base.Executor`."""
        for executor, some in self._routed(stops):
            executor.stop(some)

    def recall(self, recalls: Sequence[Recall]) -> None:
        """See `base.Executor`."""
        for executor, some in self._routed(recalls):
            executor.recall(some)

    def ack(self, acks: Sequence[Ack]) -> None:
        """See `base.Executor`."""
        for executor, some in self._routed(acks):
            executor.ack(some)

    def set_prepared(self, prepared: Mapping[str, Mapping[str, str]]) -> None:
        """See `base.Executor`."""
        for executor in self._all:
            executor.set_prepared(prepared)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the inline attempt that runs now, if any. For signal handlers."""
        if self._inline is not None:
            self._inline.interrupt()

    def close(self) -> None:
        """See `base.Executor`."""
        for executor in self._all:
            executor.close()
        self._epoll.close()

    def _routed(
        self, commands: Sequence[_Command]
    ) -> list[tuple[ProcessExecutor | InlineExecutor, Sequence[_Command]]]:
        if len(self._all) == 1:
            return [(self._all[0], commands)]
        parts: dict[int, list[_Command]] = defaultdict(list)
        for command in commands:
            parts[self._all.index(self._of_slot[command.slot])].append(command)  # type: ignore[arg-type]
        return [(self._all[number], part) for number, part in parts.items()]


def _inline(settings: ExecutorSettings) -> InlineExecutor:
    # it brings all that a worker needs, which the driver of others does not
    from batchmill.executors.inline import InlineExecutor

    return InlineExecutor(settings)
