"""Arguments and options that several commands share, as annotated types, and how a job or a run is named."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from batchmill.cli.output import Output

ManifestFile = Annotated[Path, typer.Argument(metavar="FILE", help="the manifest", show_default=False)]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="an id (`sweep-3`), a name (its newest run), or `last`", show_default=False)
]
OutputOption = Annotated[Output, typer.Option("--output", help="what to write")]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        envvar="BATCHMILL_HOME",
        help="the folder that holds the runs; default `.batchmill/` here",
        show_default=False,
    ),
]


class FailOn(StrEnum):
    """States that count as a failure of the whole run."""

    SKIPPED = "skipped"


FailOnOption = Annotated[
    FailOn | None,
    typer.Option("--fail-on", metavar="skipped", help="exit with 1 also when jobs ended so", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="replace one value of the manifest, such as `limits.workers=2`; repeatable"
    ),
]


def split_reference(text: str) -> tuple[str, str | None]:
    """`RUN/JOB` at its first slash (names of jobs may have more); the job is None where there is none."""
    run, slash, job = text.partition("/")
    return run, job if slash else None
