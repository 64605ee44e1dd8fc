"""`batchmill show`: one run, or one of its jobs. The pages for people are in `report.screen`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.options import HomeOption, OutputOption, split_reference
from batchmill.cli.output import Output, tell

if TYPE_CHECKING:
    from batchmill.ledger.paths import RunPaths
    from batchmill.report.query import RunView
    from batchmill.report.records import JobView

EXAMPLE = "  batchmill show last\n  batchmill show sweep-3/bolie_d1\n  batchmill show sweep --output json"
_Reference = Annotated[str, typer.Argument(metavar="RUN[/JOB]", help="a run, or one of its jobs", show_default=False)]


def show_command(reference: _Reference, output: OutputOption = Output.HUMAN, home: HomeOption = None) -> None:
    """Show a run, or one of its jobs.

    A run: counts, failures by kind, slowest jobs, memory. A job: parameters, attempts, steps, result, output.
    """
    from batchmill.api.managing import find
    from batchmill.api.runs import home_path
    from batchmill.report.query import RunView

    run, name = split_reference(reference)
    paths = find(home_path(home), run)
    with RunView(paths.folder) as view:
        if name is None:
            _show_run(view, paths, output)
        else:
            _show_job(view, paths, view.job(name), output)


def _show_run(view: RunView, paths: RunPaths, output: Output) -> None:
    from batchmill.api.managing import owner_of
    from batchmill.report.details import run_details
    from batchmill.report.screen import run_page
    from batchmill.report.summary import gather

    facts, owner = gather(view), owner_of(paths)
    if owner is None and facts.info.state in ("planning", "running"):
        gone = replace(facts.info, state="interrupted", reason="its driver is gone")
        facts = facts._replace(info=gone)
    record = run_details(view, facts) | {"driver": None if owner is None else owner._asdict()}
    tell(output, record, lambda: run_page(view, facts))


def _show_job(view: RunView, paths: RunPaths, job: JobView, output: Output) -> None:
    from batchmill.api.managing import owner_of
    from batchmill.report.details import job_details
    from batchmill.report.screen import job_page

    slots = view.running() if owner_of(paths) is not None else []
    running = next((slot for slot in slots if slot.job == job.number), None)
    record = {"run": view.run_folder.name, "job": job_details(view, job, running)}
    tell(output, record, lambda: job_page(view, job, running))
