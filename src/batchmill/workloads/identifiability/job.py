"""The task `identifiability`: its parameters, its result, and how a job is done. The mathematics is in `analysis`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from batchmill import Invalid, ManifestError, Metric, Permanent, task
from batchmill.workloads.identifiability.catalogue import (
    bundled_digest,
    check_reference,
    find_model,
    input_files,
    list_models,
)
from batchmill.workloads.identifiability.expressions import ExpressionError
from batchmill.workloads.identifiability.loading import (
    InputDerivatives,
    KnownInitialConditions,
    input_derivatives,
    known_values,
)
from batchmill.workloads.identifiability.model import Model, Unsupported

if TYPE_CHECKING:
    from batchmill import Context

_COMPARED = (
    "n_unknowns",
    "rank",
    "nullspace_dimension",
    "locally_identifiable_parameters",
    "nonidentifiable_parameters",
    "observable_states",
    "unobservable_states",
)


class IdentifiabilityParams(BaseModel):
    """Which model, and what is assumed: options given here replace those of the model file."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="a bundled model's name, a model file, or `file.yaml#id`")
    nonzero_input_derivatives: InputDerivatives = Field(
        None, description="0: constant inputs, 1: ramps, `generic`: any function of time"
    )
    known_initial_conditions: KnownInitialConditions = Field(
        None, description="state -> exact value, or a list of states whose value is known but generic"
    )
    check: bool = Field(False, description="fail when the verdict differs from the model's `expected` block")

    repeat: int = Field(0, ge=0, description="tells repetitions apart: each looks at other random points")

    @field_validator("model")
    @classmethod
    def _exists(cls, value: str) -> str:
        return check_reference(value)


class IdentifiabilityResult(BaseModel):
    """The verdict. *Locally* identifiable: finitely many values fit. A state is its initial value here."""

    model: str
    n_unknowns: int = Field(description="initial values that are not given, and parameters")
    rank: int = Field(description="of the observability-identifiability matrix")
    nullspace_dimension: int
    locally_identifiable_parameters: list[str]
    nonidentifiable_parameters: list[str]
    observable_states: list[str]
    unobservable_states: list[str]
    derivative_order: int = Field(description="the highest derivative of the outputs that added to the rank")
    engine_s: float = Field(description="seconds that the analysis took")


def metrics(result: IdentifiabilityResult) -> Mapping[str, Any]:
    """The numbers of a result, and how many parameters are identifiable."""
    numbers = {name: value for name, value in result.model_dump().items() if isinstance(value, int | float)}
    return {**numbers, "identifiable_count": len(result.locally_identifiable_parameters)}


def expand(path: str) -> list[dict[str, Any]] | Invalid:
    """One job for each model in a file."""
    try:
        return [{"model": reference} for reference in list_models(path)]
    except ManifestError as error:
        return Invalid(error.message)


def inputs(params: IdentifiabilityParams) -> list[str]:
    """The files that the model is read from."""
    return input_files(params.model)


def setup() -> None:
    """Load numpy and flint once, before workers fork."""
    import batchmill.workloads.identifiability.analysis  # noqa: F401


@task(
    name="identifiability",
    version=f"1-{bundled_digest()}",
    mode="process",
    timeout=300,
    reuse="any",
    metrics=metrics,
    metric_columns=(
        Metric("n_unknowns", label="unknowns"),
        Metric("rank", label="rank"),
        Metric("nullspace_dimension", label="null-space dimension", better="lower"),
        Metric("derivative_order", label="derivative order"),
        Metric("identifiable_count", label="identifiable parameters", better="higher"),
        Metric("engine_s", unit="s", label="engine time", better="lower"),
    ),
    expand=expand,
    inputs=inputs,
    setup=setup,
)
def identifiability(params: IdentifiabilityParams, ctx: Context) -> IdentifiabilityResult:
    """Which parameters and initial states of an ODE model can be told, locally, from its inputs and outputs."""
    from batchmill.workloads.identifiability.analysis import analyse

    started = time.perf_counter()
    try:
        model = _with_options(find_model(params.model), params)
        verdict = analyse(model, ctx.seed)
    except Unsupported as error:
        raise ManifestError(str(error), code="model/unsupported") from None
    known = verdict.identifiable
    result = IdentifiabilityResult(
        model=model.name,
        n_unknowns=verdict.n_unknowns,
        rank=verdict.rank,
        nullspace_dimension=verdict.n_unknowns - verdict.rank,
        locally_identifiable_parameters=[p for p in model.parameters if p in known],
        nonidentifiable_parameters=[p for p in model.parameters if p not in known],
        observable_states=[s for s in model.states if s in known],
        unobservable_states=[s for s in model.states if s not in known],
        derivative_order=verdict.order,
        engine_s=time.perf_counter() - started,
    )
    if params.check:
        _compare(result, model)
    return result


def _with_options(model: Model, params: IdentifiabilityParams) -> Model:
    """The model under the job's options. Raises ManifestError for values that do not fit it."""
    options = model.options
    if params.nonzero_input_derivatives is not None:
        options = replace(options, nonzero_input_derivatives=input_derivatives(params.nonzero_input_derivatives))
    given = params.known_initial_conditions
    if given is not None:
        unknown = [state for state in given if state not in model.states]
        if unknown:
            raise ManifestError(
                f"`known_initial_conditions` names `{unknown[0]}`, which is not a state of `{model.name}`",
                hint=f"its states are {', '.join(model.states)}",
            )
        try:
            options = replace(options, known=known_values(given))
        except ExpressionError as error:
            raise ManifestError(f"`known_initial_conditions`: {error.message}") from None
    return replace(model, options=options)


def _compare(result: IdentifiabilityResult, model: Model) -> None:
    """Raises Permanent when the verdict is not as the model's `expected` block says."""
    if not model.expected:
        raise Permanent(f"`{model.name}` has no `expected` block to check")
    found = result.model_dump()
    differences = []
    for name in _COMPARED:
        expected = model.expected.get(name, found[name])
        same = set(expected) == set(found[name]) if isinstance(expected, list) else expected == found[name]
        if not same:
            differences.append(f"{name} is {_spelt(found[name])}, expected {_spelt(expected)}")
    if differences:
        raise Permanent(f"`{model.name}`: {'; '.join(differences)}")


def _spelt(value: Any) -> str:
    return f"[{', '.join(value)}]" if isinstance(value, list) else str(value)
