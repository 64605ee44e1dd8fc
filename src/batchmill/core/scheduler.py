"""`Scheduler.step(events)`: the one function that decides what a run does next.

It has no clock, disk, thread or chance of its own: the same events give the same acts, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from batchmill.core import calling, closing, ending, starting
from batchmill.core.calls import CallDesk
from batchmill.core.jobs import JobBook
from batchmill.core.lanes import Lanes
from batchmill.core.pace import Pacer
from batchmill.core.policy import Place, Policy
from batchmill.core.room import Room
from batchmill.core.slots import RECALL_AFTER, Slot
from batchmill.core.state import INFINITY, Offload, State
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model import facts
from batchmill.model.jobs import Row, Source
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import FailureKind, JobState, Mode, RunState
from batchmill.model.text import counted

GATHER, LONGEST_GATHER = 0.0001, 0.01  # seconds for each call that waits or is open, and for all


class Scheduler:
    """The state of one invocation of a run. `chance` gives uniform numbers in [0, 1) for the jitter."""

    def __init__(self, policy: Policy, chance: Callable[[], float]) -> None:
        limits = policy.limits
        caps = dict(limits.group_concurrency)
        unshared = (name for name, traits in policy.tasks.items() if not traits.reuses)
        self.state = State(
            policy,
            chance,
            JobBook(policy.window, caps, unshared),
            {place.slot: Slot(place, _life(place, policy)) for place in policy.places},
            CallDesk(policy),
            Room(policy.total_memory or limits.total_memory, policy.reserve),
            Pacer(limits.rate) if limits.rate is not None else None,
            group_cap=caps,
        )
        if policy.waiting is not None:
            self.state.book.lanes = Lanes(policy.waiting)
        self.course = closing.Course(self.state)
        self._handlers: dict[type, Callable[..., None]] = {
            ev.Ended: ending.ended,
            ev.Died: ending.died,
            ev.Recalled: ending.recalled,
            ev.Asked: closing.asked,
            ev.Sample: closing.sampled,
            ev.Planned: _planned,
            ev.Loaded: _loaded,
            ev.Prepared: _prepared,
            ev.Ready: _ready,
            ev.StepDone: _step_done,
            ev.CallAsked: calling.asked,
            ev.CallSettled: calling.settled,
            ev.CallCached: calling.cached,
            ev.CallFound: calling.found,
            ev.LimitSeen: calling.limit_seen,
            ev.Lent: calling.lent,
            ev.WaitBegan: _wait_began,
            ev.WaitEnded: _wait_ended,
            ev.OffloadAsked: _offload_asked,
            ev.LullAsked: _lull_asked,
            ev.CommitFailed: _commit_failed,
            ev.Broken: _broken,
            ev.Remark: _remark,
        }

    def step(self, events: Iterable[ev.Event]) -> do.Act:
        """Take in what happened, and say what is to be done. Times of events never run backwards."""
        s = self.state
        s.act = do.Act()
        for event in events:
            s.now = max(s.now, event.at)
            if s.started is None:
                self._begin()
            if isinstance(event, ev.Committed):
                self._committed(event.number)
            elif (handler := self._handlers.get(type(event))) is not None:
                handler(s, event)
        if s.started is not None and not self.finished:
            self._decide()
        return self._finished_act()

    def _begin(self) -> None:
        self.state.started = self.state.now
        self.state.record(facts.RunSet(self.state.now, RunState.RUNNING))
        self.state.note(f"started: {_workers(self.state.policy.places)}")

    def _decide(self) -> None:
        s = self.state
        closing.watch(s)
        calling.admit(s)
        if s.offloads and not (s.ending is not None and s.ending.now):
            starting.start_offloads(s)
        if s.ending is None and self.course.phase is closing.Phase.JOBS:
            self._feed()
            if not s.book.silent:
                starting.fill(s)
        before = self.course.phase
        self.course.advance(s)
        if self.course.phase is closing.Phase.JOBS and before < closing.Phase.JOBS:
            self._feed()
        if s.lulls and starting.is_lull(s):
            s.act.acks += s.lulls
            s.lulls.clear()

    def _feed(self) -> None:
        s = self.state
        s.act.loads.extend(s.book.loads(s.now))
        s.act.prepares.extend(do.Prepare(row) for row in s.book.to_prepare())

    def _finished_act(self) -> do.Act:
        s = self.state
        for number in s.dirty:
            s.record(_slot_row(s, s.slots[number]))
        s.dirty.clear()
        if s.act.facts:
            s.act.batch = s.batch
            s.batch += 1
        self._release_acks()
        return s.act

    def _committed(self, number: int) -> None:
        s = self.state
        s.committed = number
        s.ledger_failed = ""
        s.book.committed(number, s.now)
        while s.unpublished and s.unpublished[0][0] <= number:
            s.act.published.append(s.unpublished.popleft()[1])
        self._release_acks()
        while s.hooks_ended and s.hooks_ended[0][0] <= number:
            self.course.hook_committed(s, s.hooks_ended.popleft()[1])

    def _release_acks(self) -> None:
        s = self.state
        while s.unacked and s.unacked[0][0] <= s.committed:
            ack = s.unacked.popleft()[1]
            s.wait_ends(ack.slot, ack.job, ack.ticket)
            s.act.acks.append(ack)

    @property
    def gather(self) -> float:
        """Seconds in which what calls ask and tell may gather: less than it takes to send so many."""
        return min(LONGEST_GATHER, self.state.desk.calls * GATHER)

    @property
    def finished(self) -> bool:
        """Whether the run's end is durable (or cannot be made so)."""
        return self.course.phase is closing.Phase.CLOSED

    def hungry(self, modes: Iterable[Mode]) -> bool:
        """Whether a slot of these modes has room, nothing that could fill it, and nothing that is being read."""
        slots = (slot for mode in modes for slot in self.state.places(mode))
        return not self.state.book.reading and any(slot.room(1) > 0 for slot in slots)

    @property
    def next_wakeup(self) -> float:
        """When the clock alone makes something happen; infinity for never."""
        s = self.state
        times = [s.deadlines_at, closing.run_deadline(s), s.desk.next_wakeup(s.now)]
        if s.ending is not None:
            times.append(s.ending.until)
        elif self.course.phase is closing.Phase.JOBS:
            times += _start_times(s)
        # what is past was acted on: only an event can help there
        return min((t for t in times if t > s.now), default=INFINITY)


def _life(place: Place, policy: Policy) -> int | None:
    return policy.limits.jobs_per_worker if place.mode is Mode.PROCESS else None


def _workers(places: Iterable[Place]) -> str:
    """Such as `2 process slots, 100 async slots`."""
    slots = Counter[Mode]()
    for place in places:
        slots[place.mode] += place.capacity
    return ", ".join(counted(number, f"{mode} slot") for mode, number in slots.items())


def _start_times(s: State) -> Iterator[float]:
    """When waiting jobs come due, the pace allows a start, or jobs wait too long behind another."""
    yield s.book.due_wakeup
    if s.pacer is not None:
        yield s.pacer.when(s.now)
    for slot in s.places(Mode.PROCESS):
        if len(slot.held) > 1 and (head := slot.head) is not None and (started := head.started) is not None:
            yield started + RECALL_AFTER


def _slot_row(s: State, slot: Slot) -> facts.SlotSet:
    head = slot.head
    if head is None or head.row.job < 0:
        return facts.SlotSet(s.now, slot.place.slot, 0, slot.pid, 0)
    return facts.SlotSet(s.now, slot.place.slot, head.row.job, slot.pid, head.attempt)


# --- events that need no file of their own


def _planned(s: State, event: ev.Planned) -> None:
    s.book.plan_grew()
    s.plan_begun = s.plan_begun or event.total > 0
    s.plan_done = s.plan_done or event.done
    if event.error:
        closing.plan_failed(s, event.error)


def _loaded(s: State, event: ev.Loaded) -> None:
    for row in s.book.loaded(event):
        source = row.source or _late_source(s, row)
        if row.job in s.cancelled:  # asked for before it was planned
            ending.cancelled(s, row)
        elif source is not None:
            ending.cached(s, row, source)
        else:
            s.book.hold(row)


def _late_source(s: State, row: Row) -> Source | None:
    """A result that was not committed yet when the row was read."""
    job = s.book.result_of(row)
    return None if job is None else Source("", job)


def _prepared(s: State, event: ev.Prepared) -> None:
    row = s.book.prepared(event.job)
    if row is None:
        return
    if event.invalid:
        s.book.drop(row)
        state = JobState.SKIPPED if event.skip else JobState.FAILED
        kind = event.skip or FailureKind.INVALID
        ending.finish(s, row, Outcome(state, Usage(s.now, s.now), kind=kind, message=event.invalid, permanent=True))
        return
    row = row._replace(key=event.key, steps=event.steps)
    s.record(facts.JobKeyed(s.now, row.job, str(event.key)))
    source = event.source or _late_source(s, row)
    if source is not None:
        ending.cached(s, row, source)
    else:
        s.book.push(row)


def _ready(s: State, event: ev.Ready) -> None:
    slot = s.slots[event.slot]
    slot.up, slot.pid, slot.first_rss = True, event.pid, event.rss
    s.dirty.add(event.slot)


def _step_done(s: State, event: ev.StepDone) -> None:
    running = s.find(event.slot, event.job)
    if running is None:
        return
    row = running.row
    if row.key is not None:
        s.record(facts.StepSaved(event.at, row.job, row.key, running.attempt, event.step, event.seconds))
        # should it start again from here, it must not do this step again
        kept = tuple(step for step in row.steps if step.name != event.step.name)
        running.row = row._replace(steps=(*kept, event.step))
    running.wait_begins(event.ticket, s.now)
    s.ack(do.Ack(event.slot, event.job, event.ticket))


def _wait_began(s: State, event: ev.WaitBegan) -> None:
    running = s.find(event.slot, event.job)
    if running is not None:
        running.wait_begins(event.ticket, s.now)


def _wait_ended(s: State, event: ev.WaitEnded) -> None:
    s.wait_ends(event.slot, event.job, event.ticket)


def _lull_asked(s: State, event: ev.LullAsked) -> None:
    s.lulls.append(do.Ack(event.slot, event.job, event.ticket))


def _offload_asked(s: State, event: ev.OffloadAsked) -> None:
    running = s.find(event.slot, event.job)
    if running is None:
        return
    if s.places(Mode.PROCESS):
        row = running.row._replace(mode=Mode.PROCESS, timeout=running.timeout, memory=running.memory)
        s.offloads.append(Offload(event.slot, event.job, event.ticket, event.payload, row))
    else:
        s.act.acks.append(do.Ack(event.slot, event.job, event.ticket, "this run has no worker process"))


def _commit_failed(s: State, event: ev.CommitFailed) -> None:
    """The ledger cannot be written: nothing new starts, and no grant leaves since none is committed; what is in
    flight may end, and is kept for a later commit."""
    s.ledger_failed = event.message
    s.end(RunState.INTERRUPTED, f"the ledger cannot be written: {event.message}", until=s.now + s.policy.drain_grace)


def _remark(s: State, event: ev.Remark) -> None:
    s.note(event.text)


def _broken(s: State, event: ev.Broken) -> None:
    closing.broken(s, event.message)
