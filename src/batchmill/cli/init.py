"""`batchmill init`: a first manifest that runs as it is. The texts are in `starters/`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.options import HomeOption, OutputOption
from batchmill.cli.output import Output, say, tell
from batchmill.errors import UsageError

if TYPE_CHECKING:
    from batchmill.model.tasks import Task

EXAMPLE = "  batchmill init\n  batchmill init python --to sweep.yaml"
PREFERRED = "identifiability"
_BESIDE = {"python": ("batch_functions.py",)}  # further files that a starter needs

_TaskName = Annotated[
    str | None, typer.Argument(metavar="[TASK]", help="which task; without it, one is chosen", show_default=False)
]
_To = Annotated[Path, typer.Option("--to", metavar="PATH", help="the manifest to write")]


def init_command(
    task: _TaskName = None,
    to: _To = Path("batchmill.yaml"),
    output: OutputOption = Output.HUMAN,
    home: HomeOption = None,
) -> None:
    """Write a commented manifest that runs as it is."""
    from batchmill.plugins import task_names

    known = task_names()
    name = _chosen(task, known)
    texts = _texts(name, to)
    _refuse_existing(texts)
    for path, text in texts.items():
        _write(path, text)
    others = [f"`{other}`" for other in known if other != name]
    if task is None and others:
        say(output, f"wrote a manifest for the task `{name}`; `batchmill init TASK` knows {', '.join(others)} too")
    record = {"task": name, "files": [str(path) for path in texts]}
    tell(output, record, lambda: f"wrote {_listed(texts)}; run it with `batchmill run {to}`", str(to))


def _chosen(task: str | None, known: list[str]) -> str:
    if task is None:
        if PREFERRED in known and _works(PREFERRED):
            return PREFERRED
        usable = next((name for name in known if name != PREFERRED), None)
        if usable is None:
            raise UsageError("no task is installed", hint="`batchmill doctor` shows what is there")
        return usable
    if task not in known:
        from batchmill.model.near import did_you_mean

        names = ", ".join(f"`{name}`" for name in known)
        raise UsageError(f"there is no task `{task}`", hint=did_you_mean(task, known) or f"installed tasks: {names}")
    return task


def _works(task: str) -> bool:
    """Whether what the task needs is installed."""
    from batchmill.errors import TaskError
    from batchmill.plugins import find

    try:
        find(task)
    except TaskError:
        return False
    return True


def _texts(task: str, to: Path) -> dict[Path, str]:
    starters = files("batchmill.cli").joinpath("starters")
    starter = starters.joinpath(f"{task}.yaml")
    if not starter.is_file():
        from batchmill.plugins import find

        return {to: _generated(find(task))}
    texts = {to: starter.read_text("utf-8").replace("{file}", to.name)}
    for name in _BESIDE.get(task, ()):
        texts[to.parent / name] = starters.joinpath(name).read_text("utf-8")
    return texts


def _generated(task: Task) -> str:
    """A manifest for a task without a starter: its parameters with their defaults, those it needs left to fill in."""
    lines = [f"name: first-{task.name}", f"task: {task.name}", "", "jobs:", "  - name: first", "    params:"]
    for name, field in task.params.model_fields.items():
        needed = field.is_required()
        text = f"{field.alias or name}: {'' if needed else _as_yaml(field.get_default(call_default_factory=True))}"
        lines.append(f"      {text if needed else '# ' + text}  # {field.description or 'a parameter'}")
    return "\n".join(lines) + "\n"


def _as_yaml(value: Any) -> str:
    import json

    return json.dumps(value, default=str, ensure_ascii=False)


def _refuse_existing(paths: dict[Path, str]) -> None:
    for path in paths:
        if path.exists() or path.is_symlink():
            raise UsageError(f"`{path}` exists already", hint="write to another file: `--to PATH`")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"cannot write `{path}`: {error.strerror}", hint="choose another place: `--to PATH`"
        ) from error


def _listed(paths: dict[Path, str]) -> str:
    return " and ".join(f"`{path}`" for path in paths)
