"""What starts where: order, windows, and the limits that hold a start back."""

from __future__ import annotations

from batchmill.core.jobs import Entry, entry
from batchmill.core.slots import Running, Slot
from batchmill.core.state import Offload, State
from batchmill.model.events import Start
from batchmill.model.jobs import Row
from batchmill.model.states import Mode


def fill(s: State) -> None:
    """Send ready jobs to the slots: first one to every idle slot, then as many ahead as pays."""
    _start_offloads(s)
    for mode in Mode:
        if s.book.ready[mode] and (slots := s.places(mode)):
            _fill_mode(s, mode, slots)


def _fill_mode(s: State, mode: Mode, slots: list[Slot]) -> None:
    aside: list[Entry] = []
    for slot in slots:
        if not slot.queue and slot.room(1) > 0:
            _fill_slot(s, slot, 1, aside)
    for slot in slots:
        head = s.book.peek(mode)
        if head is None:
            break
        _fill_slot(s, slot, slot.room(_ahead(s, head)), aside)
    if aside:
        s.book.set_aside(mode, aside)


def _ahead(s: State, row: Row) -> int:
    """How many jobs a worker may hold. Limits on starts are exact only if nothing is sent ahead."""
    limits = s.policy.limits
    exact = limits.rate is not None or limits.total_memory is not None or row.group in s.group_cap
    return 1 if exact else s.durations.ahead(row.task)


def _fill_slot(s: State, slot: Slot, room: int, aside: list[Entry]) -> None:
    while room > 0:
        row = _next(s, slot, aside)
        if row is None:
            return
        start(s, slot, row)
        room -= 1


def _next(s: State, slot: Slot, aside: list[Entry]) -> Row | None:
    """The first ready job that may start in this slot now; it is taken out of the window."""
    mode = slot.place.mode
    while (row := s.book.peek(mode)) is not None:
        if s.traits(row).reuses and s.book.must_wait(row):
            s.book.wait_for_key(mode)
        elif _group_is_full(s, row) or not _suspect_may(s, slot, row):
            aside.append(entry(row))
            s.book.skip(mode)
        elif not _paced(s) or not _fits(s, slot, row):
            return None
        else:
            return s.book.take(mode)
    return None


def _group_is_full(s: State, row: Row) -> bool:
    return row.group in s.group_cap and s.group_running[row.group] >= s.group_cap[row.group]


def _suspect_may(s: State, slot: Slot, row: Row) -> bool:
    """An async job that may have ended a worker runs alone, until it is known to be innocent."""
    if not s.suspects or slot.serial:
        return True
    alone = any(running.row.job in s.suspects for running in slot.queue)
    return not alone and (row.job not in s.suspects or not slot.queue)


def _paced(s: State) -> bool:
    return s.pacer is None or s.pacer.when(s.now) <= s.now


def _fits(s: State, slot: Slot, row: Row) -> bool:
    return bool(slot.queue) or not slot.serial or s.room.admits(s.room.estimate(row.task, _memory(s, row)))


def _memory(s: State, row: Row) -> int | None:
    return row.memory or s.policy.limits.memory or s.traits(row).memory


def _timeout(s: State, row: Row) -> float | None:
    return row.timeout or s.policy.limits.timeout or s.traits(row).timeout


def start(s: State, slot: Slot, row: Row, *, hook: str = "", payload: bytes | None = None) -> None:
    """Send one attempt to a slot, and keep the books on it."""
    timeout, memory, attempt = _timeout(s, row), _memory(s, row), row.total_attempts + 1
    running = Running(row, attempt, s.now, timeout, memory, hook)
    slot.send(running, s.now)
    s.deadlines_at = min(s.deadlines_at, running.deadline)
    s.dirty.add(slot.place.slot)
    if slot.serial:
        s.room.enter(slot.place.slot, s.room.estimate(row.task, memory))
    if not hook:
        if s.pacer is not None:
            s.pacer.take(s.now)
        if row.group is not None:
            s.group_running[row.group] += 1
    s.act.starts.append(Start(slot.place.slot, row, attempt, timeout, memory, payload, hook))


def idle_process(s: State) -> Slot | None:
    """A process slot with nothing in it."""
    return next((slot for slot in s.places(Mode.PROCESS) if slot.room(1) > 0), None)


def start_hook(s: State, task: str, hook: str) -> bool:
    """Start a hook of a task in an idle process slot (or inline, where there is none); False if all are busy."""
    slots = s.places(Mode.PROCESS) or s.places(Mode.INLINE)
    slot = next((candidate for candidate in slots if candidate.room(1) > 0), None)
    if slot is None:
        return False
    start(s, slot, _pseudo(s, task, hook), hook=hook)
    return True


def _pseudo(s: State, task: str, name: str) -> Row:
    job, s.next_pseudo = s.next_pseudo, s.next_pseudo - 1
    return Row(job, f"{name}:{task}", task, Mode.PROCESS, "", "{}", None)


def _start_offloads(s: State) -> None:
    while s.offloads and (slot := idle_process(s)) is not None:
        offload: Offload = s.offloads.popleft()
        row = offload.row._replace(job=s.next_pseudo, total_attempts=0, steps=())
        s.next_pseudo -= 1
        s.offloaded[row.job] = offload
        start(s, slot, row, hook="offload", payload=offload.payload)
