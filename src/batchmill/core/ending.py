"""How attempts end: by their own word, by a stop, by the death of their worker; and what becomes of their job."""

from __future__ import annotations

from batchmill.core.retry import verdict
from batchmill.core.slots import Running, Slot, Stopping
from batchmill.core.state import State
from batchmill.model.events import (
    Ack,
    AttemptEnded,
    CallClosed,
    Died,
    Ended,
    HookEnded,
    JobCached,
    JobDue,
    JobEnded,
    Recalled,
    Stop,
)
from batchmill.model.jobs import Row, Source
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import FailureKind, JobState


def ended(s: State, event: Ended) -> None:
    """An attempt said how it ended."""
    slot = s.slots[event.slot]
    running = slot.remove(event.job, event.outcome.usage.ended)
    if running is None:  # its worker was given up already
        return
    slot.finished += 1
    slot.resting_rss = slot.resting_rss or event.outcome.resting_rss
    if not running.hook:
        s.durations.add(running.row.task, event.outcome.usage.ended - event.outcome.usage.started)
    leave(s, slot, running, event.outcome.usage.peak_rss)
    conclude(s, slot, running, judged(running, event.outcome))
    _retire_if_worn(s, slot, event.outcome.resting_rss)


def recalled(s: State, event: Recalled) -> None:
    """Jobs came back unread: they were never started."""
    slot = s.slots[event.slot]
    slot.recalling = False
    for job in event.jobs:
        running = slot.remove(job, s.now)
        if running is not None:
            put_back(s, slot, running)


def died(s: State, event: Died) -> None:
    """A worker is gone: the culprit is charged, the innocent go back."""
    slot = s.slots[event.slot]
    was_killed = slot.killing
    slot.up = slot.killing = slot.recalling = False
    slot.pid = slot.finished = slot.resting_rss = 0
    culprits = _culprits(s, slot, event, was_killed)
    for running in list(slot.queue):
        slot.queue.remove(running)
        if running in culprits:
            leave(s, slot, running, event.peak_rss)
            conclude(s, slot, running, judged(running, _death(s, running, event)))
        else:
            put_back(s, slot, running)
    s.dirty.add(slot.place.slot)


def _culprits(s: State, slot: Slot, event: Died, was_killed: bool) -> list[Running]:
    """The attempts that a death counts for: those stopped; else the head, if nobody else asked for the kill."""
    stopped = [r for r in slot.queue if r.stopping is not None]
    if stopped or was_killed:
        return stopped
    if slot.serial:
        return slot.running()
    if event.job:
        return [r for r in slot.queue if r.row.job == event.job]
    if len(slot.queue) == 1:
        return list(slot.queue)
    # nobody knows who ended the async worker: each suspect runs alone next time, and then it shows
    s.suspects.update(r.row.job for r in slot.queue)
    return []


def _death(s: State, running: Running, event: Died) -> Outcome:
    usage = Usage(running.started or running.sent, event.at, event.cpu, max(event.peak_rss, running.observed))
    how = f"signal {event.signal}" if event.signal else f"exit code {event.exit_code}"
    return Outcome(
        JobState.FAILED,
        usage,
        kind=FailureKind.CRASHED,
        message=f"the worker died: {how}",
        signal=event.signal,
        exit_code=event.exit_code,
        log=event.log,
    )


def judged(running: Running, outcome: Outcome) -> Outcome:
    """An outcome in the light of what stopped the attempt. A success that came first stays a success."""
    if outcome.state is JobState.SUCCEEDED or running.stopping is None:
        return outcome
    if running.stopping is Stopping.TIMEOUT:
        text = f"took longer than {running.timeout:g} s"
        return outcome._replace(state=JobState.FAILED, kind=FailureKind.TIMEOUT, message=text)
    if running.stopping is Stopping.MEMORY:
        text = f"used {running.observed / 1e6:.0f} MB, over its limit of {(running.memory or 0) / 1e6:.0f} MB"
        return outcome._replace(state=JobState.FAILED, kind=FailureKind.MEMORY, message=text)
    return outcome._replace(state=JobState.CANCELLED, kind=None, message="")


def leave(s: State, slot: Slot, running: Running, peak: int) -> None:
    """The books on what is in flight, after an attempt left its slot."""
    s.dirty.add(slot.place.slot)
    if slot.serial and not slot.queue:
        s.room.leave(slot.place.slot, running.row.task, peak)
    head = slot.head
    if head is not None:
        s.deadlines_at = min(s.deadlines_at, head.deadline)
    group = running.row.group
    if group is not None and not running.hook:
        s.group_running[group] -= 1
    for granted in s.desk.forget(running.row.job):
        s.record(CallClosed(s.now, granted.call, "unknown", granted.asked.tokens, granted.asked.cost, b"{}"))


def put_back(s: State, slot: Slot, running: Running) -> None:
    """An attempt that was not begun, or ended through no fault of its own, is as if it had not been."""
    leave(s, slot, running, 0)
    if running.hook:
        conclude(s, slot, running, _released(s, running))
        return
    s.book.put_back(running.row)


def _released(s: State, running: Running) -> Outcome:
    return Outcome(JobState.CANCELLED, Usage(running.started or running.sent, s.now))


def conclude(s: State, slot: Slot, running: Running, outcome: Outcome) -> None:
    """Record an attempt and decide what becomes of its job."""
    if running.hook:
        _conclude_hook(s, running, outcome)
        return
    row, charged = _counted(s, running, outcome)
    s.suspects.discard(row.job)
    s.record(AttemptEnded(s.now, row.job, running.attempt, slot.place.slot, outcome, charged))
    if running.stopping is Stopping.RELEASE and outcome.state is not JobState.SUCCEEDED:
        _wait(s, row, s.now)
    elif outcome.state is JobState.FAILED:
        _failed(s, row, outcome)
    else:
        finish(s, row, outcome)


def _counted(s: State, running: Running, outcome: Outcome) -> tuple[Row, bool]:
    row = running.row
    charged = running.stopping is not Stopping.RELEASE or outcome.state is JobState.SUCCEEDED
    crashed = charged and outcome.kind is FailureKind.CRASHED
    return row._replace(
        attempts=row.attempts + charged,
        total_attempts=running.attempt,
        deaths=row.deaths + crashed,
        first_started=row.first_started if row.first_started is not None else outcome.usage.started,
    ), charged


def _failed(s: State, row: Row, outcome: Outcome) -> None:
    policy = s.policy
    wait, quarantined = verdict(row, outcome, policy.retry, s.traits(row).attempts, s.now, s.chance)
    if wait is None:
        finish(s, row, outcome, quarantined)
        return
    s.note(
        f"job `{row.name}` {outcome.kind}: {outcome.message[:200]}; attempt {row.total_attempts + 1} in {wait:.1f} s"
    )
    s.publish(row, JobState.FAILED, outcome, retry_in=wait)
    _wait(s, row, s.now + wait)


def _wait(s: State, row: Row, due: float) -> None:
    started = s.now if row.first_started is None else row.first_started
    s.record(JobDue(s.now, row.job, due, row.attempts, row.total_attempts, row.deaths, started))
    s.book.ended(row, s.batch, due)


def finish(s: State, row: Row, outcome: Outcome, quarantined: bool = False) -> None:
    """A job reached its end."""
    s.record(JobEnded(s.now, row.job, outcome.state, outcome, quarantined, row.key))
    waiters = s.book.ended(row, s.batch)
    s.publish(row, outcome.state, outcome)
    s.finished += 1
    if outcome.state is JobState.FAILED:
        s.failed += 1
        s.note(f"job `{row.name}` failed ({outcome.kind}): {outcome.message[:200]}")
    elif outcome.state is JobState.SUCCEEDED:
        for waiter in waiters:
            cached(s, waiter, Source("", row.job))


def cached(s: State, row: Row, source: Source) -> None:
    """A held job takes the result of another one."""
    s.book.drop(row)
    s.book.settle(row.job, s.batch)
    s.record(JobCached(s.now, row.job, str(row.key), source))
    s.publish(row, JobState.SUCCEEDED, None, cached=True)


def _conclude_hook(s: State, running: Running, outcome: Outcome) -> None:
    offload = s.offloaded.pop(running.row.job, None)
    if offload is None:
        s.record(HookEnded(s.now, running.hook, running.row.task, outcome))
        return
    failed = "" if outcome.state is JobState.SUCCEEDED else f"{outcome.kind or 'cancelled'}: {outcome.message}"
    s.act.acks.append(Ack(offload.slot, offload.job, offload.ticket, failed, outcome.result))


def _retire_if_worn(s: State, slot: Slot, resting: int) -> None:
    limits = s.policy.limits
    if not slot.serial or slot.queue or slot.killing:
        return
    old = limits.jobs_per_worker is not None and slot.finished >= limits.jobs_per_worker
    fat = limits.worker_growth is not None and resting - slot.resting_rss > limits.worker_growth
    if old or fat:
        slot.killing = True
        s.act.stops.append(Stop(slot.place.slot, "retire"))
