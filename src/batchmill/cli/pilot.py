"""`run --pilot N`: a few jobs first, then what the rest will come to, and the question whether to go on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from batchmill.cli.output import Output, say
from batchmill.errors import UsageError

if TYPE_CHECKING:
    from batchmill.api.batch import Batch
    from batchmill.api.running import Finished, Invocation
    from batchmill.driver.feed import Choice
    from batchmill.live.base import Display


def refuse_unanswerable(yes: bool) -> None:
    """Raises UsageError where nobody can be asked."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("`--pilot` asks before it goes on, and nobody is there", hint="`--yes` goes on without asking")


def run_with_pilot(
    batch: Batch, invocation: Invocation, first: Choice, yes: bool, output: Output, display: Display
) -> Finished:
    """Run the `first` jobs, say what the others will come to, and run them if that is wanted."""
    from batchmill.api.running import execute

    finished = execute(batch, invocation._replace(choice=first), display)
    if finished.exit_code not in (0, 1) or not _goes_on(batch, finished, yes, output):
        return finished
    from batchmill.live.choice import choose

    return execute(batch, invocation, choose(output.value, sys.stderr))


def _goes_on(batch: Batch, finished: Finished, yes: bool, output: Output) -> bool:
    from batchmill.api.forecasting import measured
    from batchmill.model.text import counted
    from batchmill.report.query import RunView

    with RunView(finished.run.folder) as view:
        counts = view.counts()
        left = _total(batch) - sum(counts[state] for state in ("succeeded", "failed", "skipped", "cancelled"))
        if left <= 0:
            return False
        forecast = measured(batch, view, left)
    say(output, f"pilot: {counts['succeeded']:,} succeeded, {counts['failed']:,} failed, {counts['skipped']:,} skipped")
    if forecast.sampled and not counts["succeeded"]:
        say(output, "no job of the pilot succeeded: the others are left")
        return False
    say(output, f"the other {counted(left, 'job')}: {forecast.words()}")
    return yes or _asked()


def _total(batch: Batch) -> int:
    total = batch.plan.count()
    return sum(1 for _ in batch.plan.jobs()) if total is None else total


def _asked() -> bool:
    sys.stderr.write("go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
