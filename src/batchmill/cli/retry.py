"""`batchmill retry`: runs failed, cancelled or quarantined jobs again."""

from __future__ import annotations

from typing import Annotated

import typer

from batchmill.cli.options import HomeOption, OutputOption, RunName
from batchmill.cli.output import Output, say, tell

EXAMPLE = "  batchmill retry last --failed\n  batchmill retry sweep-3 --job bolie_d1 --job bolie_d2"
_Failed = Annotated[bool, typer.Option("--failed", help="all failed jobs, quarantined ones too (the default)")]
_Jobs = Annotated[list[str] | None, typer.Option("--job", metavar="NAME", help="this job; repeatable")]


def retry_command(
    run: RunName,
    failed: _Failed = False,
    jobs: _Jobs = None,
    output: OutputOption = Output.HUMAN,
    home: HomeOption = None,
) -> int:
    """Run failed jobs again, and go on with what is left.

    Their count of attempts begins anew; their history is kept.
    """
    from batchmill.api import managing
    from batchmill.api.runs import home_path
    from batchmill.errors import UsageError
    from batchmill.model.text import counted

    if failed and jobs:
        raise UsageError("`--failed` and `--job` exclude each other", hint="name the jobs, or take all that failed")
    place = home_path(home)
    change = managing.retry(place, run, jobs or ())
    if change.asked or not change.jobs:
        words = f"asked `{change.run}` to retry {counted(change.jobs, 'job')}" if change.asked else "no job has failed"
        tell(output, change._asdict(), lambda: words)
        return 0
    say(output, f"retrying {counted(change.jobs, 'job')} of `{change.run}`")
    from batchmill.api.resuming import resume
    from batchmill.api.running import Invocation
    from batchmill.cli.driving import display, finish

    invocation = Invocation(place, keep_failed=True)
    return finish(resume(place, change.run, invocation, display(output)), output)
