"""`batchmill export`: the results of a run in versioned formats."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.options import HomeOption, OutputOption, RunName
from batchmill.cli.output import Output, say
from batchmill.errors import UsageError


class Shape(StrEnum):
    """What an entry of the export stands for."""

    RUN = "run"
    FILES = "files"


if TYPE_CHECKING:
    from batchmill.report.exports import Format

EXAMPLE = (
    "  batchmill export last --format csv > results.csv\n"
    "  batchmill export sweep-3 --format json,md -o results/\n"
    "  batchmill export sweep --stable -o expected.json\n"
    "  batchmill export documents --shape files --format markdown"
)
_LONG = {"markdown": "md"}
_Formats = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMATS",
        help="`json`, `jsonl`, `csv`, `md` or `markdown`, or several with commas; default: the suffix of -o, or `json`",
        show_default=False,
    ),
]
_Shape = Annotated[
    Shape,
    typer.Option("--shape", help="`run`: the jobs with all they have; `files`: file, status, result, time, error"),
]
_Target = Annotated[
    str | None,
    typer.Option("-o", "--to", metavar="FILE|DIR", help="where to write; default: stdout", show_default=False),
]
_Stable = Annotated[
    bool, typer.Option("--stable", help="leave out times, ids and attempts: two runs can be compared byte for byte")
]


def export_command(
    run: RunName,
    formats: _Formats = None,
    to: _Target = None,
    stable: _Stable = False,
    shape: _Shape = Shape.RUN,
    output: OutputOption = Output.HUMAN,
    home: HomeOption = None,
) -> None:
    """Write the results of all jobs, in plan order."""
    from batchmill.api.managing import view_of
    from batchmill.api.runs import home_path
    from batchmill.report.exports import export, write_export

    if stable and shape is Shape.FILES:
        raise UsageError("`--stable` belongs to the shape `run`", hint="leave out one of the two")
    wanted = _formats(formats, to)
    if to is None and len(wanted) > 1:
        raise UsageError("only one format fits on stdout", hint="name a folder: `-o results/`")
    with view_of(home_path(home), run) as view:
        if to is None:
            export(view, wanted[0], sys.stdout, stable=stable, shape=shape.value)
            return
        for fmt in wanted:
            path = _path(to, fmt, view.run_folder.name, several=len(wanted) > 1)
            write_export(view, fmt, path, stable=stable, shape=shape.value)
            say(output, f"wrote `{path}`")


def _formats(text: str | None, to: str | None) -> list[Format]:
    from batchmill.model.near import did_you_mean
    from batchmill.report.exports import FORMATS

    suffix = Path(to).suffix.lstrip(".").lower() if to else ""
    names = [
        _LONG.get(name.strip().lower(), name.strip().lower())
        for name in (text or (suffix if suffix in FORMATS else "json")).split(",")
    ]
    for name in names:
        if name not in FORMATS:
            known = ", ".join(f"`{known}`" for known in FORMATS)
            raise UsageError(f"unknown format `{name}`", hint=did_you_mean(name, FORMATS) or f"formats are {known}")
    return [fmt for fmt in FORMATS if fmt in names]


def _path(to: str, fmt: str, run: str, *, several: bool) -> Path:
    """A folder (one that exists, or ends with `/`) takes files named after the run; several formats share a stem."""
    path = Path(to)
    if path.is_dir() or to.endswith("/"):
        return path / f"{run}.{fmt}"
    if not several:
        return path
    stem = path.with_suffix("") if path.suffix.lstrip(".").lower() in ("json", "jsonl", "csv", "md") else path
    return stem.with_name(f"{stem.name}.{fmt}")
