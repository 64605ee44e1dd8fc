"""How attempts end: by their own word, by a stop, by the death of their worker; and what becomes of their job."""

from __future__ import annotations

from batchmill.core.retry import verdict
from batchmill.core.slots import Running, Slot, Stopping
from batchmill.core.state import State
from batchmill.core.stopping import forget_offloads, forget_talk, kill
from batchmill.model.commands import Ack, Stop
from batchmill.model.events import Died, Ended, Recalled
from batchmill.model.facts import AttemptEnded, HookEnded, JobCached, JobCancelled, JobDue, JobEnded
from batchmill.model.jobs import Row, Source
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import FailureKind, JobState, Mode

_DONE = (JobState.SUCCEEDED, JobState.SKIPPED)


def ended(s: State, event: Ended) -> None:
    """An attempt said how it ended."""
    slot, outcome = s.slots[event.slot], event.outcome
    usage = outcome.usage
    running = slot.remove(event.job, usage.ended)
    if running is None:  # its worker was given up already
        return
    slot.finished += 1
    if not running.hook:
        s.durations.add(running.row.task, usage.ended - usage.started)
    if slot.place.mode is Mode.INLINE and outcome.state is JobState.CANCELLED:  # by a signal, which is on its way here
        running.stopping = Stopping.RELEASE
    leave(s, slot, running, usage.peak_rss)
    conclude(s, slot, running, judged(running, outcome))
    if s.wearing and slot.place.mode is Mode.PROCESS:
        _retire_if_worn(s, slot, outcome.resting_rss)


def recalled(s: State, event: Recalled) -> None:
    """Jobs came back unread: they were never started."""
    slot = s.slots[event.slot]
    slot.recalling = False
    for job in event.jobs:
        running = slot.remove(job, s.now)
        if running is not None:
            put_back(s, slot, running)
    head = slot.head
    if head is not None and head.stopping is not None and not slot.killing:  # it was begun before it could be taken
        kill(s, slot, head)


def died(s: State, event: Died) -> None:
    """A worker is gone: the culprit is charged, the innocent go back."""
    slot = s.slots[event.slot]
    if event.shared:
        _all_died(s, event)
    culprits = _culprits(s, slot, event)
    s.act.stops = [stop for stop in s.act.stops if stop.slot != event.slot]  # not meant for the next worker
    slot.replaced()
    for running in slot.empty():
        if running in culprits:
            leave(s, slot, running, event.peak_rss)
            conclude(s, slot, running, judged(running, _death(running, event)))
        else:
            put_back(s, slot, running)
    s.dirty.add(slot.place.slot)


def _all_died(s: State, event: Died) -> None:
    """The first death of many tells of all: if one job ran, it is the culprit; of several each runs alone next time."""
    workers = [slot for slot in s.slots.values() if slot.place.mode is not Mode.INLINE]
    found = [(slot, running) for slot in workers for running in slot.running()]
    suspects = {_job_of(s, running) for _, running in found if running.stopping is None}
    if len(suspects) > 1:
        s.lone |= suspects
        suspects.clear()
    for slot, running in found:
        del slot.held[running.row.job]
        if running.stopping is not None or running.row.job in suspects:
            leave(s, slot, running, 0)
            conclude(s, slot, running, judged(running, _death(running, event)))
        else:
            put_back(s, slot, running)


def _job_of(s: State, running: Running) -> int:
    """The job that an attempt is made for: an offloaded function belongs to the one that asked for it."""
    offload = s.offloaded.get(running.row.job)
    return running.row.job if offload is None else offload.job


def lost(s: State, slot: Slot) -> None:
    """The executor of a slot is gone for good, and all that the slot holds with it: nobody is charged."""
    slot.replaced()
    for running in slot.empty():
        put_back(s, slot, running)


def _culprits(s: State, slot: Slot, event: Died) -> list[Running]:
    """The attempts that a death counts for: those stopped; else the head, if nobody else asked for the kill."""
    if slot.serial:
        return [] if slot.killing and not any(r.stopping for r in slot.running()) else slot.running()
    culprits = [r for r in slot.held.values() if r.stopping is not None or r.row.job == event.job]
    if culprits or len(slot.held) == 1:
        return culprits or slot.running()
    # nobody knows who ended the async worker: each suspect runs alone next time, and then it shows
    s.suspects.update(r.row.job for r in slot.held.values())
    return []


def _death(running: Running, event: Died) -> Outcome:
    usage = Usage(running.started or running.sent, event.at, event.cpu, max(event.peak_rss, running.observed))
    how = f"the worker died: signal {event.signal}" if event.signal else f"the worker died: exit code {event.exit_code}"
    if event.shared:
        how = "all workers were killed while this job alone ran"
    elif event.reason:
        how = f"the worker was killed: the job {event.reason}"
    return Outcome(
        JobState.FAILED,
        usage,
        kind=FailureKind.CRASHED,
        message=how,
        signal=event.signal,
        exit_code=event.exit_code,
        log=event.log,
    )


def judged(running: Running, outcome: Outcome) -> Outcome:
    """An outcome in the light of what stopped the attempt. An end that came first stays what it was."""
    if running.stopping is None and outcome.state is JobState.CANCELLED:
        text = "the job was cancelled by its own code"
        return outcome._replace(state=JobState.FAILED, kind=FailureKind.ERROR, message=text)
    if running.stopping is None or outcome.state in _DONE:
        return outcome
    if running.stopping is Stopping.TIMEOUT:
        text = f"took longer than {running.timeout:g} s"
        return outcome._replace(state=JobState.FAILED, kind=FailureKind.TIMEOUT, message=text)
    if running.stopping is Stopping.MEMORY:
        text = f"used {running.observed / 1e6:.0f} MB, over its limit of {(running.memory or 0) / 1e6:.0f} MB"
        if running.resting > (running.memory or 0):
            text += f"; a worker takes {running.resting / 1e6:.0f} MB before it starts any job"
        return outcome._replace(state=JobState.FAILED, kind=FailureKind.MEMORY, message=text)
    return outcome._replace(state=JobState.CANCELLED, kind=None, message="")


def leave(s: State, slot: Slot, running: Running, peak: int) -> None:
    """The books on what is in flight, after an attempt left its slot."""
    row, head = running.row, slot.head
    s.dirty.add(slot.place.slot)
    if slot.serial:
        if head is None:
            s.room.leave(slot.place.slot, row.task, peak)
        elif (deadline := head.deadline) < s.deadlines_at:
            s.deadlines_at = deadline
    if row.group is not None and not running.hook:
        s.group_running[row.group] -= 1
    if s.unacked or s.desk.used:
        forget_talk(s, slot, row.job)
    if s.offloads or s.offloaded:
        forget_offloads(s, slot, row.job)


def put_back(s: State, slot: Slot, running: Running) -> None:
    """An attempt that was not begun, or ended through no fault of its own, is as if it had not been."""
    leave(s, slot, running, 0)
    if running.hook == "offload":
        if (offload := s.offloaded.pop(running.row.job, None)) is not None:
            s.offloads.appendleft(offload)
    elif running.hook:
        s.in_hook = False  # it starts again
    else:
        s.book.put_back(running.row)
        if running.stopping is Stopping.CANCEL:
            cancelled(s, running.row)


def cancelled(s: State, row: Row) -> None:
    """A job that has not started ends, because somebody asked for it."""
    s.cancelled.add(row.job)
    acquit(s, row.job)
    if row.job in s.book.held:
        s.book.drop(row)
    s.book.settle(row.job, s.batch)
    s.record(JobCancelled(s.now, row.job))
    s.publish(row, JobState.CANCELLED, Outcome(JobState.CANCELLED, Usage(s.now, s.now)))


def acquit(s: State, job: int) -> None:
    """A job is over, or ended an attempt in a way that hurts nobody else."""
    if s.suspects or s.lone:
        s.suspects.discard(job)
        s.lone.discard(job)


def conclude(s: State, slot: Slot, running: Running, outcome: Outcome) -> None:
    """Record an attempt and decide what becomes of its job."""
    if running.hook:
        _conclude_hook(s, running, outcome)
        return
    row = running.row
    if outcome.kind is not FailureKind.CRASHED:
        acquit(s, row.job)
    charged = running.stopping is not Stopping.RELEASE or outcome.state in _DONE
    s.record(AttemptEnded(s.now, row.job, running.attempt, slot.place.slot, outcome, charged))
    if not charged:
        _wait(s, _counted(running, outcome, charged=False), s.now)
    elif outcome.state is JobState.FAILED:
        _failed(s, running, outcome)
    else:
        finish(s, row, outcome)


def _counted(running: Running, outcome: Outcome, *, charged: bool) -> Row:
    row = running.row
    return row._replace(
        attempts=row.attempts + charged,
        total_attempts=running.attempt,
        deaths=row.deaths + (charged and outcome.kind is FailureKind.CRASHED),
        first_started=row.first_started if row.first_started is not None else outcome.usage.started,
    )


def _failed(s: State, running: Running, outcome: Outcome) -> None:
    row = _counted(running, outcome, charged=True)
    wait, quarantined = verdict(row, outcome, s.policy.retry, s.traits(row).attempts, s.now, s.chance)
    if wait is None:
        finish(s, running.row, outcome, quarantined)
        return
    what = f"{outcome.kind}: {outcome.message[:200]}"
    s.note(f"job `{row.name}` {what}; attempt {row.total_attempts + 1} in {wait:.1f} s")
    s.publish(running.row, JobState.FAILED, outcome, retry_in=wait)
    _wait(s, row, s.now + wait)


def _wait(s: State, row: Row, due: float) -> None:
    started = s.now if row.first_started is None else row.first_started
    s.record(JobDue(s.now, row.job, due, row.attempts, row.total_attempts, row.deaths, started))
    s.book.ended(row, s.batch, due=due)


def finish(s: State, row: Row, outcome: Outcome, quarantined: bool = False) -> None:
    """A job reached its end."""
    succeeded = outcome.state is JobState.SUCCEEDED
    acquit(s, row.job)
    s.record(JobEnded(s.now, row.job, outcome.state, outcome, quarantined, row.key))
    waiters = s.book.ended(row, s.batch, succeeded=succeeded)
    s.publish(row, outcome.state, outcome)
    s.finished += 1
    if outcome.state is JobState.FAILED:
        s.failed += 1
        s.note(f"job `{row.name}` failed ({outcome.kind}): {outcome.message[:200]}")
    for waiter in waiters:
        cached(s, waiter, Source("", row.job))


def cached(s: State, row: Row, source: Source) -> None:
    """A job that has not started takes the result of another one."""
    if row.job in s.book.held:
        s.book.drop(row)
    s.book.settle(row.job, s.batch)
    s.record(JobCached(s.now, row.job, str(row.key), source))
    s.publish(row, JobState.SUCCEEDED, None, cached=True)


def _conclude_hook(s: State, running: Running, outcome: Outcome) -> None:
    if running.hook != "offload":
        fact = HookEnded(s.now, running.hook, running.row.task, outcome)
        s.record(fact)
        s.hooks_ended.append((s.batch, fact))
        return
    offload = s.offloaded.pop(running.row.job, None)
    if offload is not None:  # else the job that asked is gone
        failed = "" if outcome.state is JobState.SUCCEEDED else f"{outcome.kind or 'cancelled'}: {outcome.message}"
        s.act.acks.append(Ack(offload.slot, offload.job, offload.ticket, failed, outcome.result))


def _retire_if_worn(s: State, slot: Slot, resting: int) -> None:
    """Replace a worker that has done its share or has grown, as soon as it holds nothing."""
    growth = s.policy.limits.worker_growth
    slot.resting_rss = slot.resting_rss or resting
    slot.worn = slot.worn or (growth is not None and resting - slot.resting_rss > growth)
    old = slot.life is not None and slot.finished >= slot.life
    if (old or slot.worn) and not slot.held and not slot.killing:
        slot.killing = True
        s.act.stops.append(Stop(slot.place.slot, "retire"))
