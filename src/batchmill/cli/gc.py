"""`batchmill gc`: frees what no run needs any more."""

from __future__ import annotations

from batchmill.cli.options import HomeOption, OutputOption
from batchmill.cli.output import Output, tell

EXAMPLE = "  batchmill gc\n  batchmill gc --home /data/runs"


def gc_command(output: OutputOption = Output.HUMAN, home: HomeOption = None) -> None:
    """Delete what deleted and killed runs left behind. Live runs are left alone."""
    from batchmill.api.managing import collect_garbage
    from batchmill.api.runs import home_path
    from batchmill.model.text import size_text

    freed = collect_garbage(home_path(home))
    tell(output, {"freed_bytes": freed}, lambda: f"freed {size_text(freed)}")
