"""`batchmill verify`: checks ledgers, results and logs against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.options import HomeOption, OutputOption
from batchmill.cli.output import Output, tell

if TYPE_CHECKING:
    from batchmill.ledger.verify import Finding

EXAMPLE = "  batchmill verify\n  batchmill verify sweep-3 --output json"
DAMAGED = 5
_Run = Annotated[str | None, typer.Argument(metavar="[RUN]", help="a run; default: all of them", show_default=False)]


def verify_command(run: _Run = None, output: OutputOption = Output.HUMAN, home: HomeOption = None) -> int:
    """Check ledgers and artifacts, and say what is wrong. The exit code is 5 when something is."""
    from batchmill.api.managing import verify
    from batchmill.api.runs import home_path

    found = verify(home_path(home), run)
    findings = {name: [each._asdict() for each in wrong] for name, wrong in found.items()}
    tell(output, {"runs": findings}, lambda: "\n".join(_line(name, wrong) for name, wrong in found.items()))
    return DAMAGED if any(found.values()) else 0


def _line(run: str, wrong: list[Finding]) -> str:
    if not wrong:
        return f"{run}: whole"
    return "\n".join([f"{run}: {len(wrong)} found", *(f"  [{each.code}] {each}" for each in wrong)])
