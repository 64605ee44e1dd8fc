"""`batchmill plan`: what `run` would do. Writes nothing, and imports nobody's code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.options import HomeOption, ManifestFile, OutputOption, SetOption
from batchmill.cli.output import Output, tell

if TYPE_CHECKING:
    from batchmill.api.previewing import JobPreview, Preview
    from batchmill.report.page import Page

EXAMPLE = "  batchmill plan sweep.yaml\n  batchmill plan sweep.yaml --limit 100 --set matrix.axes.seed='[1, 2]'"
_WORDS = {
    "new": "new",
    "changed": "changed",
    "again": "to run again",
    "done": "done",
    "held": "held until `batchmill retry`",
    "invalid": "invalid",
}
_Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="as in `run --model`", show_default=False)]
_Limit = Annotated[int, typer.Option("--limit", min=0, metavar="N", help="how many jobs to show")]


def plan_command(
    file: ManifestFile,
    limit: _Limit = 20,
    model: _Model = None,
    overrides: SetOption = None,
    output: OutputOption = Output.HUMAN,
    home: HomeOption = None,
) -> None:
    """Show which jobs a run would do, and why. Nothing is written."""
    from batchmill.api.batch import from_file
    from batchmill.api.previewing import preview
    from batchmill.api.runs import home_path

    changes = [*(overrides or ()), *([f"defaults.model={json.dumps(model)}"] if model else [])]
    batch = from_file(file, changes)
    found = preview(batch, home_path(home), limit)
    missing = batch.plan.missing_tasks
    tell(output, _record(found, missing), lambda: _page(found, missing))


def _record(found: Preview, missing: list[str]) -> dict[str, Any]:
    return {
        "name": found.name,
        "continues": found.run,
        "total": found.total,
        "counts": found.counts,
        "forecast": None if found.forecast is None else found.forecast.record(),
        "missing_tasks": missing,
        "jobs": [_job_record(job) for job in found.first],
    }


def _job_record(found: JobPreview) -> dict[str, Any]:
    job = found.job
    return {
        "number": job.number,
        "name": job.name,
        "task": job.task,
        "key": job.key,
        "group": job.group,
        "params": json.loads(job.params),
        "status": found.status,
        "reason": found.reason,
    }


def _page(found: Preview, missing: list[str]) -> Page:
    from batchmill.model.text import counted
    from batchmill.report.page import Page

    page = Page()
    page.title(f"{found.name}: {counted(found.total, 'job')}, {f'continues {found.run}' if found.run else 'a new run'}")
    counts = [f"{found.counts[status]:,} {words}" for status, words in _WORDS.items() if found.counts.get(status)]
    page.text(", ".join(counts))
    if found.forecast is not None:
        page.text(f"to run: {found.forecast.words()}")
    if missing:
        page.text(f"{', '.join(missing)}: not installed, so that this can be planned but not run")
    rows = [(each.job.number, each.job.name, each.status, each.reason) for each in found.first]
    if rows:
        page.table(("", "job", "status", "why"), rows, right=(0,))
    if found.total > len(rows):
        page.text(f"+ {found.total - len(rows):,} more (`--limit N` shows more)")
    return page
