"""`batchmill logs`: what a job printed, or the run's own log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.options import HomeOption, OutputOption, split_reference
from batchmill.cli.output import Output, say, tell, write
from batchmill.errors import UsageError
from batchmill.model.text import clean

if TYPE_CHECKING:
    from batchmill.ledger.paths import RunPaths

EXAMPLE = (
    "  batchmill logs last                    # the run's own log\n"
    "  batchmill logs sweep-3 --follow\n"
    "  batchmill logs sweep-3/baseline --attempt 1"
)
POLL_SECONDS = 0.25
_CHUNK = 1 << 20

_Reference = Annotated[str, typer.Argument(metavar="RUN[/JOB]", help="a run, or one of its jobs", show_default=False)]
_Attempt = Annotated[
    int | None,
    typer.Option(
        "--attempt", min=1, metavar="N", help="which attempt; default: the last that printed", show_default=False
    ),
]
_Follow = Annotated[bool, typer.Option("--follow", "-f", help="go on while the run lives")]


def logs_command(
    reference: _Reference,
    attempt: _Attempt = None,
    follow: _Follow = False,
    output: OutputOption = Output.HUMAN,
    home: HomeOption = None,
) -> None:
    """Show what a job printed, or what happened to the run."""
    from batchmill.api.managing import find
    from batchmill.api.runs import home_path

    run, job = split_reference(reference)
    paths = find(home_path(home), run)
    if job is not None:
        if follow:
            raise UsageError("`--follow` is for the log of a run", hint=f"`batchmill logs {run} --follow`")
        _job_log(paths, job, attempt, output)
        return
    if attempt is not None:
        raise UsageError("`--attempt` is for the log of a job", hint=f"`batchmill logs {run}/JOB --attempt {attempt}`")
    if output is Output.JSON:
        lines = "".join(_chunks(paths, follow=False)).splitlines()
        tell(output, {"run": paths.id, "lines": lines}, str)
        return
    empty = True
    for chunk in _chunks(paths, follow):
        sys.stdout.write(clean(chunk))
        sys.stdout.flush()
        empty = False
    if empty:
        say(output, f"nothing is logged of `{paths.id}`")


def _job_log(paths: RunPaths, name: str, attempt: int | None, output: Output) -> None:
    from batchmill.report.query import RunView

    with RunView(paths.folder) as view:
        job = view.job(name)
        attempts = [each.number for each in view.attempts(job)]
        if attempt is not None and attempt not in attempts:
            known = f"it has {len(attempts)}" if attempts else "it has not been tried"
            raise UsageError(f"job `{job.name}` has no attempt {attempt} that ended", hint=known)
        text = view.log(job, attempt).decode("utf-8", "replace")
    if output is Output.JSON:
        tell(output, {"run": paths.id, "job": job.name, "attempt": attempt, "log": text}, str)
    else:
        write(clean(text))
        if not text:
            say(output, f"job `{job.name}` printed nothing" if attempts else f"job `{job.name}` has not run yet")


def _chunks(paths: RunPaths, follow: bool) -> Iterator[str]:
    """The run's log from its beginning; with `follow`, what is added until no process works on the run."""
    from batchmill.api.managing import owner_of

    position = 0
    while True:
        live = follow and owner_of(paths) is not None
        while chunk := _read(paths.log, position):
            position += len(chunk)
            yield chunk.decode("utf-8", "replace")
        if not live:
            return
        time.sleep(POLL_SECONDS)


def _read(path: Path, position: int) -> bytes:
    """The next whole lines, at most 1 MB."""
    try:
        with path.open("rb") as log:
            log.seek(position)
            chunk = log.read(_CHUNK)
    except FileNotFoundError:
        return b""
    return chunk[: chunk.rfind(b"\n") + 1] or (chunk if len(chunk) == _CHUNK else b"")
