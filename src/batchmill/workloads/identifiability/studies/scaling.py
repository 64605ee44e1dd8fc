"""The task `identifiability-scaling`: one analysis of a model of a given size, or of several sizes, and what it took.

What the sizes say together is in `scaling_report`.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from batchmill import ManifestError, Metric, Permanent, task
from batchmill.workloads.identifiability.catalogue import bundled_digest, check_reference, find_model, input_files
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.studies.families import FAMILIES, MAX_SIZE, copies
from batchmill.workloads.identifiability.studies.scaling_report import report, summarise

if TYPE_CHECKING:
    from batchmill import Context

Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]


class Generated(BaseModel):
    """A family of models, or copies of one; `factors` are sizes that one job goes through."""

    model_config = ConfigDict(extra="forbid")

    family: Literal["chain", "ring", "seir_n", "random_network"] | None = None
    base: str | None = Field(None, description="the model that is copied: a bundled one or a file")
    coupling: Literal["none", "chain"] = Field("none", description="whether neighbouring copies exchange")
    seed: int = Field(0, description="of a random network")
    factors: list[Size] = Field(default_factory=list)

    @field_validator("base")
    @classmethod
    def _exists(cls, value: str | None) -> str | None:
        return None if value is None else check_reference(value)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.family is None) == (self.base is None):
            raise ValueError("give a `family` or a `base`")
        return self

    @property
    def label(self) -> str:
        """What is generated, without its size."""
        seed = f" (seed {self.seed})" if self.family == "random_network" else ""
        return f"{self.family}{seed}" if self.base is None else f"{self.base}, coupling {self.coupling}"

    def make(self, size: int) -> Model:
        """The model of this size. Raises ManifestError."""
        if self.base is not None:
            return copies(find_model(self.base).resolved(), size, self.coupling)
        return FAMILIES[self.family or ""](size, self.seed)


def _named(value: Any) -> Any:
    """A text names a family, or a model to be copied without coupling."""
    if isinstance(value, str):
        return {"family": value} if value in FAMILIES else {"base": value}
    return value


class ScalingParams(BaseModel):
    """What grows, and how large it is: `size`, or the `factors` of the model, one after the other."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[
        Generated,
        BeforeValidator(_named),
        WithJsonSchema({"type": ["string", "object"]}),
    ] = Field(description="a family's name, a model's name, or `family` or `base` with `coupling`, `seed`, `factors`")
    size: Size | None = None
    repeats: int = Field(3, ge=1, le=100, description="analyses of each size; the median time counts")

    @model_validator(mode="after")
    def _sized(self) -> Self:
        if (self.size is None) == (not self.model.factors):
            raise ValueError("give a `size`, or `factors` in the model")
        return self


class Point(BaseModel):
    """One size: what the model is, what was found, what it took."""

    size: int
    states: int
    parameters: int
    n_unknowns: int
    rank: int
    nullspace_dimension: int
    derivative_order: int
    engine_s: float = Field(description="seconds: the median of the repeats, building the circuit included")
    memory_bytes: int = Field(description="by how much the peak of resident memory rose; 0 when it did not")


class ScalingResult(BaseModel):
    """The points of one job."""

    label: str
    points: list[Point]


def metrics(result: ScalingResult) -> dict[str, Any]:
    """The numbers of the largest point."""
    return max(result.points, key=lambda point: point.size).model_dump()


def inputs(params: ScalingParams) -> list[str]:
    """The files that the base model is read from."""
    base = params.model.base
    return input_files(base) if base is not None else []


@task(
    name="identifiability-scaling",
    version=f"1-{bundled_digest()}",
    mode="process",
    timeout=600,
    reuse="any",
    metrics=metrics,
    metric_columns=(
        Metric("size"),
        Metric("n_unknowns", label="unknowns"),
        Metric("rank"),
        Metric("derivative_order", label="derivative order"),
        Metric("engine_s", unit="s", label="engine time", better="lower"),
        Metric("memory_bytes", unit="bytes", label="memory", better="lower"),
    ),
    inputs=inputs,
    summarise=summarise,
    report=report,
)
def scaling(params: ScalingParams, ctx: Context) -> ScalingResult:
    """How the analysis grows with the size of a model."""
    sizes = [params.size] if params.size is not None else params.model.factors
    points = []
    for number, size in enumerate(sizes):
        try:
            points.append(measure(params.model.make(size), size, params.repeats, ctx.seed))
        except Unsupported as error:
            raise ManifestError(f"size {size}: {error}", code="model/unsupported") from None
        ctx.progress(number + 1, len(sizes))
    return ScalingResult(label=params.model.label, points=points)


def measure(model: Model, size: int, repeats: int, seed: int) -> Point:
    """One point. Raises Unsupported, and Permanent when two repeats disagree."""
    from batchmill.workloads.identifiability.analysis import analyse

    before, times, verdicts = _resident(), [], []
    for repeat in range(repeats):
        started = time.perf_counter()
        verdicts.append(analyse(model, seed + repeat))
        times.append(time.perf_counter() - started)
    if len({verdict.rank for verdict in verdicts}) > 1:
        raise Permanent(f"`{model.name}`: repeats at other random points disagree on the rank")
    verdict = verdicts[0]
    return Point(
        size=size,
        states=len(model.states),
        parameters=len(model.parameters),
        n_unknowns=verdict.n_unknowns,
        rank=verdict.rank,
        nullspace_dimension=verdict.n_unknowns - verdict.rank,
        derivative_order=verdict.order,
        engine_s=median(times),
        memory_bytes=max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before),
    )


def _resident() -> int:
    """Bytes of this process in memory (`man 5 proc`)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
