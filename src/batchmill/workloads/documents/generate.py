"""`batchmill generate documents`: the manifest of a batch of documents, to be read, edited and run."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from batchmill import UsageError, did_you_mean
from batchmill.workloads.documents import command as flags
from batchmill.workloads.documents.asked import TASK, values

EXAMPLE = (
    "  batchmill generate documents ./docs --prompt 'Summarise in 2 sentences' -o workflow.yaml\n"
    "  batchmill generate documents ./docs --template extract --format workflow -o workflow.yaml\n"
    "  batchmill run workflow.yaml"
)
_COMMENTS = {
    "name": "of its runs; the same name with another manifest starts the next one",
    "defaults": "what is asked about every file",
    "model": "provider/model; `local/smollm2` runs offline, its text is a demo",
    "limits": "also `budget: 5 USD`, `deadline: 2h`, `max_failures: 10%`",
    "concurrency": "files at one time",
    "timeout": "of one file, in seconds; waiting for the model's limits does not count",
    "files": "also `exclude`, `max_size`, `modified_since`",
    "recursive": "also the folders below",
}
_COMMENTED = 2  # levels; deeper keys are the user's own
_PLAIN_KEY = re.compile(r"(?!(?:true|false|null)$)[A-Za-z_][A-Za-z0-9_-]*")
_WORKFLOW_FILES = {"directory": "directory", "pattern": "file_pattern", "paths": "files"}


class Format(StrEnum):
    """Which form the manifest has."""

    NATIVE = "native"
    WORKFLOW = "workflow"


_Task = Annotated[str, typer.Argument(metavar="TASK", help="what to write a manifest for: `documents`")]
_To = Annotated[Path | None, typer.Option("-o", "--to", metavar="FILE", help="where to write it; default: stdout")]
_Format = Annotated[Format, typer.Option("--format", help="`native`, or the `llm/v1` form of workflows")]


def generate_command(
    task: _Task,
    words: flags.Words = None,
    as_files: flags.AsFiles = False,
    pattern: flags.Pattern = None,
    exclude: flags.Exclude = None,
    min_size: flags.MinSize = None,
    max_size: flags.MaxSize = None,
    since: flags.Since = None,
    hidden: flags.Hidden = False,
    flat: flags.Flat = False,
    prompt: flags.Prompt = None,
    template: flags.Template = None,
    question: flags.Question = None,
    system: flags.System = None,
    model: flags.Model = None,
    vision: flags.Vision = False,
    schema: flags.Schema = None,
    temperature: flags.Temperature = None,
    max_tokens: flags.MaxTokens = None,
    seed: flags.Seed = None,
    max_concurrent: flags.Concurrent = None,
    timeout: flags.Timeout = None,
    budget: flags.Budget = None,
    name: flags.Name = None,
    to: _To = None,
    fmt: _Format = Format.NATIVE,
) -> None:
    """Write a commented manifest, which `batchmill run` runs."""
    given = locals()
    from batchmill.llm.settings import load

    if task != TASK:
        raise UsageError(f"nothing is generated for `{task}`", hint=did_you_mean(task, [TASK]) or f"there is `{TASK}`")
    settings = load(flags=flags.settings_in(given))
    found = values(flags.asked_by(given, settings), settings)
    text = native(found) if fmt is Format.NATIVE else workflow(found)
    if to is None:
        typer.echo(text, nl=False)
    else:
        _write(to, text)
        typer.echo(f"wrote `{to}`; run it with `batchmill run {to}`")


generate_command.example = EXAMPLE  # type: ignore[attr-defined]


def native(manifest: dict[str, Any]) -> str:
    """The manifest in Batchmill's own form, with comments."""
    return "# Ask the same of many documents. `batchmill plan FILE` tells what it will do and cost.\n" + _yaml(manifest)


def workflow(manifest: dict[str, Any]) -> str:
    """The manifest as a workflow of one `llm/v1` task. Raises UsageError for what that form cannot say."""
    files = dict(manifest["files"])
    files.pop("as")
    if files.pop("recursive", False) and "/" not in files["pattern"]:
        files["pattern"] = f"**/{files['pattern']}"
    more = [name for name in files if name not in _WORKFLOW_FILES]
    if more:
        raise UsageError(f"a workflow has no `{more[0]}`", hint="`--format native` has it")
    params = {_WORKFLOW_FILES[name]: value for name, value in files.items()} | manifest["defaults"]
    method = "llm/vision" if params.pop("vision", False) else "llm/chat"
    task = {"name": manifest["name"], "protocol": "llm/v1", "method": method, "params": params}
    return _yaml({"name": manifest["name"], "limits": manifest["limits"], "tasks": [task]})


def _yaml(value: dict[str, Any], depth: int = 0) -> str:
    """Block style, keys in their order, each text as JSON or as a block where it has several lines."""
    return "".join(_pair(key, item, depth) for key, item in value.items())


def _pair(key: str, item: Any, depth: int) -> str:
    pad = "  " * depth
    start = f"{pad}{key if _PLAIN_KEY.fullmatch(key) else _quoted(key)}:"
    comment = f"  # {_COMMENTS[key]}" if depth < _COMMENTED and key in _COMMENTS else ""
    if isinstance(item, dict) and item:
        return f"{start}{comment}\n{_yaml(item, depth + 1)}"
    if isinstance(item, list) and item and all(isinstance(each, dict) and each for each in item):
        return f"{start}{comment}\n" + "".join(_entry(each, depth + 1) for each in item)
    text = _scalar(item, depth)
    return f"{start} {text}{'' if chr(10) in text else comment}\n"


def _entry(value: dict[str, Any], depth: int) -> str:
    return "  " * depth + "- " + _yaml(value, depth + 1)[2 * (depth + 1) :]


def _scalar(value: Any, depth: int) -> str:
    if isinstance(value, str) and "\n" in value and _is_block(value):
        pad = "  " * (depth + 1)
        return "|-\n" + "\n".join(pad + line if line else "" for line in value.split("\n"))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _quoted(value)


def _quoted(value: Any) -> str:
    """JSON, which YAML reads alike, with escapes for what YAML does not allow as it is."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _is_block(text: str) -> bool:
    """Whether a YAML block keeps the text as it is: no odd white space, no control characters."""
    lines = text.split("\n")
    plain = all(line.isprintable() and line == line.rstrip() for line in lines)
    return plain and not lines[0].startswith(" ") and text == text.strip("\n")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"`{path}` exists already", hint="write to another file: `-o FILE`") from None
    except OSError as error:
        raise UsageError(f"cannot write `{path}`: {error.strerror}") from error
