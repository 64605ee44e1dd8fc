"""`batchmill rm`: deletes runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from batchmill.cli.options import HomeOption, OutputOption
from batchmill.cli.output import Output, tell
from batchmill.errors import UsageError

EXAMPLE = "  batchmill rm sweep-1 sweep-2\n  batchmill rm last --yes"
_Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="ids, names (the newest run), or `last`")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]


def rm_command(runs: _Runs, yes: _Yes = False, output: OutputOption = Output.HUMAN, home: HomeOption = None) -> int:
    """Delete runs and their results for good. `gc` then frees the files that no other run needs."""
    from batchmill.api import managing
    from batchmill.api.runs import home_path

    place = home_path(home)
    ids = list(dict.fromkeys(managing.find(place, run).id for run in runs))
    if not yes and not _confirmed(ids):
        return 1
    removed = managing.remove(place, ids)
    tell(output, {"removed": removed}, lambda: f"deleted {_listed(removed)}")
    return 0


def _confirmed(ids: list[str]) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"deleting {_listed(ids)} needs a confirmation", hint="add `--yes`")
    sys.stderr.write(f"delete {_listed(ids)} and all their results? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _listed(ids: list[str]) -> str:
    return ", ".join(f"`{run}`" for run in ids)
