"""`batchmill documents`: one prompt over many files at the terminal. `generate documents` writes a manifest instead."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from batchmill.workloads.documents.asked import Asked, read_schema, values

if TYPE_CHECKING:
    from batchmill import Run
    from batchmill.llm.settings import Settings

_SHOWN = 20  # answers on a terminal
NOTHING_ASKED = 2  # the exit code where a run cannot even begin: that is told whatever else is
_MARKS = {"succeeded": "✓"}
EXAMPLE = (
    "  batchmill documents ./docs --pattern '*.txt' --prompt 'Summarise this document in 2 sentences'\n"
    "  batchmill documents --files a.txt b.pdf c.md --prompt 'Analyse' --model ollama/llama3.2\n"
    "  batchmill documents ./images --pattern '*.png' --prompt 'Describe this image' --vision"
)


class Format(StrEnum):
    """What the results are written as."""

    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


class Way(StrEnum):
    """How requests go: each for itself, in batches, or as their number says."""

    LIVE = "live"
    BATCH = "batch"
    AUTO = "auto"


class FailOn(StrEnum):
    """States that count as a failure of the whole run."""

    SKIPPED = "skipped"


class Cache(StrEnum):
    """Whether replies of models are taken from the cache, and kept there."""

    ON = "on"
    FRESH = "fresh"
    OFF = "off"


class Output(StrEnum):
    """What is said on stdout: answers for people, the results as JSON, or nothing."""

    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


def _option(*flags: str, metavar: str, text: str) -> Any:
    return typer.Option(*flags, metavar=metavar, help=text, show_default=False)


Words = Annotated[list[str] | None, typer.Argument(metavar="[FOLDER|FILE]...", help="where the documents are")]
AsFiles = Annotated[bool, typer.Option("--files", help="the words are files; one that is not there is skipped")]
Pattern = Annotated[
    str | None, _option("--pattern", metavar="GLOB", text="which files of the folder, such as `'*.md'`")
]
Exclude = Annotated[list[str] | None, _option("--exclude", metavar="GLOB", text="files to leave out; repeatable")]
MaxSize = Annotated[str | None, _option("--max-size", metavar="SIZE", text="leave out larger files")]
MinSize = Annotated[str | None, _option("--min-size", metavar="SIZE", text="leave out smaller files")]
Since = Annotated[str | None, _option("--modified-since", metavar="DATE|AGO", text="leave out older files: `7d`")]
Hidden = Annotated[bool, typer.Option("--hidden", help="also files whose name begins with a dot")]
Flat = Annotated[bool, typer.Option("--flat", help="without the folders below")]
Prompt = Annotated[str | None, _option("-p", "--prompt", metavar="TEXT", text="what to do with each document")]
Template = Annotated[
    str | None,
    _option("--template", metavar="NAME|FILE", text="`summary`, `extract`, `qa`, `classify`, `describe` or a file"),
]
Question = Annotated[list[str] | None, _option("--question", metavar="TEXT", text="ask this of each; repeatable")]
System = Annotated[str | None, _option("--system", metavar="TEXT", text="the system prompt")]
Model = Annotated[str | None, _option("-m", "--model", metavar="PROVIDER/MODEL", text="which model answers")]
Vision = Annotated[bool, typer.Option("--vision", help="send images, and pages of PDF without text, as images")]
Schema = Annotated[str | None, _option("--schema", metavar="FILE", text="JSON Schema of the answers")]
Temperature = Annotated[float | None, _option("--temperature", metavar="T", text="how freely words are chosen")]
MaxTokens = Annotated[int | None, _option("--max-tokens", metavar="N", text="the longest answer")]
Seed = Annotated[int | None, _option("--seed", metavar="N", text="for models that take one")]
Concurrent = Annotated[int | None, _option("--max-concurrent", metavar="N", text="files at one time")]
Timeout = Annotated[
    str | None, _option("--timeout", "--timeout-per-file", metavar="T", text="time for one file, such as `30s`")
]
Largest = Annotated[str | None, _option("--max-file-size", metavar="SIZE", text="skip what is larger: `5MB`")]
Retries = Annotated[int | None, _option("--retry-attempts", metavar="N", text="further requests where one fails")]
Budget = Annotated[str | None, _option("--budget", metavar="MONEY", text="stop before it costs more: `5 USD`")]
Lane = Annotated[
    Way | None,
    _option("--lane", metavar="live|batch|auto", text="in the provider's batches: within a day, at half the price"),
]
Name = Annotated[str | None, _option("--name", metavar="NAME", text="the name of its runs")]
To = Annotated[str | None, _option("-o", "--to", metavar="FILE", text="where the results go")]
Fresh = Annotated[bool, typer.Option("--fresh", help="do all of it again: take no result and no reply of earlier runs")]
FailOnState = Annotated[
    FailOn | None, _option("--fail-on", metavar="skipped", text="exit with 1 also when jobs ended so")
]
Replies = Annotated[
    Cache | None,
    _option("--cache", metavar="on|fresh|off", text="of replies: take none (`fresh`), also keep none (`off`)"),
]
Form = Annotated[Format, typer.Option("--format", help="of the results")]
Said = Annotated[Output, typer.Option("--output", help="what stdout shows")]
Home = Annotated[str | None, _option("--home", metavar="DIR", text="folder of the runs")]


def documents_command(
    words: Words = None,
    as_files: AsFiles = False,
    pattern: Pattern = None,
    exclude: Exclude = None,
    min_size: MinSize = None,
    max_size: MaxSize = None,
    since: Since = None,
    hidden: Hidden = False,
    flat: Flat = False,
    prompt: Prompt = None,
    template: Template = None,
    question: Question = None,
    system: System = None,
    model: Model = None,
    vision: Vision = False,
    schema: Schema = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    max_concurrent: Concurrent = None,
    timeout: Timeout = None,
    max_file_size: Largest = None,
    retry_attempts: Retries = None,
    budget: Budget = None,
    lane: Lane = None,
    name: Name = None,
    to: To = None,
    fmt: Form = Format.JSON,
    fresh: Fresh = False,
    cache: Replies = None,
    fail_on: FailOnState = None,
    output: Said = Output.HUMAN,
    home: Home = None,
) -> int:
    """Ask a language model the same of many documents. The same command again does only what is missing."""
    given = locals()
    from batchmill.llm.settings import as_environment, load

    flags = settings_in(given)
    settings = load(flags=flags)
    os.environ |= as_environment(flags)  # also for the workers
    wanted = values(asked_by(given, settings), settings)
    return _carried_out(wanted, settings, Ending(to, fmt, fail_on, output), fresh, home)


class Ending(NamedTuple):
    """Where the results go, as what, which states are a failure, and what is said on stdout."""

    to: str | None
    fmt: Format
    fail_on: FailOn | None
    output: Output


def _carried_out(wanted: dict[str, Any], settings: Settings, ending: Ending, fresh: bool, home: str | None) -> int:
    """Run what is wanted, write the results, and tell them; returns the exit code."""
    import batchmill

    to, fmt, fail_on, output = ending
    shown = output is Output.HUMAN
    if shown and settings.model.startswith("local/"):
        _say_what_it_is(settings.model)
    folder, file = _target(to, settings.results_directory)
    usual = "" if to is None else f"{wanted['name']}-*.{_SUFFIXES[fmt]}"
    if own := _own_results(wanted, folder, glob.escape(file) or usual):
        wanted["files"]["exclude"] = [*wanted["files"].get("exclude", ()), own]
    run = batchmill.run(**wanted, home=home, progress=shown, fresh=fresh)
    place = folder / (file or f"{run.id}.{_SUFFIXES[fmt]}")
    run.export(place, _SUFFIXES[fmt], shape="files")
    _tell(run, place, output)
    return run.exit_code or int(fail_on is not None and run.counts[fail_on] > 0)


def _target(to: str | None, usual: str) -> tuple[Path, str]:
    """The folder of the results, and the file's name; empty: that of the run. Raises UsageError for one that cannot
    be: after the run it would be late to say so."""
    from batchmill import UsageError

    is_folder = to is None or Path(to).is_dir() or to.endswith("/")
    folder = Path(usual if to is None else to) if is_folder else Path(to or "").parent
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "cannot be written" if there.is_dir() else "is no folder"
        raise UsageError(
            f"the results cannot go to `{to or folder}`: `{there}` {reason}", hint="`-o FILE` names another place"
        )
    return folder, "" if is_folder else Path(to or "").name


def _own_results(wanted: dict[str, Any], folder: Path, file: str) -> str:
    """The pattern of the results that lie among the documents: they are none. Empty where they lie elsewhere. `file`
    is the pattern of their names; empty: the whole folder is theirs."""
    root = wanted["files"].get("directory")
    below = ".." if root is None else os.path.relpath(os.path.realpath(folder), os.path.realpath(root))
    if below.split(os.sep)[0] == "..":
        return ""
    file = file or ("" if below != "." else f"{wanted['name']}-[0-9]*")
    return "./" + os.path.join("" if below == "." else glob.escape(below), file).rstrip("/")


def _say_what_it_is(model: str) -> None:
    from batchmill.llm.local.provider import notice

    if said := notice(model):
        typer.echo(said, err=True)


_SUFFIXES = {Format.JSON: "json", Format.CSV: "csv", Format.MARKDOWN: "md"}
documents_command.example = EXAMPLE  # type: ignore[attr-defined]


def whole_name(model: str | None) -> str | None:
    """A model's name with its provider: a bare one is Ollama's."""
    return f"ollama/{model}" if model and "/" not in model else model


def settings_in(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the flags of a command, which are `given` by the names of its arguments."""
    return {
        "model": whole_name(given["model"]),
        "max_concurrent": given["max_concurrent"],
        "timeout_per_file": given["timeout"],
        "max_file_size": given.get("max_file_size"),
        "retry_attempts": given.get("retry_attempts"),
        "lane": given.get("lane"),
        "cache": given.get("cache") or (Cache.FRESH if given.get("fresh") else None),
    }


def asked_by(given: Mapping[str, Any], settings: Settings) -> Asked:
    """What the flags of a command ask for. Raises UsageError for a schema that cannot be read."""
    files = {name: given[name] or None for name in ("pattern", "exclude", "min_size", "max_size")}
    files |= {"modified_since": given["since"], "hidden": given["hidden"] or None}
    files["recursive"] = False if given["flat"] else None
    params = {
        "prompt": given["prompt"],
        "template": given["template"],
        "questions": given["question"],
        "system": given["system"],
        "vision": given["vision"] or None,
        "schema": None if given["schema"] is None else read_schema(given["schema"]),
        "temperature": given["temperature"],
        "max_tokens": given["max_tokens"],
        "seed": given["seed"],
        "max_file_size": None if given.get("max_file_size") is None else settings.max_file_size,
    }
    return Asked(given["words"] or (), given["as_files"], files, params, {"budget": given["budget"]}, given["name"])


def _tell(run: Run, place: Path, output: Output) -> None:
    counts = run.counts
    if output is Output.QUIET and run.exit_code == NOTHING_ASKED:
        typer.echo(f"error: {run.reason}", err=True)
    if output is Output.JSON:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(run.export(Path(folder) / "results.json", shape="files").read_text("utf-8"))
    elif output is Output.HUMAN:
        _answers(run)
        total = sum(counts[state] for state in ("succeeded", "failed", "skipped", "cancelled", "pending"))
        cached = f" ({counts['cached']:,} from earlier runs)" if counts["cached"] else ""
        said = [f"{counts['succeeded']:,} of {total:,} files done{cached}"]
        said += [f"{counts[state]:,} {state}" for state in ("failed", "skipped", "pending") if counts[state]]
        if run.state != "finished":
            said.insert(0, f"{run.state}: {run.reason}")
        typer.echo(f"{', '.join(said)}; results in {place}; more: `batchmill show {run.id}`", err=True)


def _answers(run: Run) -> None:
    """Every answer on stdout; on a terminal only the first ones."""
    most = _SHOWN if sys.stdout.isatty() else None
    ended = (outcome for outcome in run.results() if outcome.state != "pending")
    for outcome in islice(ended, most):
        file = outcome.params.get("file") or outcome.name
        typer.echo(f"{_MARKS.get(outcome.state, '✗')} {_plain(str(file))}")
        text = outcome.result["text"] if outcome.state == "succeeded" else f"{outcome.state}: {outcome.reason}"
        typer.echo(f"  {_plain(text).strip().replace(chr(10), chr(10) + '  ')}\n")


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))
