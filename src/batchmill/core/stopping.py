"""Ending attempts before their time, and taking back jobs that have not begun."""

from __future__ import annotations

from collections import deque

from batchmill.core.slots import Running, Slot, Stopping
from batchmill.core.state import State
from batchmill.model.events import Ack, Recall, Stop
from batchmill.model.states import Mode

LEAST_GRACE = 1.0  # seconds that a coroutine has to end once it is cancelled; then its whole worker dies


def stop(s: State, slot: Slot, running: Running, why: Stopping) -> None:
    """End one attempt: its worker's whole tree in a process slot, its coroutine in the async one.

    What runs inline cannot be ended, but it is not left waiting either.
    """
    if running.stopping is not None:
        return
    if slot.place.mode is Mode.INLINE:
        if why is Stopping.RELEASE and running.waiting:
            running.stopping = why
            _refuse_all(s, slot, running)
        return
    running.stopping = why
    if slot.serial:
        kill(s, slot, running)
    else:
        grace = max(s.policy.limits.kill_grace, LEAST_GRACE)
        s.act.stops.append(Stop(slot.place.slot, "cancel", running.row.job, grace))


def kill(s: State, slot: Slot, running: Running) -> None:
    """End the worker of a process slot for the sake of one attempt."""
    slot.killing = True
    grace = s.policy.limits.kill_grace if running.stopping is Stopping.TIMEOUT else 0.0
    s.act.stops.append(Stop(slot.place.slot, "kill", running.row.job, grace))


def _refuse_all(s: State, slot: Slot, running: Running) -> None:
    for ticket in sorted(running.waiting):
        s.act.acks.append(Ack(slot.place.slot, running.row.job, ticket, "the run is being stopped"))
        running.wait_ends(ticket, s.now)


def recall(s: State, slot: Slot) -> None:
    """Take back what a process slot has not begun."""
    if not slot.recalling:
        slot.recalling = True
        s.act.recalls.append(Recall(slot.place.slot))


def forget_offloads(s: State, slot: Slot, job: int) -> None:
    """An async attempt is over: nobody waits for the functions it sent to processes."""
    owner = (slot.place.slot, job)
    if any((o.slot, o.job) == owner for o in s.offloads):
        s.offloads = deque(o for o in s.offloads if (o.slot, o.job) != owner)
    for pseudo, offload in list(s.offloaded.items()):
        if (offload.slot, offload.job) == owner:
            del s.offloaded[pseudo]
            for place in s.places(Mode.PROCESS):
                if (running := place.find(pseudo)) is not None:
                    stop(s, place, running, Stopping.RELEASE)
