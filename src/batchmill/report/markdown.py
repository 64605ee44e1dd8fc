"""`report.md`: a summary and its failures as Markdown that a person reads. What stands in it comes from `summary`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from batchmill.model.text import clean, counted, duration_text, number_text, percent_text, size_text
from batchmill.report import billing
from batchmill.report.billing import Billing
from batchmill.report.cells import markdown_text
from batchmill.report.records import FailureGroup, JobView

_COLUMNS = ("mean", "p50", "p95", "min", "max", "total")
_MOST_GROUPS = 200


class Details(NamedTuple):
    """What the report tells beyond the summary. `cached_from` counts jobs by the run that they took a result of."""

    failures: Sequence[FailureGroup]
    retried: Sequence[JobView]
    cached_from: Mapping[str, int]
    sections: Sequence[tuple[str, str]]  # of the tasks' own report hooks
    billing: Billing | None = None


def write(out: TextIO, summary: Mapping[str, Any], details: Details) -> None:
    """Write the report: totals, usage, metrics, failures, what was retried and cached, groups, the tasks' own words."""
    for lines in (
        _title(summary),
        _totals(summary),
        _usage(summary["statistics"]),
        _requests(details.billing),
        _metrics(summary["metrics"]),
        _failures(details.failures),
        _retried(details.retried, summary["retried_count"]),
        _cached(details.cached_from),
        _groups(summary["groups"]),
    ):
        if lines:
            out.write("\n".join(lines) + "\n\n")
    for task, text in details.sections:
        out.write(f"## Report of {markdown_text(task)}\n\n{clean(text).strip()}\n\n")


def _title(summary: Mapping[str, Any]) -> list[str]:
    state = summary["state"] + (f": {summary['reason']}" if summary["reason"] else "")
    times = f"started {summary['started'] or 'never'}, finished {summary['finished'] or 'not yet'}"
    return [
        f"# {markdown_text(summary['run'])}",
        "",
        f"Task {markdown_text(summary['task'])}, {markdown_text(state)}; {times}.",
    ]


def _totals(summary: Mapping[str, Any]) -> list[str]:
    rows = [
        ("jobs", number_text(summary["total"])),
        ("succeeded", number_text(summary["success_count"])),
        ("failed", number_text(summary["failure_count"])),
        ("skipped", number_text(summary["skipped_count"])),
        ("cancelled", number_text(summary["cancelled_count"])),
        ("not run yet", number_text(summary["pending_count"])),
        ("success rate", percent_text(summary["success_rate"])),
        ("taken from earlier results (cached)", number_text(summary["cached_count"])),
        ("tried more than once", number_text(summary["retried_count"])),
        ("total time", duration_text(summary["total_time"])),
    ]
    if summary["spent"]:
        rows.append(("spent", f"{summary['spent']:.4g} USD"))
    return ["## Totals", "", *table(("", "count"), rows)]


def _usage(statistics: Mapping[str, Any]) -> list[str]:
    kinds = (("wall time", "wall_s"), ("CPU time", "cpu_s"), ("peak memory", "peak_rss_bytes"))
    rows = []
    for label, name in kinds:
        if statistics[name] is not None:
            write_number = size_text if name == "peak_rss_bytes" else duration_text
            values = [write_number(statistics[name][column]) for column in _COLUMNS[:-1]]
            total = "" if name == "peak_rss_bytes" else duration_text(statistics[name]["total"])
            rows.append((label, *values, total))
    if not rows:
        return []
    extremes = [
        f"{word.capitalize()}: {markdown_text(statistics[word]['name'])}, {duration_text(statistics[word]['wall_s'])}."
        for word in ("fastest", "slowest")
        if statistics[word] is not None
    ]
    return ["## Time and memory of a job", "", *table(("", *_COLUMNS), rows), "", " ".join(extremes)]


def _requests(bill: Billing | None) -> list[str]:
    if bill is None:
        return []
    rows = [tuple(map(markdown_text, row)) for row in billing.rows(bill)]
    pace = bill.tokens_per_second
    more = ["", f"{number_text(pace)} tokens a second."] if pace else []
    return ["## Requests", "", *table(billing.HEADER, rows), *more]


def _metrics(metrics: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            markdown_text(column["label"] + (f" [{column['unit']}]" if column["unit"] else "")),
            number_text(column["n"]) + (f" (+ {column['non_finite']} not finite)" if column["non_finite"] else ""),
            *(number_text(column[field]) for field in _COLUMNS[:-1]),
        )
        for column in metrics.values()
    ]
    return ["## Metrics", "", *table(("", "jobs", *_COLUMNS[:-1]), rows)] if rows else []


def _failures(failures: Sequence[FailureGroup]) -> list[str]:
    lines = []
    for group in failures:
        rows = [(number_text(m.jobs), markdown_text(m.text), markdown_text(m.first)) for m in group.messages]
        if group.others:
            rows.append((number_text(group.others), "(other messages)", ""))
        lines += [f"### {group.kind}: {number_text(group.jobs)}", ""]
        lines += [*table(("jobs", "message", "first job"), rows), ""]
    return ["## Failures", "", *lines[:-1]] if lines else []


def _retried(jobs: Sequence[JobView], count: int) -> list[str]:
    if not jobs:
        return []
    rows = [(markdown_text(job.name), number_text(job.attempts), job.state) for job in jobs]
    more = ["", f"And {counted(count - len(jobs), 'more job')}."] if count > len(jobs) else []
    return ["## Tried more than once", "", *table(("job", "attempts", "state"), rows), *more]


def _cached(sources: Mapping[str, int]) -> list[str]:
    rows = [(markdown_text(run or "(this run)"), number_text(jobs)) for run, jobs in sources.items()]
    return ["## Taken from earlier results", "", *table(("run", "jobs"), rows)] if rows else []


def _groups(groups: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            markdown_text(name),
            *(number_text(group[f"{state}_count"]) for state in ("success", "failure", "cached", "pending")),
            percent_text(group["success_rate"]),
            duration_text(group["wall_s_mean"]),
        )
        for name, group in list(groups.items())[:_MOST_GROUPS]
    ]
    if not rows:
        return []
    others = len(groups) - _MOST_GROUPS
    more = [f"And {counted(others, 'more group')}, in `summary.json`."] if others > 0 else []
    header = ("group", "succeeded", "failed", "cached", "not run yet", "success rate", "mean wall time")
    return ["## Groups", "", *table(header, rows), "", *more]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; the cells are Markdown already."""
    lines = [tuple(header), ("---",) * len(header), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]
