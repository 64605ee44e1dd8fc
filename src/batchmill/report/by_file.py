"""The export shape `files`: one entry a file, in the words of people who think in files, not in jobs and states.

A job's file is its parameter `file`, or else its name. Whatever did not succeed is `failed` and says why, so that
total = successful + failed. The engine's own formats are in `exports`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TextIO

from batchmill.model.states import JobState
from batchmill.model.text import clean, duration_text
from batchmill.report.cells import cell, markdown_text
from batchmill.report.encode import json_text
from batchmill.report.query import RunView
from batchmill.report.records import JobView

FILE = "file"
COLUMNS = ("file", "status", "result", "processing_time", "error")
_MARKS = {"success": "✓", "failed": "✗"}
_HEADING = re.compile(r"^#{1,6}(?=\s)", re.MULTILINE)
_NOT_RUN = "not run yet"


class Entry(NamedTuple):
    """One file: `status` is `success` or `failed`, `processing_time` seconds, `error` None when all went well."""

    file: str
    status: str
    result: Any
    processing_time: float | None
    error: str | None


def entry(job: JobView) -> Entry:
    """A job as an entry of its file."""
    named = job.params.get(FILE)
    file = named if isinstance(named, str) else job.name
    if job.state == JobState.SUCCEEDED:
        return Entry(file, "success", _answer(job.result), job.wall_s, None)
    kind = job.kind or (_NOT_RUN if job.state == JobState.PENDING else job.state)
    return Entry(file, "failed", None, job.wall_s, f"{kind}: {job.message}" if job.message else kind)


def _answer(result: Any) -> Any:
    """What a reader wants of a result: its structured `data`, or its `text`, or all of it."""
    if isinstance(result, dict):
        for field in ("data", "text"):
            if result.get(field) is not None:
                return result[field]
    return result


def write_json(view: RunView, out: TextIO) -> None:
    """`{"batch_id", "parameters", "summary", "results"}`; `parameters` are those that all jobs share."""
    with view.at_once():
        info, counts = view.info, view.counts()
    good = counts["succeeded"]
    summary = {
        "total": info.planned,
        "successful": good,
        "failed": info.planned - good,
        "processing_time": info.wall_s,
    }
    head = {"batch_id": info.id, "parameters": _shared(view, info.tick), "summary": summary}
    out.write(json_text(head)[:-1] + ',"results":[')
    separator = "\n"
    for job in view.jobs(as_of=info.tick):
        out.write(separator + json_text(entry(job)._asdict()))
        separator = ",\n"
    out.write("\n]}\n")


def _shared(view: RunView, tick: int) -> dict[str, Any]:
    shared: dict[str, Any] | None = None
    for job in view.jobs(as_of=tick):
        params = job.params
        if shared is None:
            shared = {name: value for name, value in params.items() if name != FILE}
        else:
            shared = {name: value for name, value in shared.items() if name in params and params[name] == value}
    return shared or {}


def write_csv(view: RunView, out: TextIO) -> None:
    """One line a file under `COLUMNS`; structured results are JSON text."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([cell(value) for value in entry(job)] for job in view.jobs())


def write_markdown(view: RunView, out: TextIO) -> None:
    """A heading a file with its mark, and its result or its error."""
    with view.at_once():
        info, counts = view.info, view.counts()
    good = counts["succeeded"]
    out.write(f"# {markdown_text(info.id)}\n\n")
    out.write(f"{info.planned:,} files: {good:,} successful, {info.planned - good:,} failed.\n")
    for job in view.jobs(as_of=info.tick):
        out.writelines(_section(entry(job)))


def _section(told: Entry) -> Iterator[str]:
    took = "" if told.processing_time is None else f" ({duration_text(told.processing_time)})"
    yield f"\n## {_MARKS[told.status]} {markdown_text(told.file)}{took}\n\n"
    if told.error is not None:
        yield f"**{markdown_text(told.error)}**\n"
    elif isinstance(told.result, str):
        yield _HEADING.sub(_below_ours, clean(told.result)).strip() + "\n"
    else:
        yield f"```json\n{json_text(told.result, indent=2)}\n```\n"


def _below_ours(heading: re.Match[str]) -> str:
    """A heading in a result is part of its file's section, and cannot pass for another file."""
    return "#" * min(len(heading[0]) + 2, 6)


WRITERS: dict[str, Callable[[RunView, TextIO], None]] = {
    "json": write_json,
    "csv": write_csv,
    "md": write_markdown,
}
