"""What `run`, `resume` and `retry` share: the display while a run lives, and what is said at its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from batchmill.cli.output import Output, say, write
from batchmill.errors import UsageError

if TYPE_CHECKING:
    from batchmill.api.running import Finished
    from batchmill.cli.options import FailOn
    from batchmill.live.base import Display


def display(output: Output) -> Display:
    """The display for stderr."""
    from batchmill.live.choice import choose

    return choose(output.value, sys.stderr)


def say_inline(output: Output) -> None:
    """Say what does not hold for jobs that run in this process."""
    from batchmill.executors.inline import InlineExecutor

    say(output, f"inline: jobs run without {', '.join(InlineExecutor.limits_not_enforced)}")


def finish(finished: Finished, output: Output, fail_on: FailOn | None = None) -> int:
    """Say what a run came to, on stderr for people, as JSON on stdout for programs; returns the exit code."""
    from batchmill.report.query import RunView

    run = finished.run
    if output is Output.QUIET and finished.exit_code == UsageError.exit_code:
        write(f"error: {run.reason}", sys.stderr)  # no job could begin: whoever called must learn why
    for warning in finished.warnings:
        say(output, f"warning: {warning}")
    with RunView(run.folder) as view:
        if output is Output.JSON:
            from batchmill.report.encode import json_text
            from batchmill.report.summary import summarise

            write(json_text(summarise(view), indent=1))
        elif output is Output.HUMAN:
            from batchmill.report.screen import summary_page

            if finished.nothing_to_do:
                say(output, f"nothing to do: every job of `{run.id}` has ended before")
            reports = [path for path in (run.folder / "report.md",) if path.is_file()]
            say(output, summary_page(view, written=reports))
    return finished.exit_code or int(fail_on is not None and run.counts.get(fail_on, 0) > 0)
