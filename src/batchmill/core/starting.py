"""What starts where: order, windows, and the limits that hold a start back."""

from __future__ import annotations

from batchmill.core.jobs import Order
from batchmill.core.slots import MOST_AHEAD, Running, Slot
from batchmill.core.state import Offload, State
from batchmill.model.commands import Start
from batchmill.model.jobs import Row
from batchmill.model.states import Mode


def fill(s: State) -> None:
    """Send ready jobs to the slots: first one to every idle slot, then as many ahead as pays."""
    ready = s.book.ready
    modes = [mode for mode, queue in ready.items() if queue]
    if len(modes) > 1:  # they share the pace
        modes.sort(key=lambda mode: ready[mode][0])
    for mode in modes:
        _fill_mode(s, mode, s.places(mode))


def _fill_mode(s: State, mode: Mode, slots: list[Slot]) -> None:
    aside: list[Order] = []
    for slot in slots:
        if not slot.held:
            _fill_slot(s, slot, 1, aside)
    if not (s.offloads and mode is Mode.PROCESS):  # an offloaded function needs a slot that runs empty
        for slot in slots:
            if not slot.late(s.now):
                _fill_slot(s, slot, MOST_AHEAD, aside)
    if aside:
        s.book.set_aside(mode, aside)


def _fill_slot(s: State, slot: Slot, most: int, aside: list[Order]) -> None:
    mode = slot.place.mode
    if slot.room(most) <= 0:
        return
    while (row := s.book.peek(mode)) is not None:
        if row.group is not None and _group_is_full(s, row.group):
            aside.append(s.book.skip(mode))
        elif slot.room(min(most, _ahead(s, row))) > 0 and _may_start(s, slot, row):
            start(s, slot, s.book.take(mode))
        else:
            return


def _ahead(s: State, row: Row) -> int:
    """How many jobs a worker may hold."""
    if s.exact or row.mode is not Mode.PROCESS or row.group in s.group_cap:
        return 1
    return s.durations.ahead(row.task)


def _may_start(s: State, slot: Slot, row: Row) -> bool:
    """On the hot path: what most runs do not need is asked for before it is called."""
    return (
        (not s.lone or _lone_may(s, row))
        and (not s.suspects or _suspect_may(s, slot, row))
        and (s.pacer is None or s.pacer.when(s.now) <= s.now)
        and (row.lane == 0 or _lane_is_open(s, row))
        and (not slot.serial or bool(slot.held) or s.room.admits(s.room.estimate(row.task, _memory(s, row))))
    )


def _group_is_full(s: State, group: str) -> bool:
    return group in s.group_cap and s.group_running[group] >= s.group_cap[group]


def _suspect_may(s: State, slot: Slot, row: Row) -> bool:
    """An async job that may have ended a worker runs alone, until it is known to be innocent."""
    if slot.serial or not slot.held:
        return True
    return row.job not in s.suspects and s.suspects.isdisjoint(slot.held)


def _lone_may(s: State, row: Row) -> bool:
    """A job that may have ended all workers runs with none beside it, until it is known to be innocent."""
    if s.in_flight == 0:
        return True
    return row.job not in s.lone and all(s.lone.isdisjoint(slot.held) for slot in s.slots.values())


def _lane_is_open(s: State, row: Row) -> bool:
    """Under `order: group` a group begins when all jobs of those before it have ended, retries and all."""
    if s.book.any_before(row.lane):
        return False
    return all(r.row.lane >= row.lane or r.row.job < 0 for slot in s.slots.values() for r in slot.held.values())


def _memory(s: State, row: Row) -> int | None:
    return row.memory or s.policy.limits.memory or s.traits(row).memory


def _timeout(s: State, row: Row) -> float | None:
    return row.timeout or s.policy.limits.timeout or s.traits(row).timeout


def start(s: State, slot: Slot, row: Row) -> None:
    """Send one attempt of a job to a slot, and keep the books on it."""
    if s.pacer is not None:
        s.pacer.take(s.now)
    if row.group is not None:
        s.group_running[row.group] += 1
    _send(s, slot, Running(row, row.total_attempts + 1, s.now, _timeout(s, row), _memory(s, row)))


def _send(s: State, slot: Slot, running: Running, payload: bytes | None = None) -> None:
    row, number = running.row, slot.place.slot
    slot.send(running, s.now)
    if running.started is not None:
        s.dirty.add(number)
        s.deadlines_at = min(s.deadlines_at, running.deadline)
    if slot.serial:
        s.room.enter(number, s.room.estimate(row.task, running.memory))
    command = Start(number, row, running.attempt, running.timeout, running.memory, payload, running.hook)
    s.act.starts.append(command)


def is_lull(s: State) -> bool:
    """Whether every attempt waits, for what no step brings, and no job can start before one of them goes on."""
    if s.unacked or s.desk.waiting or s.offloads:
        return False
    busy = [slot for slot in s.slots.values() if slot.held]
    if any(not running.waiting for slot in busy for running in reversed(slot.held.values())):
        return False
    full = all(slot.room(1) <= 0 for slot in busy)
    return full or s.ending is not None or (s.plan_done and s.book.still and (s.pacer is None or not s.book.held))


def start_hook(s: State, task: str, hook: str) -> bool:
    """Start a hook of a task in an idle process slot (or inline, where there is none); False if all are busy.

    The limits of a job are not those of a hook.
    """
    slots = s.places(Mode.PROCESS) or s.places(Mode.INLINE)
    slot = next((candidate for candidate in slots if candidate.room(1) > 0), None)
    if slot is None:
        return False
    row = Row(_pseudo(s), f"{hook}:{task}", task, slot.place.mode, "", "{}", None)
    _send(s, slot, Running(row, 1, s.now, None, None, hook))
    return True


def start_offloads(s: State) -> None:
    """Start functions of async jobs in idle process slots, under the limits of their jobs."""
    while s.offloads and (slot := _idle_process(s)) is not None:
        offload: Offload = s.offloads.popleft()
        row = offload.row._replace(job=_pseudo(s), total_attempts=0, steps=(), group=None)
        s.offloaded[row.job] = offload
        _send(s, slot, Running(row, 1, s.now, row.timeout, row.memory, "offload"), offload.payload)


def _idle_process(s: State) -> Slot | None:
    return next((slot for slot in s.places(Mode.PROCESS) if slot.room(1) > 0), None)


def _pseudo(s: State) -> int:
    """A number for what is not a job: negative, never used twice."""
    number, s.next_pseudo = s.next_pseudo, s.next_pseudo - 1
    return number
