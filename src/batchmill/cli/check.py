"""`batchmill check`: is the manifest right, and what does it come to. Nothing is run, nobody's code is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchmill.cli.options import HomeOption, ManifestFile, OutputOption, SetOption
from batchmill.cli.output import Output, tell

if TYPE_CHECKING:
    from batchmill.api.batch import Batch

EXAMPLE = "  batchmill check sweep.yaml\n  batchmill check sweep.yaml --set limits.workers=2"


def check_command(
    file: ManifestFile, overrides: SetOption = None, output: OutputOption = Output.HUMAN, home: HomeOption = None
) -> None:
    """Validate a manifest and show its settings, defaults included."""
    from batchmill.api.batch import from_file
    from batchmill.manifest.explain import explain
    from batchmill.report.page import Page

    batch = from_file(file, overrides or ())
    count = batch.plan.count()
    jobs = "as many as there are files" if count is None else f"{count:,}"
    told = dict(explain(batch.document))
    if batch.manifest.limits.timeout is None:
        told["timeout"] = _timeouts(batch)
    settings = [("jobs", jobs), *told.items()]
    missing = batch.plan.missing_tasks
    if missing:
        settings.insert(0, ("not installed", ", ".join(missing) + " (can be planned, not run)"))
    record = {"valid": True, "name": batch.name, "jobs": count, "missing_tasks": missing, "settings": dict(settings)}

    def page() -> Page:
        found = Page()
        found.title(f"`{file}` is valid")
        found.pairs(settings)
        return found

    tell(output, record, page)


def _timeouts(batch: Batch) -> str:
    """What holds where the manifest says nothing: each task's own."""
    from batchmill.model.text import duration_text

    own = {name: task.timeout for name, task in sorted(batch.plan.tasks.items()) if task.timeout is not None}
    return ", ".join(f"{duration_text(seconds)} ({name})" for name, seconds in own.items()) or "none"
