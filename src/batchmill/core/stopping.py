"""Ending attempts before their time, and taking back jobs that have not begun."""

from __future__ import annotations

from collections import deque

from batchmill.core.lost import LostCall
from batchmill.core.slots import Running, Slot, Stopping
from batchmill.core.state import State
from batchmill.model.commands import Ack, Recall, Stop
from batchmill.model.facts import CallClosed
from batchmill.model.states import Mode

LEAST_GRACE = 1.0  # seconds that a coroutine has to end once it is cancelled; then its whole worker dies


def stop(s: State, slot: Slot, running: Running, why: Stopping) -> None:
    """End one attempt: its worker's whole tree in a process slot, its coroutine in the async one.

    What runs inline cannot be ended, but when the run ends it is not left waiting.
    """
    if slot.place.mode is Mode.INLINE:
        if why is Stopping.RELEASE:
            running.stopping = why
            _refuse_waits(s, slot, running)
    elif running.stopping is None:
        running.stopping = why
        if slot.serial:
            kill(s, slot, running)
        else:
            grace = max(s.policy.limits.kill_grace, LEAST_GRACE)
            s.act.stops.append(Stop(slot.place.slot, "cancel", running.row.job, grace))


def kill(s: State, slot: Slot, running: Running, *, now: bool = False) -> None:
    """End the worker of a process slot for the sake of one attempt; `now` without the grace of a timeout."""
    grace = s.policy.limits.kill_grace if running.stopping is Stopping.TIMEOUT and not now else 0.0
    slot.killing = True
    running.patient = grace > 0
    s.act.stops.append(Stop(slot.place.slot, "kill", running.row.job, grace))


def _refuse_waits(s: State, slot: Slot, running: Running) -> None:
    """Answer what waits for a grant, and what waits for a commit that may never come."""
    number, job = slot.place.slot, running.row.job
    if s.ledger_failed:
        forget_talk(s, slot, job)
    coming = {ack.ticket for _, ack in s.unacked if (ack.slot, ack.job) == (number, job)}
    for ticket in sorted(running.waiting - coming):
        s.desk.withdraw(job, ticket)
        s.act.acks.append(Ack(number, job, ticket, "the run is being stopped"))
        running.wait_ends(ticket, s.now)


def forget_talk(s: State, slot: Slot, job: int) -> None:
    """Nobody is left to answer. A call whose grant never left was never sent; of others nobody knows."""
    number = slot.place.slot
    unsent = {ack.ticket for _, ack in s.unacked if (ack.slot, ack.job) == (number, job)}
    if unsent:
        s.unacked = deque(item for item in s.unacked if (item[1].slot, item[1].job) != (number, job))
    for granted in s.desk.forget(job, unsent, s.now):
        asked = granted.asked
        if asked.ticket in unsent:
            s.record(CallClosed(s.now, granted.call, "released", 0, 0, b"{}"))
        else:
            s.record(CallClosed(s.now, granted.call, "unknown", asked.tokens, asked.cost, b"{}"))
            s.lost.add(LostCall(granted.call, job, asked.quota, asked.key, asked.cost))


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
