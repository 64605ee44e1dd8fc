"""The task `identifiability-sensitivity`: which further outputs, known initial values and fixed parameters make a
model identifiable. Every subset of candidates up to a size is decided by ranks; the minimal ones are reported.

The mathematics is in `subsets`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from batchmill import ManifestError, Metric, task
from batchmill.workloads.identifiability.catalogue import bundled_digest, check_reference, find_model, input_files
from batchmill.workloads.identifiability.expressions import Expression, ExpressionError
from batchmill.workloads.identifiability.loading import Formula
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.parser import parse
from batchmill.workloads.identifiability.studies import markdown
from batchmill.workloads.identifiability.studies.comparison import Record

if TYPE_CHECKING:
    from batchmill import Context
    from batchmill.workloads.identifiability.studies.subsets import Candidate

_SIZES = {"singles": 1, "pairs": 2, "triples": 3}


def _size(value: Any) -> Any:
    size = _SIZES.get(value, value) if isinstance(value, str) else value
    if size != "all" and (not isinstance(size, int) or size < 1):
        raise ValueError("give `singles`, `pairs`, `triples`, `all` or a whole number from 1")
    return size


class Candidates(BaseModel):
    """What could be measured or known besides. A list that is not given holds everything the model has to offer."""

    model_config = ConfigDict(extra="forbid")

    outputs: dict[str, Formula] | list[str] | None = Field(
        None, description="name -> formula, or formulas; an output of the model counts only in subsets that hold it"
    )
    known_initial_conditions: list[str] | None = None
    fixed_parameters: list[str] | None = None


class SensitivityParams(BaseModel):
    """The model, the candidates, and how many of them may be taken together."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="a bundled model's name, a model file, or `file#name` for one of several in a file")
    candidates: Candidates = Field(default_factory=Candidates)
    size: Annotated[int | Literal["all"], BeforeValidator(_size)] = Field(
        2, description="`singles`, `pairs`, `triples`, a number, or `all`"
    )
    target: list[str] | Literal["parameters", "everything"] = Field(
        "parameters", description="what is to become identifiable"
    )
    max_subsets: int = Field(
        100_000, ge=1, le=10_000_000, description="looked at at most; the rest is told as untested"
    )

    @field_validator("model")
    @classmethod
    def _exists(cls, value: str) -> str:
        return check_reference(value)


class Effect(BaseModel):
    """What one candidate does alone."""

    candidate: str
    nullspace_dimension: int
    gained: list[str] = Field(description="names that it makes identifiable or observable, itself left out")


class SensitivityResult(BaseModel):
    """The minimal sets: enough for the target, and not enough with any member left out."""

    model: str
    target: list[str]
    missing: list[str] = Field(description="of the target, what is not identifiable without any candidate")
    nullspace_dimension: int
    minimal_sets: list[list[str]]
    effects: list[Effect]
    tested: int
    implied: int = Field(description="subsets that hold a minimal set: enough without a test")
    untested: int
    attainable: bool = Field(description="whether all candidates together are enough")
    certainty: str
    engine_s: float


def metrics(result: SensitivityResult) -> Mapping[str, Any]:
    """The numbers of a result, and the size of the smallest set that is enough (absent when there is none)."""
    numbers: dict[str, Any] = {
        "nullspace_dimension": result.nullspace_dimension,
        "minimal_sets": len(result.minimal_sets),
        "tested": result.tested,
        "engine_s": result.engine_s,
    }
    if result.minimal_sets:
        numbers["smallest_set"] = min(map(len, result.minimal_sets))
    return numbers


def inputs(params: SensitivityParams) -> list[str]:
    """The files that the model is read from."""
    return input_files(params.model)


def report(records: Iterable[Record]) -> str:
    """The section of `report.md`."""
    lines: list[str] = []
    for record in records:
        if isinstance(record.result, dict):
            lines += _section(record.name, SensitivityResult.model_validate(record.result))
    return "\n".join(lines) or "No job ended with a result."


def _section(name: str, result: SensitivityResult) -> list[str]:
    lines = [f"### {markdown.cell(name)}: `{markdown.cell(result.model)}`", ""]
    lines += [f"Not determined of what is wanted: {markdown.names(result.missing)}.", ""]
    if result.missing:
        lines += [f"- {' and '.join(members)}" for members in map(_spelt, result.minimal_sets[: markdown.MOST_ROWS])]
        if not result.minimal_sets:
            enough = "all candidates together are" if result.attainable else "not even all candidates together are"
            lines.append(f"No set of this size is enough; {enough}.")
        lines += ["", f"{result.tested:,} subsets tested, {result.implied:,} implied; {result.certainty}."]
        lines += [f"{result.untested:,} subsets were not tested."] if result.untested else []
    rows = [(e.candidate, e.nullspace_dimension, markdown.names(e.gained, none="")) for e in result.effects]
    header = ("alone", f"null space (now {result.nullspace_dimension})", "makes determined")
    return [*lines, "", *markdown.table(header, rows), ""]


def _spelt(members: list[str]) -> list[str]:
    return [markdown.cell(member) for member in members]


@task(
    name="identifiability-sensitivity",
    version=f"1-{bundled_digest()}",
    mode="process",
    timeout=600,
    reuse="any",
    metrics=metrics,
    metric_columns=(
        Metric("nullspace_dimension", label="null-space dimension", better="lower"),
        Metric("minimal_sets", label="minimal sets"),
        Metric("smallest_set", label="size of the smallest set", better="lower"),
        Metric("tested", label="subsets tested"),
        Metric("engine_s", unit="s", label="engine time", better="lower"),
    ),
    inputs=inputs,
    report=report,
)
def sensitivity(params: SensitivityParams, ctx: Context) -> SensitivityResult:
    """Which outputs to add, initial values to know or parameters to fix, in every subset of the candidates."""
    from batchmill.workloads.identifiability.studies.subsets import Study

    started = time.perf_counter()
    model = find_model(params.model).resolved()
    candidates = candidates_of(model, params.candidates)
    target = _target(model, params.target)
    try:
        study = Study(model, candidates, target, ctx.seed)
    except Unsupported as error:
        raise ManifestError(str(error), code="model/unsupported") from None
    found = study.search(len(candidates) if params.size == "all" else params.size, params.max_subsets)
    return SensitivityResult(
        model=model.name,
        target=target,
        missing=study.missing(),
        nullspace_dimension=study.dimension(()),
        minimal_sets=[[str(candidate) for candidate in members] for members in found.minimal],
        effects=[
            Effect(candidate=str(c), nullspace_dimension=study.dimension((c,)), gained=study.gained(c))
            for c in candidates
        ],
        tested=found.tested,
        implied=found.implied,
        untested=found.untested,
        attainable=study.is_enough(candidates),
        certainty="each decided alike by two random points modulo two primes",
        engine_s=time.perf_counter() - started,
    )


def candidates_of(model: Model, given: Candidates) -> list[Candidate]:
    """The candidates in order: outputs, initial values, parameters. Raises ManifestError for unknown names."""
    from batchmill.workloads.identifiability.studies.subsets import Candidate

    known = model.options.known.values if model.options.known else {}
    free = [state for state in model.states if state not in known]
    states = _known(given.known_initial_conditions, free, "known_initial_conditions")
    parameters = _known(given.fixed_parameters, model.parameters, "fixed_parameters")
    outputs = [Candidate("measure", name, formula) for name, formula in _outputs(model, given.outputs).items()]
    return [*outputs, *(Candidate("know", s) for s in states), *(Candidate("fix", p) for p in parameters)]


def _known(names: list[str] | None, allowed: Iterable[str], what: str) -> list[str]:
    there = list(allowed)
    chosen = there if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in there:
            raise ManifestError(f"`{what}` names `{name}`", hint=f"candidates are {', '.join(there)}")
    return chosen


def _outputs(model: Model, given: dict[str, str] | list[str] | None) -> dict[str, Expression]:
    if given is None:
        measured = list(model.outputs.values())
        given = [state for state in model.states if parse(state).expression not in measured]
    named = given if isinstance(given, dict) else {text: text for text in given}
    return {name: model.outputs.get(text) or _formula(model, text) for name, text in named.items()}


def _formula(model: Model, text: str) -> Expression:
    try:
        parsed = parse(text)
    except ExpressionError as error:
        raise ManifestError(f"the candidate output `{text[:80]}`: {error.message}", hint=error.hint) from None
    there = {*model.states, *model.parameters, *model.inputs, *model.unknown_inputs, *model.constants}
    for name in parsed.names:
        if name not in there:
            raise ManifestError(f"the candidate output `{text[:80]}`: `{name}` is not of `{model.name}`")
    return parsed.expression


def _target(model: Model, given: list[str] | str) -> list[str]:
    if isinstance(given, list):
        return _known(given, (*model.states, *model.parameters), "target")
    return [*(model.states if given == "everything" else ()), *model.parameters]
