"""`batchmill ls`: the runs of the home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchmill.cli.options import HomeOption, OutputOption
from batchmill.cli.output import Output, say, tell

if TYPE_CHECKING:
    from batchmill.ledger.home import RunInfo
    from batchmill.report.page import Page

EXAMPLE = "  batchmill ls\n  batchmill ls --output json"
_HEADER = ("run", "state", "jobs", "done", "failed", "created")


def ls_command(output: OutputOption = Output.HUMAN, home: HomeOption = None) -> None:
    """List the runs, oldest first."""
    from batchmill.api import managing
    from batchmill.api.runs import home_path

    place = home_path(home)
    infos, damaged = managing.list_runs(place), managing.damaged_runs(place)
    record = {"runs": [_record(info) for info in infos], "damaged": damaged}
    tell(output, record, lambda: _page(infos) if infos else "", _ids(infos))
    if not infos and not damaged:
        say(output, f"there are no runs in `{place}`")
    for run in damaged:
        say(output, f"the ledger of `{run}` cannot be read: `batchmill verify {run}` says why")


def _page(infos: list[RunInfo]) -> Page:
    from batchmill.report.page import Page

    page = Page()
    page.table(_HEADER, map(_row, infos), right=(2, 3, 4))
    return page


def _ids(infos: list[RunInfo]) -> str:
    return "\n".join(info.id for info in infos)


def _record(info: RunInfo) -> dict[str, Any]:
    from batchmill.report.records import iso

    return {
        "id": info.id,
        "name": info.name,
        "task": info.task,
        "state": info.state,
        "created": iso(info.created),
        "finished": iso(info.finished),
        "counts": info.counts,
    }


def _row(info: RunInfo) -> list[object]:
    from datetime import datetime

    counts = info.counts
    ended = sum(counts.get(state, 0) for state in ("succeeded", "failed", "skipped", "cancelled"))
    created = datetime.fromtimestamp(info.created).isoformat(" ", "minutes")
    jobs = ended + counts.get("pending", 0)
    return [info.id, info.state, f"{jobs:,}", f"{ended:,}", f"{counts.get('failed', 0):,}", created]
