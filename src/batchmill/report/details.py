"""One run and one job as records for programs: what `show --output json` prints. For people: `screen`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from batchmill.report.exports import job_record
from batchmill.report.query import RunView
from batchmill.report.records import AttemptView, CallView, JobView, SlotView, iso
from batchmill.report.summary import Facts, gather, head


def run_details(view: RunView, facts: Facts | None = None) -> dict[str, Any]:
    """The summary without its lists of names, with failures by kind, slowest jobs, peak memory and provenance."""
    facts = facts or gather(view)
    peak = view.peak()
    return head(facts) | {
        "folder": facts.info.folder,
        "plan_digest": facts.info.plan_digest,
        "plan_done": facts.info.plan_done,
        "failures": [
            {"kind": group.kind, "jobs": group.jobs, "messages": [message._asdict() for message in group.messages]}
            for group in view.failures_by_kind()
        ],
        "slowest": [{"name": job.name, "wall_s": job.wall_s} for job in view.slowest()],
        "peak": None if peak is None else {"name": peak.name, "peak_rss_bytes": peak.peak_rss_bytes},
        "running": [slot._asdict() | {"since": iso(slot.since)} for slot in view.running()],
        "cached_from": view.cached_from(),
        "provenance": dict(facts.info.provenance),
    }


def job_details(view: RunView, job: JobView, running: SlotView | None = None) -> dict[str, Any]:
    """The job as in the JSON export, and its number, group, task, source, times, attempts, steps, calls, artifacts.

    `attempts` is the list of those that ended; `attempt_count` all ever begun; `running` the slot that holds it now.
    """
    return job_record(job) | {
        "running": None if running is None else running._asdict() | {"since": iso(running.since)},
        "number": job.number,
        "task": job.task,
        "group": job.group,
        "quarantined": job.quarantined,
        "message": job.message,
        "source": {"run": job.source_run, "job": job.source_job} if job.cached else None,
        "started": iso(job.started),
        "finished": iso(job.finished),
        "attempt_count": job.attempts,
        "attempts": [_attempt(attempt) for attempt in view.attempts(job)],
        "steps": [
            {"name": s.name, "state": s.state, "attempt": s.attempt, "finished": iso(s.finished), "seconds": s.seconds}
            for s in view.steps(job)
        ],
        "calls": [_call(call) for call in view.calls(job)],
        "artifacts": [artifact._asdict() for artifact in view.artifacts(job)],
    }


def _attempt(attempt: AttemptView) -> dict[str, Any]:
    record = asdict(attempt) | {"started": iso(attempt.started)}
    del record["log"]  # a place in a worker's file; `batchmill logs` reads it
    return record


def _call(call: CallView) -> dict[str, Any]:
    return asdict(call) | {"reserved": iso(call.reserved), "closed": iso(call.closed)}
