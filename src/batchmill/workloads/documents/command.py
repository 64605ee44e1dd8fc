"""`batchmill documents`: one prompt over many files at the terminal. `generate documents` writes a manifest instead."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.workloads.documents.asked import Asked, read_schema, values

if TYPE_CHECKING:
    from batchmill import Run

_SHOWN = 20  # answers on a terminal
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
Timeout = Annotated[str | None, _option("--timeout", metavar="T", text="time for one file, such as `30s`")]
Budget = Annotated[str | None, _option("--budget", metavar="MONEY", text="stop before it costs more: `5 USD`")]
Lane = Annotated[
    Way | None,
    _option("--lane", metavar="live|batch|auto", text="in the provider's batches: within a day, at half the price"),
]
Name = Annotated[str | None, _option("--name", metavar="NAME", text="the name of its runs")]
To = Annotated[str | None, _option("-o", "--to", metavar="FILE", text="where the results go")]
Fresh = Annotated[bool, typer.Option("--fresh", help="take no result and no reply of earlier runs")]
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
    budget: Budget = None,
    lane: Lane = None,
    name: Name = None,
    to: To = None,
    fmt: Form = Format.JSON,
    fresh: Fresh = False,
    output: Said = Output.HUMAN,
    home: Home = None,
) -> int:
    """Ask a language model the same of many documents. The same command again does only what is missing."""
    given = locals()
    import batchmill
    from batchmill.llm.settings import as_environment, load

    flags = settings_in(given)
    os.environ |= as_environment(flags)  # also for the workers
    settings = load(flags=flags)
    wanted, shown = values(asked_by(given), settings), output is Output.HUMAN
    if shown and settings.model.startswith("local/"):
        _say_what_it_is(settings.model)
    run = batchmill.run(**wanted, home=home, progress=shown, fresh=fresh)
    place = Path(to) if to is not None else Path(settings.results_directory) / f"{run.id}.{_SUFFIXES[fmt]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    run.export(place, _SUFFIXES[fmt], shape="files")
    _tell(run, place, output)
    return run.exit_code


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
    flags = {"max_concurrent": given["max_concurrent"], "timeout_per_file": given["timeout"], "lane": given.get("lane")}
    return {"model": whole_name(given["model"]), **flags}


def asked_by(given: Mapping[str, Any]) -> Asked:
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
        "seed": given.get("seed"),
    }
    return Asked(given["words"] or (), given["as_files"], files, params, {"budget": given["budget"]}, given["name"])


def _tell(run: Run, place: Path, output: Output) -> None:
    counts = run.counts
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
