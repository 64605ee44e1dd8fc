"""The course of a run: plan, prepare, jobs, summarise, report, end; and the ways in which it ends early."""

from __future__ import annotations

from enum import IntEnum

from batchmill.core.ending import cancelled, lost
from batchmill.core.slots import Running, Slot, Stopping
from batchmill.core.starting import start_hook
from batchmill.core.state import INFINITY, State
from batchmill.core.stopping import kill, recall, stop
from batchmill.model.events import Asked, Sample
from batchmill.model.facts import HookEnded, JobCancelled, JobReset, RunSet, SlotSet
from batchmill.model.states import UNPREPARED, FailureKind, JobState, Mode, RunState
from batchmill.model.text import counted

SHARE_COUNTS_FROM = 20  # finished jobs before a share of failures can stop a run
SIGNAL_NAMES = {1: "SIGHUP", 2: "SIGINT", 15: "SIGTERM"}


class Phase(IntEnum):
    """How far a run is. Phases only move forward."""

    PLAN = 0
    PREPARE = 1
    JOBS = 2
    SUMMARISE = 3
    REPORT = 4
    CLOSING = 5
    CLOSED = 6


HOOK_OF = {Phase.PREPARE: "prepare", Phase.SUMMARISE: "summarise", Phase.REPORT: "report"}


class Course:
    """Moves a run from phase to phase."""

    def __init__(self, s: State) -> None:
        self.phase = Phase.PLAN
        self._hooks: list[str] | None = None  # tasks whose hook of this phase is still to run
        self._end_batch = 0
        self.closed = (RunState.RUNNING, "")  # once it is closing: the state and the reason that the ledger gets
        done = s.policy.started_hooks
        self._wanted = {
            phase: sorted(t for t, traits in s.policy.tasks.items() if hook in traits.hooks and (hook, t) not in done)
            for phase, hook in HOOK_OF.items()
        }

    def advance(self, s: State) -> None:
        """Take every step forward that can be taken now."""
        if s.ending is not None and self.phase < Phase.CLOSING:
            if s.in_flight == 0 and s.ending.state is RunState.INTERRUPTED and self._nothing_is_left(s):
                self._close_normally(s)
            elif s.in_flight == 0:
                self._close(s, s.ending.state, s.ending.reason)
            return
        while self.phase < Phase.CLOSING and self._is_over(s):
            self.phase = Phase(self.phase + 1)
            self._hooks = None
            s.in_hook = False
            if self.phase is Phase.CLOSING:
                self._close_normally(s)
        if self.phase is Phase.CLOSING and (s.committed >= self._end_batch or s.ledger_failed):
            self.phase = Phase.CLOSED

    def _is_over(self, s: State) -> bool:
        if self.phase is Phase.PLAN:
            return s.plan_done or not (s.policy.plan_whole or self._waits_for_plan(s))
        if self.phase is Phase.JOBS:
            # what `summarise` reads must be in the ledger
            return s.plan_done and s.book.empty and s.in_flight == 0 and not s.book.settling
        return self._hooks_are_over(s)

    def _waits_for_plan(self, s: State) -> bool:
        """Whether a `prepare` must see more jobs than there are."""
        wanted = self._wanted[Phase.PREPARE]
        return bool(wanted) and not (s.plan_begun and all(s.policy.tasks[task].early for task in wanted))

    def _nothing_is_left(self, s: State) -> bool:
        """Whether all was done when the interrupt came, or what it waited for was the last."""
        if self.phase < Phase.JOBS or not s.plan_done or not s.book.empty or s.ledger_failed:
            return False
        later = [self._wanted[phase] for phase in HOOK_OF if phase > self.phase]
        return not s.policy.everything or not (self._hooks or any(later))

    def _hooks_are_over(self, s: State) -> bool:
        if self._hooks is None:
            self._hooks = list(self._wanted[self.phase]) if s.policy.everything or self.phase is Phase.PREPARE else []
        if s.in_hook or not self._hooks:
            return not s.in_hook
        s.in_hook = start_hook(s, self._hooks[0], HOOK_OF[self.phase])
        return False

    def hook_committed(self, s: State, fact: HookEnded) -> None:
        """A hook ended, durably."""
        if self._hooks and fact.task in self._hooks:
            self._hooks.remove(fact.task)
        s.in_hook = False
        if fact.outcome.state is JobState.SUCCEEDED:
            if fact.hook == "prepare":
                s.act.prepared.append(fact.task)
            return
        s.note(f"`{fact.hook}` of task `{fact.task}` failed: {fact.outcome.message[:500]}")
        if fact.hook == "prepare":
            s.end(RunState.STOPPED, f"{UNPREPARED} `{fact.task}` failed: {fact.outcome.message[:200]}")

    def _close_normally(self, s: State) -> None:
        if s.policy.everything:
            self._close(s, RunState.FINISHED, "")
        else:
            self._close(s, RunState.STOPPED, "selection")

    def _close(self, s: State, state: RunState, reason: str) -> None:
        self.phase, self.closed = Phase.CLOSING, (state, reason)
        s.dirty.clear()
        for number in s.slots:
            s.record(SlotSet(s.now, number, 0, 0, 0))
        s.record(RunSet(s.now, state, reason))
        s.note(f"{state}{f' ({reason})' if reason else ''}: {s.finished} ended this time, {s.failed} failed")
        self._end_batch = s.batch


# --- requests


def asked(s: State, event: Asked) -> None:
    """A request from a signal or another process."""
    if event.what == "drain":
        _drain(s, event)
    elif event.what == "stop":
        s.end(RunState.INTERRUPTED, _by(event), now=True)
    elif event.what == "cancel" and event.job == 0:
        s.end(RunState.CANCELLED, "cancelled", now=True)
    elif event.what == "cancel":
        cancel(s, event.job)
    elif event.what == "retry":
        retry(s, event.job)


def _by(event: Asked) -> str:
    return SIGNAL_NAMES.get(event.signal, f"signal {event.signal}") if event.signal else "asked to stop"


def _drain(s: State, event: Asked) -> None:
    """The first time: wait for what is in flight. The second time: stop now."""
    again = s.ending is not None and s.ending.asked
    s.end(RunState.INTERRUPTED, _by(event), now=again, until=s.now + s.policy.drain_grace)
    if s.ending is not None:
        s.ending.asked = True


def cancel(s: State, job: int) -> None:
    """Cancel one job, wherever it is."""
    for slot in s.slots.values():
        running = slot.find(job)
        if running is not None:
            _cancel_in(s, slot, running)
            return
    row = s.book.held.get(job)
    if row is not None:
        cancelled(s, row)
    else:
        s.cancelled.add(job)
        if s.book.lanes is not None:
            s.book.lanes.wait_ends(job)
        s.record(JobCancelled(s.now, job))


def _cancel_in(s: State, slot: Slot, running: Running) -> None:
    """A job that waits behind another is taken back: its worker runs somebody else's."""
    if slot.place.mode is not Mode.PROCESS or running is slot.head:
        stop(s, slot, running, Stopping.CANCEL)
    elif running.stopping is None:
        running.stopping = Stopping.CANCEL
        recall(s, slot)


def retry(s: State, job: int) -> None:
    """Run one ended job again; one that is pending runs anyway."""
    if job in s.book.held or job in s.book.busy:
        return
    s.cancelled.discard(job)
    s.record(JobReset(s.now, job))
    s.book.expect_due(s.batch, s.now)


# --- what time and measurement bring


def watch(s: State) -> None:
    """Apply every limit that the clock decides."""
    if s.now >= s.deadlines_at:
        _deadlines(s)
    _run_deadline(s)
    if s.ending is None:
        _failures(s)
        _budget(s)
    if s.ending is not None:
        _hasten(s)
    _recall(s)


def _deadlines(s: State) -> None:
    s.deadlines_at = INFINITY
    for slot in s.slots.values():
        for running in slot.running():
            if running.deadline <= s.now:
                stop(s, slot, running, Stopping.TIMEOUT)
            elif running.deadline < s.deadlines_at:
                s.deadlines_at = running.deadline


def run_deadline(s: State) -> float:
    """When the whole run is out of time."""
    limit = s.policy.limits.deadline
    return INFINITY if limit is None or s.started is None else s.started + limit


def _run_deadline(s: State) -> None:
    if s.now >= run_deadline(s) and not (s.ending is not None and s.ending.now):
        s.end(RunState.STOPPED, f"deadline of {s.policy.limits.deadline:g} s", now=True)


def _failures(s: State) -> None:
    limit = s.policy.limits.max_failures
    if limit is None or s.failed == 0:
        return
    if limit.number is not None and s.failed >= max(limit.number, 1):
        s.end(RunState.STOPPED, f"{counted(s.failed, 'failed job')}, the limit is {limit}")
    elif limit.fraction is not None and s.finished >= SHARE_COUNTS_FROM and s.failed > limit.fraction * s.finished:
        s.end(RunState.STOPPED, f"{s.failed} of {s.finished} jobs failed, the limit is {limit}")


def _budget(s: State) -> None:
    if s.desk.exhausted:
        s.end(RunState.STOPPED, s.desk.exhausted)


def _hasten(s: State) -> None:
    """What is in flight when a run must stop now goes back to pending, uncharged."""
    ending = s.ending
    if ending is None or not (ending.now or s.now >= ending.until):
        return
    for slot in s.slots.values():
        for running in slot.running():
            stop(s, slot, running, Stopping.RELEASE)
            if running.patient:
                kill(s, slot, running, now=True)


def _recall(s: State) -> None:
    """Jobs that wait behind a long one go back: to idle workers, or, in a drain, to the ledger."""
    waiting = [slot for slot in s.places(Mode.PROCESS) if len(slot.held) > 1 and not slot.killing]
    if not waiting:
        return
    idle = any(slot.idle for slot in s.places(Mode.PROCESS))
    for slot in waiting:
        if s.ending is not None or (idle and slot.late(s.now)):
            recall(s, slot)


def sampled(s: State, event: Sample) -> None:
    """Memory was measured: whoever is over its limit is stopped."""
    s.room.sample(event.rss, event.available)
    for number, rss in event.rss:
        slot = s.slots[number]
        head = slot.head if slot.place.mode is Mode.PROCESS else None
        if head is None or head.memory is None or head.started is None or head.started > event.at:
            continue
        if rss > head.memory and head.stopping is None:
            head.observed, head.resting = rss, slot.first_rss
            stop(s, slot, head, Stopping.MEMORY)


def broken(s: State, message: str) -> None:
    """Nothing can run: what is in flight is lost with its executor, uncharged."""
    for slot in s.slots.values():
        lost(s, slot)
    s.end(RunState.STOPPED, message, now=True)


def plan_failed(s: State, message: str) -> None:
    """The plan broke off: what is planned is kept, nothing is known of the rest."""
    s.plan_done = True
    s.end(RunState.STOPPED, f"{FailureKind.INVALID}: {message}")
