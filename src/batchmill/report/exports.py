"""All jobs of a run as JSON, JSON lines, CSV or Markdown: in plan order, versioned, in memory of one page of jobs.

What a run comes to as a whole is in `summary`. Version 1 of the formats:

- `json`: `{"schema_version", "run": {...}, "jobs": [...]}`, one job a line; `jsonl`: the same jobs, one object a
  line, each with its `schema_version`.
- `csv`: `params.*`, `metrics.*` and the fields of mapping results, `result.*`, are columns in the order in which
  the plan first shows them; a result that is no mapping is the column `result`. Lists and mappings are JSON text.
  A family of more than 500 columns is one column of JSON instead.
- `md`: a table of names, states, times, parameters, metrics and errors.

`stable` leaves out what differs between two executions of one manifest: run id, times, hosts, attempts, what was
cached, and metrics and top-level result fields that are times by their name (`..._s`). The shape `files` is in
`by_file`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TextIO

from batchmill.errors import UsageError
from batchmill.report import by_file
from batchmill.report.cells import cell, markdown_cell
from batchmill.report.encode import json_text
from batchmill.report.files import written_whole
from batchmill.report.query import RunView
from batchmill.report.records import JobView, RunInfo, iso
from batchmill.report.tables import OWN_WORDS, UNSTABLE, Table

SCHEMA_VERSION = 1
Format = Literal["json", "jsonl", "csv", "md"]
Shape = Literal["run", "files"]
FORMATS: tuple[Format, ...] = ("json", "jsonl", "csv", "md")

_COUNTS = ("succeeded", "failed", "skipped", "cancelled", "cached", "retried")


def export(view: RunView, fmt: Format, out: TextIO, *, stable: bool = False, shape: Shape = "run") -> None:
    """Write all jobs of a run, as they stand at this moment, to a text stream. Raises UsageError, LedgerError.

    The shape `files` (json, csv, md) tells of files instead of jobs: see `by_file`.
    """
    known = _WRITERS if shape == "run" else by_file.WRITERS
    if fmt not in known:
        words = f"unknown format `{fmt}`" if fmt not in FORMATS else f"the shape `{shape}` has no format `{fmt}`"
        raise UsageError(words, hint=f"formats are {', '.join(f'`{name}`' for name in known)}")
    if shape == "run":
        _WRITERS[fmt](view, out, stable)
    else:
        by_file.WRITERS[fmt](view, out)


def write_export(
    view: RunView, fmt: Format, path: Path, *, stable: bool = False, within: Path | None = None, shape: Shape = "run"
) -> None:
    """Write an export to a file, which appears whole or not at all.

    With `within`, a path that leads out of that folder raises UsageError.
    """
    with written_whole(path, within) as out:
        export(view, fmt, out, stable=stable, shape=shape)


# --- JSON --------------------------------------------------------------------------------------------------------


def run_record(info: RunInfo, counts: Mapping[str, int], *, stable: bool = False) -> dict[str, Any]:
    """The `run` object of the JSON export."""
    if stable:
        return {"name": info.name, "task": info.task, "counts": {state: counts[state] for state in _COUNTS[:4]}}
    return {
        "id": info.id,
        "name": info.name,
        "task": info.task,
        "state": info.state,
        "started": iso(info.started),
        "finished": iso(info.finished),
        "wall_s": info.wall_s,
        "counts": {state: counts[state] for state in _COUNTS},
    }


def job_record(job: JobView, *, stable: bool = False) -> dict[str, Any]:
    """One object of `jobs` of the JSON export."""
    record = {
        "name": job.name,
        "key": job.key,
        "state": job.state,
        "cached": job.cached,
        "params": job.params,
        "result": job.result,
        "metrics": job.metrics,
        "error": job.error._asdict() if job.error else None,
        "attempts": job.attempts,
        "wall_s": job.wall_s,
        "cpu_s": job.cpu_s,
        "peak_rss_bytes": job.peak_rss_bytes,
    }
    return _without_times(record) if stable else record


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in record.items() if name not in UNSTABLE}
    for part in ("result", "metrics"):
        if isinstance(kept[part], dict):
            kept[part] = {name: value for name, value in kept[part].items() if not name.endswith("_s")}
    return kept


def _job_json(job: JobView, stable: bool, **more: Any) -> str:
    if stable or job.result_object is None:
        return json_text(more | job_record(job, stable=stable))
    # A large result goes through as it is stored: decoded it would take many times its size.
    record = more | job_record(replace(job, stored_result=None, result_object=None))
    stored = job.read_object(job.result_object).decode()
    fields = (f'"{name}":{stored if name == "result" else json_text(value)}' for name, value in record.items())
    return "{" + ",".join(fields) + "}"


def _write_json(view: RunView, out: TextIO, stable: bool) -> None:
    with view.at_once():
        info, counts = view.info, view.counts()
    run = json_text(run_record(info, counts, stable=stable))
    out.write(f'{{"schema_version":{SCHEMA_VERSION},"run":{run},"jobs":[')
    separator = "\n"
    for job in view.jobs(as_of=info.tick):
        out.write(separator + _job_json(job, stable))
        separator = ",\n"
    out.write("\n]}\n")


def _write_jsonl(view: RunView, out: TextIO, stable: bool) -> None:
    for job in view.jobs():
        out.write(_job_json(job, stable, schema_version=SCHEMA_VERSION) + "\n")


# --- tables ------------------------------------------------------------------------------------------------------


def _write_csv(view: RunView, out: TextIO, stable: bool) -> None:
    table = Table(view, ("params", "metrics", "result"), stable)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([cell(name) for name in table.header])
    own = [name in OWN_WORDS for name in table.header]
    for page in table.pages():
        columns = (column if plain else _cells(column) for plain, column in zip(own, page, strict=True))
        writer.writerows(zip(*columns, strict=True))


def _cells(column: Sequence[Any]) -> list[Any]:
    """csv writes numbers and None itself, as cells want them."""
    return [v if v is None or type(v) in (int, float) else cell(v) for v in column]


def _write_markdown(view: RunView, out: TextIO, stable: bool) -> None:
    table = Table(view, ("params", "metrics"), stable)
    header = table.header
    shown = [place for place, name in enumerate(header) if name not in ("key", "cpu_s")]
    out.write(_markdown_row([markdown_cell(header[place]) for place in shown]))
    out.write(_markdown_row(["---"] * len(shown)))
    for page in table.pages():
        rows = zip(*(page[place] for place in shown), strict=True)
        out.writelines(_markdown_row([markdown_cell(value) for value in row]) for row in rows)


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


_WRITERS: dict[str, Callable[[RunView, TextIO, bool], None]] = {
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "md": _write_markdown,
}
