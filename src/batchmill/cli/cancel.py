"""`batchmill cancel`: ends a run, or takes one job out of it."""

from __future__ import annotations

from typing import Annotated

import typer

from batchmill.cli.options import HomeOption, OutputOption, split_reference
from batchmill.cli.output import Output, tell

EXAMPLE = "  batchmill cancel last\n  batchmill cancel sweep-3/bolie_d2"
_Reference = Annotated[str, typer.Argument(metavar="RUN[/JOB]", help="a run, or one of its jobs", show_default=False)]


def cancel_command(reference: _Reference, output: OutputOption = Output.HUMAN, home: HomeOption = None) -> None:
    """Cancel a run or a job, live or not. What is done stays done."""
    from batchmill.api import managing
    from batchmill.api.runs import home_path

    run, job = split_reference(reference)
    change = managing.cancel(home_path(home), run, job)
    what = f"`{change.run}`" if job is None else f"job `{job}` of `{change.run}`"
    words = f"asked the live run to cancel {what}" if change.asked else f"cancelled {what}"
    tell(output, {"run": change.run, "job": job, "asked": change.asked}, lambda: words)
