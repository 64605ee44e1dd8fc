"""`batchmill resume`: goes on with a run from what it keeps of its manifest."""

from __future__ import annotations

from typing import Annotated

import typer

from batchmill.cli.options import HomeOption, OutputOption, RunName
from batchmill.cli.output import Output

EXAMPLE = "  batchmill resume last\n  batchmill resume sweep-3 --keep-failed"
_KeepFailed = Annotated[bool, typer.Option("--keep-failed", help="do not run failed jobs again")]


def resume_command(
    run: RunName, keep_failed: _KeepFailed = False, output: OutputOption = Output.HUMAN, home: HomeOption = None
) -> int:
    """Continue a run that was interrupted, stopped or has failed jobs."""
    from batchmill.api.resuming import resume
    from batchmill.api.running import Invocation
    from batchmill.api.runs import home_path
    from batchmill.cli.driving import display, finish

    place = home_path(home)
    return finish(resume(place, run, Invocation(place, keep_failed=keep_failed), display(output)), output)
