"""The task `identifiability`: its parameters, and how a job is done. The mathematics is in `analysis`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from batchmill import Invalid, ManifestError, Metric, ShortName, task
from batchmill.workloads.identifiability.catalogue import (
    bundled_digest,
    check_reference,
    find_model,
    input_files,
    list_models,
)
from batchmill.workloads.identifiability.loading import (
    InputDerivatives,
    KnownInitialConditions,
    KnownParameters,
    UnknownInputDerivatives,
)
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.options import NO_FILE, assuming, label_of
from batchmill.workloads.identifiability.result import IdentifiabilityResult, compare
from batchmill.workloads.identifiability.studies.comparison import report

if TYPE_CHECKING:
    from batchmill import Context
    from batchmill.workloads.identifiability.analysis import Verdict


class IdentifiabilityParams(BaseModel):
    """Which model, and what is assumed: options given here replace those of the model file."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="a bundled model's name, a model file, or `file#name` for one of several in a file")
    nonzero_input_derivatives: InputDerivatives = Field(
        None, description="0: constant inputs, 1: ramps, `generic`: any function of time"
    )
    known_initial_conditions: KnownInitialConditions = Field(
        None, description="state -> exact value, or a list of states whose value is known but generic"
    )
    unknown_input_derivatives: UnknownInputDerivatives = Field(
        None, description="of unknown inputs: `free`, or how many derivatives may be non-zero"
    )
    known_parameters: KnownParameters = Field(
        None, description="parameter -> exact value, or a list of parameters whose value is known but generic"
    )
    parameters_only: bool | None = Field(None, description="leave states out of the verdict; they stay unknown")
    options_file: Annotated[str | None, ShortName("", label_of)] = Field(
        None, description="a file of the options above (YAML, or NullStrike's); `default` means none"
    )
    combinations: bool = Field(True, description="search identifiable combinations of non-identifiable parameters")
    symmetries: bool = Field(True, description="search symmetries: proofs of what is not identifiable")
    advice: bool = Field(False, description="tell what to fix, measure or know to make all parameters identifiable")
    global_check: bool | Annotated[float, Field(gt=0)] = Field(
        False, description="try to tell global from local identifiability; a number limits the seconds"
    )
    pictures: bool = Field(False, description="keep pictures of what is confounded (needs the extra `plots`)")
    check: bool = Field(False, description="fail when the verdict differs from the model's `expected` block")
    repeat: int = Field(0, ge=0, description="tells repetitions apart: each looks at other random points")

    @field_validator("model")
    @classmethod
    def _exists(cls, value: str) -> str:
        return check_reference(value)


def metrics(result: IdentifiabilityResult) -> Mapping[str, Any]:
    """The numbers of a result, how many parameters are identifiable, and the rank under its name in other tools."""
    numbers = {name: value for name, value in result.model_dump().items() if isinstance(value, int | float)}
    count = len(result.locally_identifiable_parameters)
    return {**numbers, "observability_rank": result.rank, "identifiable_count": count}


def expand(path: str) -> list[dict[str, Any]] | Invalid:
    """One job for each model in a file."""
    try:
        return [{"model": reference} for reference in list_models(path)]
    except ManifestError as error:
        return Invalid(error.message)


def inputs(params: IdentifiabilityParams) -> list[str]:
    """The files that the model is read from, and the options file."""
    options = [] if params.options_file in (None, NO_FILE) else [str(params.options_file)]
    return [*input_files(params.model), *options]


def setup() -> None:
    """Load numpy and flint once, before workers fork."""
    import batchmill.workloads.identifiability.analysis  # noqa: F401


@task(
    name="identifiability",
    version=f"4-{bundled_digest()}",
    mode="process",
    timeout=300,
    reuse="any",
    metrics=metrics,
    metric_columns=(
        Metric("n_unknowns", label="unknowns"),
        Metric("rank", label="rank"),
        Metric("observability_rank", label="observability rank"),
        Metric("nullspace_dimension", label="null-space dimension", better="lower"),
        Metric("derivative_order", label="derivative order"),
        Metric("identifiable_count", label="identifiable parameters", better="higher"),
        Metric("combinations_found", label="combinations found", better="higher"),
        Metric("combinations_expected", label="combinations expected"),
        Metric("error_probability", label="error probability", better="lower"),
        Metric("engine_s", unit="s", label="engine time", better="lower"),
    ),
    expand=expand,
    inputs=inputs,
    setup=setup,
    report=report,
)
def identifiability(params: IdentifiabilityParams, ctx: Context) -> IdentifiabilityResult:
    """Which parameters and initial states of an ODE model can be told, locally, from its inputs and outputs."""
    from batchmill.workloads.identifiability.analysis import analyse

    started = time.perf_counter()
    try:
        model = assuming(find_model(params.model), params, params.options_file)
        verdict = analyse(model, ctx.seed)
        spent = time.perf_counter() - started
        result = IdentifiabilityResult(
            **_lists(model, verdict),
            model=model.name,
            configuration=label_of(params.options_file),
            n_unknowns=verdict.n_unknowns,
            rank=verdict.rank,
            nullspace_dimension=verdict.n_unknowns - verdict.rank,
            derivative_order=verdict.order,
            error_probability=verdict.error_probability,
            engine_s=spent,
            **_further(model, verdict, params, ctx.seed),
        )
    except Unsupported as error:
        raise ManifestError(str(error), code="model/unsupported") from None
    if params.pictures:
        _keep_pictures(model, ctx)
    if params.check:
        compare(result, model)
    return result


def _keep_pictures(model: Model, ctx: Context) -> None:
    from batchmill.workloads.identifiability.pictures import draw

    for name, content in draw(model, ctx.seed).items():
        ctx.artifact(name, content)


def _lists(model: Model, verdict: Verdict) -> dict[str, list[str]]:
    known = verdict.identifiable
    states = () if model.options.parameters_only else model.states
    return {
        "locally_identifiable_parameters": [p for p in model.parameters if p in known],
        "nonidentifiable_parameters": [p for p in model.parameters if p not in known],
        "known_parameters": list(model.known_parameters),
        "observable_states": [s for s in states if s in known],
        "unobservable_states": [s for s in states if s not in known],
        "observable_unknown_inputs": [w for w in model.unknown_inputs if w in verdict.reconstructible],
    }


def _further(model: Model, verdict: Verdict, params: IdentifiabilityParams, seed: int) -> dict[str, Any]:
    """The parts of a result that are asked for: combinations, symmetries, advice, global identifiability."""
    found: dict[str, Any] = {}
    hidden = [p for p in model.parameters if p not in verdict.identifiable]
    if params.combinations:
        found |= _combinations(model, seed) if hidden else _NO_COMBINATIONS
    if params.symmetries:
        found |= _symmetries(model, verdict, seed)
    if params.advice:
        from batchmill.workloads.identifiability.advice import advise

        found["advice"] = asdict(advise(model, seed=seed))
    if params.global_check is not False:
        from batchmill.workloads.identifiability.global_identifiability import DEFAULT_TIME_LIMIT, classify

        limit = DEFAULT_TIME_LIMIT if params.global_check is True else params.global_check
        found["global_identifiability"] = classify(model, seed=seed, time_limit=limit).as_dict()
    return found


_NO_COMBINATIONS: dict[str, Any] = {
    "identifiable_combinations": [],
    "combinations_found": 0,
    "combinations_expected": 0,
}


def _combinations(model: Model, seed: int) -> dict[str, Any]:
    from batchmill.workloads.identifiability.combinations import find

    found = find(model, seed=seed)
    return {
        "identifiable_combinations": list(found.functions),
        "combinations_found": found.found,
        "combinations_expected": found.expected if found.components else None,
    }


def _symmetries(model: Model, verdict: Verdict, seed: int) -> dict[str, Any]:
    if verdict.rank == verdict.n_unknowns:
        return {"symmetries": [], "proved_nonidentifiable": []}
    from batchmill.workloads.identifiability.symmetries import find

    found = find(model, seed=seed)
    moved = {name for symmetry in found for name in symmetry.moves} - verdict.identifiable
    names = model.parameters if model.options.parameters_only else (*model.parameters, *model.states)
    return {
        "symmetries": [asdict(symmetry) for symmetry in found],
        "proved_nonidentifiable": [name for name in names if name in moved],
    }
