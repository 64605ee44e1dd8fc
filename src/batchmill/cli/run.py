"""`batchmill run`: runs a manifest. The same command again continues."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from batchmill.cli.options import FailOnOption, HomeOption, ManifestFile, OutputOption, SetOption
from batchmill.cli.output import Output

EXAMPLE = (
    "  batchmill run sweep.yaml\n"
    "  batchmill run sweep.yaml --workers 4 --timeout 5min --max-failures 10%\n"
    "  batchmill run sweep.yaml --only 'bolie_*' --set defaults.check=true"
)


def _limit(flag: str, metavar: str, text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(flag, metavar=metavar, help=text, show_default=False)
    return option


_Workers = Annotated[str | None, _limit("--workers", "N", "worker processes; default: usable cores")]
_Timeout = Annotated[str | None, _limit("--timeout", "T", "time of one attempt, such as `300s`")]
_MaxFailures = Annotated[str | None, _limit("--max-failures", "N|N%", "stop after so many failed jobs")]
_Deadline = Annotated[str | None, _limit("--deadline", "T", "stop this long after the start, such as `2h`")]
_Model = Annotated[str | None, _limit("--model", "NAME", "the language model, for tasks that use one")]
_Name = Annotated[str | None, _limit("--name", "NAME", "the name of its runs")]
_Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="run only the first N jobs")]
_Sample = Annotated[int | None, typer.Option("--sample", min=1, metavar="N", help="run only N jobs, spread over all")]
_Only = Annotated[str | None, _limit("--only", "GLOB", "run only jobs whose name matches, such as `'bolie_*'`")]
_Group = Annotated[str | None, _limit("--group", "G", "run only jobs of this group")]
_Pilot = Annotated[
    int | None,
    typer.Option("--pilot", min=1, metavar="N", help="run N jobs, say what the others will cost, and ask"),
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="go on after the pilot without asking")]
_KeepFailed = Annotated[bool, typer.Option("--keep-failed", help="do not run failed jobs again")]
_Fresh = Annotated[
    bool, typer.Option("--fresh", help="do all of it again: take no result and no reply of earlier runs")
]
_Inline = Annotated[bool, typer.Option("--inline", help="in this process, one job at a time, for a debugger")]


def run_command(
    file: ManifestFile,
    workers: _Workers = None,
    timeout: _Timeout = None,
    max_failures: _MaxFailures = None,
    deadline: _Deadline = None,
    name: _Name = None,
    model: _Model = None,
    overrides: SetOption = None,
    limit: _Limit = None,
    sample: _Sample = None,
    only: _Only = None,
    group: _Group = None,
    pilot: _Pilot = None,
    yes: _Yes = False,
    keep_failed: _KeepFailed = False,
    fresh: _Fresh = False,
    inline: _Inline = False,
    fail_on: FailOnOption = None,
    output: OutputOption = Output.HUMAN,
    home: HomeOption = None,
) -> int:
    """Run a manifest to its end. The same command again does only what is still missing."""
    from batchmill.api.batch import from_file
    from batchmill.api.running import Invocation, choice_of, execute
    from batchmill.api.runs import home_path
    from batchmill.cli.driving import display, finish, say_inline
    from batchmill.cli.pilot import refuse_unanswerable, run_with_pilot
    from batchmill.errors import UsageError

    given = {
        "limits.workers": workers,
        "limits.timeout": timeout,
        "limits.max_failures": max_failures,
        "limits.deadline": deadline,
        "name": name,
        "defaults.model": model,
    }
    changes = [*(overrides or ()), *(f"{path}={_quoted(path, value)}" for path, value in given.items() if value)]
    if pilot and (limit or sample):
        raise UsageError("`--pilot` runs all jobs in the end", hint="leave out `--limit` and `--sample`")
    choice = choice_of(only, group, limit, sample)
    if inline:
        say_inline(output)
    if fresh:
        os.environ.setdefault("BATCHMILL_CACHE", "fresh")  # for the workers: replies of models are not taken either
    invocation = Invocation(home_path(home), choice, keep_failed, fresh, inline)
    batch = from_file(file, changes)
    if pilot is None:
        return finish(execute(batch, invocation, display(output)), output, fail_on)
    refuse_unanswerable(yes)
    first = choice_of(only, group, pilot, None)
    assert first is not None  # it has a limit
    return finish(run_with_pilot(batch, invocation, first, yes, output, display(output)), output, fail_on)


def _quoted(path: str, value: str) -> str:
    """The value as YAML: names are texts, also `12` and `yes`."""
    if path not in ("name", "defaults.model"):
        return value
    import json

    return json.dumps(value, ensure_ascii=False)
