"""`batchmill calls`: the metered requests of a run, and what becomes of those without an answer."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.options import HomeOption, OutputOption, RunName
from batchmill.cli.output import Output, tell

if TYPE_CHECKING:
    from pathlib import Path

    from batchmill.report.page import Page

EXAMPLE = "  batchmill calls list last\n  batchmill calls settle sweep-3\n  batchmill calls settle sweep-3 --billed"


class Action(StrEnum):
    """What is done with the requests."""

    LIST = "list"
    SETTLE = "settle"


_Action = Annotated[
    Action, typer.Argument(metavar="list|settle", help="`list` sums them up; `settle` closes those without an answer")
]
_Billed = Annotated[bool, typer.Option("--billed", help="with `settle`: the provider billed them, at their maximum")]


def calls_command(
    action: _Action,
    run: RunName,
    billed: _Billed = False,
    output: OutputOption = Output.HUMAN,
    home: HomeOption = None,
) -> None:
    """Show what a run's metered requests cost, or settle those that were sent and never answered.

    After a kill nobody knows whether such a request was billed: it holds its maximum against the budget until
    `settle` releases it, or counts it as spent.
    """
    from batchmill.api.runs import home_path
    from batchmill.errors import UsageError

    if billed and action is Action.LIST:
        raise UsageError("`--billed` belongs to `settle`", hint=f"`batchmill calls settle {run} --billed`")
    place = home_path(home)
    if action is Action.LIST:
        _list(place, run, output)
    else:
        _settle(place, run, billed, output)


def _list(home: Path, run: str, output: Output) -> None:
    from batchmill.api.managing import view_of
    from batchmill.report.billing import add_up, record

    with view_of(home, run) as view:
        name, billing = view.run_folder.name, add_up(view.call_groups(), view.info.wall_s or 0.0)
    tell(output, {"run": name, "calls": record(billing)}, lambda: _page(name, billing))


def _page(run: str, bill: Any) -> Page | str:
    from batchmill.report import billing
    from batchmill.report.page import Page

    if bill is None:
        return f"`{run}` made no metered request"
    page = Page()
    page.title(f"requests of {run}")
    page.table(billing.HEADER, billing.rows(bill), range(1, len(billing.HEADER)))
    return page


def _settle(home: Path, run: str, billed: bool, output: Output) -> None:
    from batchmill.api.managing import settle_calls
    from batchmill.model.limits import MICRO_CENTS_PER_USD
    from batchmill.model.text import counted, money_text

    done = settle_calls(home, run, billed=billed)
    requests = counted(done.calls, "request")
    words = f"counted {requests} as billed" if billed else f"released {requests}"
    record = {"run": done.run, "calls": done.calls, "held": done.held / MICRO_CENTS_PER_USD, "billed": billed}
    tell(
        output,
        record,
        lambda: f"{words} of `{done.run}`: {money_text(done.held)}" if done.calls else "every request has its answer",
    )
