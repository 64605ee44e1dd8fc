"""`batchmill identifiability`: models analysed at the terminal, imported from other tools, and exported.

The analysis is the task's own; how results look is in `presentation`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from batchmill import ManifestError, Permanent, UsageError

SCHEMA_VERSION = 1
EXAMPLE = (
    "  batchmill identifiability Bolie models/ --inputs 0\n"
    "  batchmill identifiability Bolie --fix p2 --known-ic q2=0 --output json\n"
    "  batchmill identifiability models/ --check\n"
    "  batchmill identifiability import model.jl model.xml -o models/\n"
    "  batchmill identifiability export Bolie --format latex"
)


class Format(StrEnum):
    """What `export` writes."""

    YAML = "yaml"
    LATEX = "latex"
    JSON = "json"


class Output(StrEnum):
    """How an analysis is told."""

    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


class Asked(NamedTuple):
    """What the flags say of every analysis, and the seed of its random points."""

    params: dict[str, Any]
    seed: int


class Refused(NamedTuple):
    """A model without a result, and why."""

    model: str
    reason: str


_Words = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="bundled models, model files of any supported format, directories; or `import FILE...`, `export MODEL`",
        show_default=False,
    ),
]
_Inputs = Annotated[
    str | None,
    typer.Option("--inputs", metavar="K|generic", help="non-zero derivatives of inputs", show_default=False),
]
_Unknown = Annotated[
    str | None,
    typer.Option(
        "--unknown-inputs", metavar="K|free", help="non-zero derivatives of unknown inputs", show_default=False
    ),
]
_KnownIc = Annotated[
    list[str] | None,
    typer.Option("--known-ic", metavar="STATE[=VALUE]", help="initial values that are known", show_default=False),
]
_Fix = Annotated[
    list[str] | None,
    typer.Option("--fix", metavar="PARAMETER[=VALUE]", help="parameters that are known", show_default=False),
]
_OptionsFile = Annotated[
    str | None, typer.Option("--options", metavar="FILE", help="a file of options", show_default=False)
]
_Global = Annotated[bool, typer.Option("--global", help="try to tell global from local identifiability")]
_Check = Annotated[bool, typer.Option("--check", help="exit 1 where a verdict differs from the model's `expected`")]
_Output = Annotated[Output, typer.Option("--output", help="what to write: `json` is everything that is known")]
_Pictures = Annotated[
    str | None, typer.Option("--pictures", metavar="DIR", help="write pictures there", show_default=False)
]
_Seed = Annotated[int, typer.Option("--seed", metavar="N", help="of the random points")]
_Out = Annotated[str | None, typer.Option("-o", "--to", metavar="DIR|FILE", help="where to write", show_default=False)]
_Format = Annotated[Format, typer.Option("--format", metavar="yaml|latex|json", help="of `export`")]
_Units = Annotated[
    bool, typer.Option("--units", help="`export`: set parameters to 1 that scalings or translations leave free")
]
_Outputs = Annotated[
    list[str] | None,
    typer.Option("--output-of", metavar="NAME", help="`import`: what is measured (SBML, Antimony)", show_default=False),
]


def identifiability_command(
    words: _Words,
    inputs: _Inputs = None,
    known_ic: _KnownIc = None,
    fix: _Fix = None,
    unknown_inputs: _Unknown = None,
    options_file: _OptionsFile = None,
    global_check: _Global = False,
    check: _Check = False,
    output: _Output = Output.HUMAN,
    pictures: _Pictures = None,
    to: _Out = None,
    export_format: _Format = Format.YAML,
    units: _Units = False,
    outputs: _Outputs = None,
    seed: _Seed = 0,
) -> int:
    """Tell which parameters and states of models can be determined, and what would help."""
    params: dict[str, Any] = {
        "nonzero_input_derivatives": _count(inputs),
        "unknown_input_derivatives": _count(unknown_inputs),
        "known_initial_conditions": _known(known_ic, "--known-ic"),
        "known_parameters": _known(fix, "--fix"),
        "options_file": options_file,
        "global_check": global_check,
    }
    given = {name: value for name, value in params.items() if value is not None}
    first, *others = words
    if first == "import":
        return _import(others, to, outputs)
    if first == "export":
        return _export(others, export_format, to, Asked(given, seed), units=units)
    asked = Asked({**given, "advice": True}, seed)
    return _analyse_all(words, asked, check=check, output=output, pictures=pictures)


identifiability_command.example = EXAMPLE  # type: ignore[attr-defined]


def _count(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _known(given: Sequence[str] | None, flag: str) -> dict[str, str] | list[str] | None:
    """`a,b=1` and repeated flags, as the options of a manifest say it. Raises UsageError for a mixture."""
    if given is None:
        return None
    parts = [part.partition("=") for text in given for part in text.split(",") if part.strip()]
    valued = [(name.strip(), value.strip()) for name, sign, value in parts if sign]
    if valued and len(valued) < len(parts):
        raise UsageError(f"`{flag}` mixes names with and without a value", hint="give all a value, or none")
    return dict(valued) if valued else [name.strip() for name, _, _ in parts]


def _analyse_all(words: Sequence[str], asked: Asked, *, check: bool, output: Output, pictures: str | None) -> int:
    results: list[dict[str, Any]] = []
    refused: list[Refused] = []
    changed: list[Refused] = []
    for reference in references(words, refused):
        try:
            results.append(_analyse(reference, asked))
            if pictures is not None:
                _draw(reference, asked, Path(pictures))
            if check:
                _compare(reference, results[-1])
        except Permanent as error:
            changed.append(Refused(reference, str(error)))
        except ManifestError as error:
            if len(words) == 1 and reference == words[0]:
                raise
            refused.append(Refused(reference, error.message))
    _tell(results, refused, changed, output)
    if not results and not changed:
        raise UsageError("there is no model to analyse", hint="name a bundled model, a model file or a folder of them")
    return 1 if changed or (refused and check) else 0


def references(words: Iterable[str], refused: list[Refused]) -> Iterator[str]:
    """Every model that the words name; files in folders that hold none are noted in `refused` and skipped."""
    from batchmill.workloads.identifiability.catalogue import check_reference, is_file, list_models

    for word in words:
        if Path(word).is_dir():
            for path in _files(Path(word)):
                try:
                    yield from list_models(path)
                except ManifestError as error:
                    refused.append(Refused(path, error.message))
        elif is_file(word) and "#" not in word:
            yield from list_models(word)
        else:
            try:
                yield check_reference(word)
            except ValueError as error:
                raise UsageError(str(error)) from None


def _files(folder: Path) -> list[str]:
    from batchmill.workloads.identifiability.formats import ENDINGS

    endings = {".yaml", ".yml", *ENDINGS}
    return sorted(str(path) for path in folder.rglob("*") if path.suffix in endings and path.is_file())


class _Here:
    """What the task asks of its context, without an engine around it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed


def _analyse(reference: str, asked: Asked) -> dict[str, Any]:
    """The result of the task. Raises ManifestError, and UsageError for flags that cannot be."""
    from pydantic import ValidationError

    from batchmill.workloads.identifiability.job import identifiability

    try:
        params = identifiability.params(model=reference, **asked.params)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        option = str(detail["loc"][0]).replace("_", " ") if detail["loc"] else "the options"
        raise UsageError(f"{option}: {detail['msg'].removeprefix('Value error, ')}") from None
    return dict(identifiability.call(params, _Here(asked.seed)).model_dump())


def _compare(reference: str, result: dict[str, Any]) -> None:
    """Raises Permanent where the verdict is not the expected one."""
    from batchmill.workloads.identifiability.catalogue import find_model
    from batchmill.workloads.identifiability.result import IdentifiabilityResult, compare

    compare(IdentifiabilityResult.model_validate(result), find_model(reference))


def _draw(reference: str, asked: Asked, folder: Path) -> None:
    from batchmill.workloads.identifiability.catalogue import find_model
    from batchmill.workloads.identifiability.job import IdentifiabilityParams
    from batchmill.workloads.identifiability.options import assuming
    from batchmill.workloads.identifiability.pictures import draw

    params = IdentifiabilityParams(model=reference, **asked.params)
    model = assuming(find_model(reference), params, params.options_file)
    name = Path(reference).name if "#" in reference else Path(reference).stem
    place = folder / "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    for name, content in draw(model, asked.seed).items():
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        except OSError as error:
            raise _unwritable(str(place), error) from None


def _tell(results: list[dict[str, Any]], refused: list[Refused], changed: list[Refused], output: Output) -> None:
    from batchmill.workloads.identifiability.presentation import details, lines_of, printable, verdict_table

    if output is Output.JSON:
        record = {
            "schema_version": SCHEMA_VERSION,
            "models": results,
            "invalid": [item._asdict() for item in refused],
            "changed": [item._asdict() for item in changed],
        }
        _write(json.dumps(record, indent=1, allow_nan=False))
        return
    table = [verdict_table(results)] if len(results) > 1 else []
    interesting = results if len(results) == 1 else [r for r in results if r["nullspace_dimension"]]
    if results and output is Output.HUMAN:
        _write(lines_of([*table, *map(details, interesting)]))
    for item in refused:
        typer.echo(f"skipped `{printable(item.model)}`: {printable(item.reason)}", err=True)
    for item in changed:
        typer.echo(f"changed: {printable(item.reason)}", err=True)


def _write(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")


def _import(paths: list[str], to: str | None, outputs: list[str] | None) -> int:
    """Write native model files; 1 when a file could not be read."""
    from batchmill.workloads.identifiability.formats import import_files
    from batchmill.workloads.identifiability.presentation import printable

    if not paths or to is None:
        raise UsageError("`import` needs files and a folder to write to", hint=f"for example:\n{EXAMPLE}")
    done = import_files(paths, to, outputs=outputs)
    for written in done.written:
        _write(f"{printable(written.source)} -> {printable(written.path)}")
        for note in written.notes:
            typer.echo(f"  {printable(note)}", err=True)
    for path, error in done.refused:
        typer.echo(f"refused `{printable(path)}`: {printable(error.message)}", err=True)
    return 1 if done.refused else 0


def _export(words: list[str], form: Format, to: str | None, asked: Asked, *, units: bool) -> int:
    if len(words) != 1:
        raise UsageError("`export` takes one model", hint="`batchmill identifiability export Bolie --format latex`")
    text = _exported(words[0], form, asked, units=units)
    if to is None:
        _write(text)
        return 0
    try:
        Path(to).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    except OSError as error:
        raise _unwritable(to, error) from None
    return 0


def _unwritable(path: str, error: OSError) -> UsageError:
    return UsageError(f"cannot write `{path}`: {(error.strerror or str(error)).lower()}")


def _exported(reference: str, form: Format, asked: Asked, *, units: bool) -> str:
    from batchmill.workloads.identifiability import reduction
    from batchmill.workloads.identifiability.catalogue import find_model
    from batchmill.workloads.identifiability.formats import write_native
    from batchmill.workloads.identifiability.formats.latex import model_latex, result_latex

    try:
        model = find_model(reference)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if form is Format.YAML:
        given = asked.params.get("known_parameters") or ()
        known: dict[str, Any] = dict(given) if isinstance(given, dict) else dict.fromkeys(given)
        known |= dict.fromkeys(reduction.units(model, asked.seed), 1) if units else {}
        return write_native(reduction.with_known(reduction.mapping_of(reference), known))
    result = _analyse(reference, asked)
    if form is Format.JSON:
        return json.dumps(result, indent=1, allow_nan=False)
    return f"{model_latex(model)}\n\n{result_latex(result)}"
