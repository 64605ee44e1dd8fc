"""What the terminal shows of a run: the summary at its end, `show RUN`, and `show RUN/JOB`. How it is drawn: `page`.

The same content for programs is in `details`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from batchmill.model.states import FailureKind
from batchmill.model.text import counted, duration_text, money_text, number_text, one_line, percent_text, size_text
from batchmill.report import billing
from batchmill.report.encode import json_text
from batchmill.report.page import Page
from batchmill.report.query import RunView
from batchmill.report.records import AttemptView, FailureGroup, JobView, RunInfo, SlotView, iso
from batchmill.report.summary import Facts, gather, success_rate

_GROUPS_SHOWN = 20
_MESSAGES_SHOWN = 3
_VALUE_LINES = 40
_HEAD_LINES, _TAIL_LINES = 10, 20  # of captured output
_MOST_OUTPUT = 4_000_000  # bytes of captured output looked at
_CALLS_SHOWN = 10
_CALL_STATES = {"reserved": "in flight", "unknown": "possibly billed"}
_ALIVE = ("planning", "running")


def summary_page(view: RunView, facts: Facts | None = None, written: Sequence[Path] = ()) -> Page:
    """The end of a run: what it came to, why jobs failed, where the reports are, and what to do next."""
    facts = facts or gather(view)
    page = Page()
    _head(page, facts)
    _requests(page, facts)
    failures = view.failures_by_kind(_MESSAGES_SHOWN)
    _failures(page, failures)
    page.pairs([("report", written[-1])] if written else [])
    _next_steps(page, facts.info, failures, facts.counts["pending"])
    return page


def run_page(view: RunView, facts: Facts | None = None) -> Page:
    """`show RUN`: counts, groups, failures by kind, what runs, the slowest jobs, the highest memory, provenance."""
    facts = facts or gather(view)
    page = Page()
    _head(page, facts)
    _requests(page, facts)
    _groups(page, facts)
    _failures(page, view.failures_by_kind(_MESSAGES_SHOWN))
    if facts.info.state in _ALIVE:
        _running(page, view)
    _extremes(page, view)
    _metrics(page, facts)
    _provenance(page, facts.info)
    return page


def job_page(view: RunView, job: JobView, running: SlotView | None = None) -> Page:
    """`show RUN/JOB`: its state, parameters, attempts, steps, calls, result, artifacts and captured output.

    `running` is the slot of a live driver that holds the job.
    """
    page = Page()
    attempts = view.attempts(job)
    _job_head(page, view, job, running)
    _value(page, "parameters", job.params)
    _attempts(page, attempts)
    _steps(page, view, job)
    _calls(page, view, job)
    _outcome(page, job, attempts)
    artifacts = [(a.name, size_text(a.size), a.digest[:16]) for a in view.artifacts(job)]
    _titled(page, "artifacts", ("name", "size", "digest"), artifacts)
    _output(page, view.log(job)[:_MOST_OUTPUT].decode("utf-8", "replace"))
    return page


def _titled(
    page: Page, title: str, header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()
) -> None:
    if rows:
        page.title(title)
        page.table(header, rows, right)


# --- a run -------------------------------------------------------------------------------------------------------


def _head(page: Page, facts: Facts) -> None:
    info, counts, found = facts.info, facts.counts, facts.statistics
    reason = f" ({info.reason})" if info.reason else ""
    page.title(f"{info.id} {info.state}{reason}, {duration_text(info.wall_s)}, task {info.task}")
    cached = f" ({counts['cached']:,} cached)" if counts["cached"] else ""
    states = [f"{counts['succeeded']:,} succeeded{cached}", f"{counts['failed']:,} failed"]
    states += [f"{counts[state]:,} {state}" for state in ("skipped", "cancelled") if counts[state]]
    states += [f"{counts['pending']:,} not run yet"] if counts["pending"] else []
    page.pairs(
        [
            ("jobs", f"{info.planned:,}{'' if info.plan_done else ' planned so far'}: {', '.join(states)}"),
            ("success rate", percent_text(success_rate(counts))),
            ("tried more than once", f"{counts['retried']:,}" if counts["retried"] else ""),
            ("wall time of a job", found.wall and _spread(found.wall.p50, found.wall.p95, found.wall.max)),
            ("CPU time of a job", found.cpu and _spread(found.cpu.p50, found.cpu.p95, found.cpu.max)),
            ("peak memory of a job", found.memory and _sizes(found.memory.p50, found.memory.p95, found.memory.max)),
            ("spent", _spent(facts)),
        ]
    )


def _spent(facts: Facts) -> str:
    billing = facts.billing
    if billing is None or not billing.total.possibly_billed:
        return money_text(facts.spent) if facts.spent else ""
    total = billing.total
    unanswered = total.unanswered + total.open
    return (
        f"{money_text(facts.spent)}, {money_text(total.possibly_billed)} of it possibly billed:"
        f" {counted(unanswered, 'request')} without an answer"
    )


def _requests(page: Page, facts: Facts) -> None:
    if facts.billing is not None:
        pace = facts.billing.tokens_per_second
        title = f"requests ({number_text(pace)} tokens/s)" if pace else "requests"
        _titled(page, title, billing.HEADER, billing.rows(facts.billing), range(1, len(billing.HEADER)))


def _spread(p50: float, p95: float, most: float) -> str:
    return f"median {duration_text(p50)}, 95% {duration_text(p95)}, longest {duration_text(most)}"


def _sizes(p50: float, p95: float, most: float) -> str:
    return f"median {size_text(p50)}, 95% {size_text(p95)}, highest {size_text(most)}"


def _failures(page: Page, failures: Sequence[FailureGroup]) -> None:
    rows: list[tuple[str, str, str, str]] = []
    for group in failures:
        rows += [
            (group.kind, f"{message.jobs:,}", one_line(message.first, 40), one_line(message.text, 120))
            for message in group.messages
        ]
        if group.others:
            rows.append((group.kind, f"{group.others:,}", "", "(other messages)"))
    _titled(page, "failures", ("kind", "jobs", "first", "message"), rows, (1,))


def _next_steps(page: Page, info: RunInfo, failures: Sequence[FailureGroup], pending: int) -> None:
    if failures:
        show = shlex.join(["batchmill", "show", f"{info.id}/{failures[0].messages[0].first}"])
        again = shlex.join(["batchmill", "retry", info.id, "--failed"])
        # what is invalid is invalid again, until what it was made from is mended
        curable = any(group.kind != FailureKind.INVALID for group in failures)
        page.text(f"\nhint: `{show}` shows a failure" + (f", `{again}` tries again" if curable else ""))
    elif pending:
        resume = shlex.join(["batchmill", "resume", info.id])
        page.text(f"\nhint: `{resume}` goes on with what has not run yet: {counted(pending, 'job')}")


def _groups(page: Page, facts: Facts) -> None:
    named = [(name, counts) for name, counts in facts.groups.items() if name]
    rows = [
        (
            name,
            *(f"{counts[state]:,}" for state in ("succeeded", "failed", "pending")),
            percent_text(success_rate(counts)),
        )
        for name, counts in named[:_GROUPS_SHOWN]
    ]
    _titled(page, "groups", ("group", "succeeded", "failed", "not run yet", "success rate"), rows, (1, 2, 3, 4))
    if len(named) > _GROUPS_SHOWN:
        page.text(f"+ {counted(len(named) - _GROUPS_SHOWN, 'more group')}, in `summary.json`")


def _running(page: Page, view: RunView) -> None:
    rows = [(slot.slot, slot.name, slot.attempt, slot.pid, iso(slot.since)) for slot in view.running()]
    _titled(page, "running", ("slot", "job", "attempt", "pid", "since"), rows[:_GROUPS_SHOWN], (0, 2, 3))


def _extremes(page: Page, view: RunView) -> None:
    rows = [(job.name, duration_text(job.wall_s), size_text(job.peak_rss_bytes), job.state) for job in view.slowest(5)]
    _titled(page, "slowest", ("job", "wall time", "peak memory", "state"), rows, (1, 2))
    peak = view.peak()
    if peak is not None and peak.peak_rss_bytes:
        page.title("highest memory")
        page.table((), [(peak.name, size_text(peak.peak_rss_bytes))])


def _metrics(page: Page, facts: Facts) -> None:
    rows = [
        (name, *(number_text(value) for value in (column.mean, column.p50, column.p95, column.min, column.max)))
        for name, column in facts.statistics.metrics.items()
    ]
    _titled(page, "metrics", ("", "mean", "p50", "p95", "min", "max"), rows[:_GROUPS_SHOWN], (1, 2, 3, 4, 5))


def _provenance(page: Page, info: RunInfo) -> None:
    page.title("provenance")
    told = [
        (name, one_line(value if isinstance(value, str) else json_text(value), 120))
        for name, value in info.provenance.items()
        if value
    ]
    times = [("created", iso(info.created)), ("started", iso(info.started)), ("finished", iso(info.finished))]
    page.pairs([*times, ("folder", info.folder), ("seed", info.seed), *told])


# --- a job -------------------------------------------------------------------------------------------------------


def _job_head(page: Page, view: RunView, job: JobView, running: SlotView | None) -> None:
    state = job.state if running is None else "running"
    page.title(f"{view.run_folder.name}/{job.name} {state}{' (quarantined)' if job.quarantined else ''}")
    source = None
    if job.cached:
        source = f"{job.source_run or view.run_folder.name}, job {job.source_job}"
    page.pairs(
        [
            ("running", running and f"attempt {running.attempt} since {iso(running.since)}, process {running.pid}"),
            ("number", job.number),
            ("task", job.task),
            ("group", job.group),
            ("key", job.key),
            ("result of", source),
            ("attempts", job.attempts),
            ("started", iso(job.started)),
            ("finished", iso(job.finished)),
            ("wall time", None if job.wall_s is None else duration_text(job.wall_s)),
            ("CPU time", None if job.cpu_s is None else duration_text(job.cpu_s)),
            ("peak memory", size_text(job.peak_rss_bytes) if job.peak_rss_bytes else None),
        ]
    )


def _attempts(page: Page, attempts: Sequence[AttemptView]) -> None:
    rows = [
        (
            attempt.number,
            attempt.kind or attempt.state,
            iso(attempt.started),
            duration_text(attempt.wall_s),
            size_text(attempt.peak_rss_bytes) if attempt.peak_rss_bytes else "-",
            one_line(_message(attempt), 120) + ("" if attempt.charged else " (not counted)"),
        )
        for attempt in attempts
    ]
    _titled(page, "attempts", ("", "end", "started", "wall time", "memory", "message"), rows, (0, 3, 4))


def _message(attempt: AttemptView) -> str:
    raised = attempt.exceptions[0] if attempt.exceptions else ""
    return attempt.message if attempt.message.startswith(raised) else f"{raised}: {attempt.message}"


def _steps(page: Page, view: RunView, job: JobView) -> None:
    rows = [
        (step.name, step.state, duration_text(step.seconds), step.attempt, one_line(step.stored_value, 60))
        for step in view.steps(job)
    ]
    _titled(page, "steps", ("step", "state", "time", "attempt", "value"), rows, (2, 3))


def _calls(page: Page, view: RunView, job: JobView) -> None:
    calls = view.calls(job)
    rows = [
        (
            call.id,
            call.usage.get("model", call.quota),
            _CALL_STATES.get(call.state, call.state),
            call.usage.get("failure", ""),
            f"{call.tokens:,}",
            money_text(call.cost),
            call.usage.get("request_id", ""),
        )
        for call in calls[-_CALLS_SHOWN:]
    ]
    header = ("call", "model", "state", "error", "tokens", "cost", "request")
    _titled(page, f"calls ({len(calls):,})", header, rows, (4, 5))


def _outcome(page: Page, job: JobView, attempts: Sequence[AttemptView]) -> None:
    if job.message:
        page.title(job.error.kind if job.error else "reason")
        page.text(job.message)
    traceback = next((attempt.traceback for attempt in reversed(attempts) if attempt.traceback), "")
    if job.error and traceback:
        page.title("traceback")
        page.text(traceback, "dim")
    if job.metrics:
        _value(page, "metrics", job.metrics)
    if job.state == "succeeded":
        _value(page, "result", job.result)


def _value(page: Page, title: str, value: object) -> None:
    page.title(title)
    page.text(_middle_out(json_text(value, indent=2), _VALUE_LINES, 0))


def _output(page: Page, text: str) -> None:
    if text:
        page.title("output")
        page.text(_middle_out(text, _HEAD_LINES, _TAIL_LINES))


def _middle_out(text: str, head: int, tail: int) -> str:
    """The first and last lines of a text, each cut to a length that a screen can hold."""
    lines = [line if len(line) <= 500 else line[:500] + "…" for line in text.splitlines()]
    left_out = len(lines) - head - tail
    if left_out <= 0:
        return "\n".join(lines)
    return "\n".join([*lines[:head], f"… {counted(left_out, 'more line')} …", *(lines[-tail:] if tail else [])])
