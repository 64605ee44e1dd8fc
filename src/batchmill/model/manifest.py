"""The manifest as validated values. Its text form, with lines and columns, is read in `batchmill.manifest`.

Field descriptions are the manifest reference: the docs and the JSON Schema are generated from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from batchmill.model import units
from batchmill.model.limits import Failures, Rate


def _unit(read: Callable[[Any], Any], title: str, example: str, *types: str) -> tuple[BeforeValidator, WithJsonSchema]:
    return BeforeValidator(read), WithJsonSchema({"title": title, "type": list(types), "examples": [example]})


Duration = Annotated[float, *_unit(units.duration, "duration", "300s", "string", "number")]
Grace = Annotated[float, *_unit(units.grace, "duration", "5s", "string", "number")]
Size = Annotated[int, *_unit(units.size, "size", "2GB", "string", "number")]
Money = Annotated[int, *_unit(units.money, "amount of money", "5 USD", "string", "number")]
RateText = Annotated[Rate, *_unit(units.rate, "rate", "30/min", "string")]
FailuresText = Annotated[Failures, *_unit(units.failures, "number of failures", "10%", "string", "integer")]
Number = Annotated[int | float, PlainValidator(units.number), WithJsonSchema({"type": "number"})]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Params = dict[str, Any]


class _Section(BaseModel):
    # built when first used: a section is part of the manifest, and seldom stands alone
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, defer_build=True)


class BackoffSection(_Section):
    """How long to wait before the next attempt: `min(max, base * factor ** (n - 1))`, with jitter."""

    base: Duration = Field(1.0, description="wait after the first failure")
    factor: float = Field(2.0, ge=1.0, allow_inf_nan=False, description="each further wait is this much longer")
    max: Duration = Field(60.0, description="no wait is longer")
    jitter: Literal["full", "none"] = Field("full", description="`full`: a random share of the wait")


class RetrySection(_Section):
    """Which failures are tried again, and how often."""

    attempts: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="all tries of a job; default 1 for `error` and `invalid`, 3 for `timeout` and `crashed`",
    )
    on: list[str] | None = Field(
        None, description="failure kinds (`timeout`, `crashed`, ...) or exception class names to retry"
    )
    backoff: BackoffSection = Field(default_factory=BackoffSection, description="the waits between attempts")
    max_elapsed: Duration | None = Field(None, description="no new attempt later than this after the first")


class QuotaSection(_Section):
    """What an outside service admits for one quota that metered calls name."""

    rate: RateText | None = Field(None, description="calls, such as `600/min`")
    tokens: RateText | None = Field(None, description="tokens, such as `90000/min`")
    concurrency: int | None = Field(None, ge=1, description="calls in flight; default: what serves best, as measured")
    burst: float | None = Field(
        None, ge=1, allow_inf_nan=False, description="calls at once after a rest; default: learned"
    )
    day_requests: int | None = Field(None, ge=1, description="calls in a day of UTC")
    day_tokens: int | None = Field(None, ge=1, description="tokens in a day of UTC")


def _form(value: Any) -> str:
    return "<mapping>" if isinstance(value, dict | BaseModel) else "<list>" if isinstance(value, list) else "<plain>"


# the tags tell pydantic which form was meant, so that it complains about that one only
_FORM = Discriminator(_form)
Concurrency = Annotated[Annotated[Count, Tag("<plain>")] | Annotated[dict[str, Count], Tag("<mapping>")], _FORM]
Pattern = Annotated[Annotated[str, Tag("<plain>")] | Annotated[list[str], Tag("<list>")], _FORM]


class LimitsSection(_Section):
    """What the run may use."""

    workers: int | None = Field(None, ge=1, le=4096, description="worker processes; default: usable cores")
    concurrency: Concurrency | None = Field(
        None, description="async jobs in flight (default 100), or a mapping: group -> its jobs in flight"
    )
    timeout: Duration | None = Field(None, description="time of one attempt; its process tree is killed then")
    memory: Size | None = Field(None, description="resident memory of one attempt's process tree")
    total_memory: Size | None = Field(
        None, description="resident memory of all workers; default 80% of the machine or cgroup"
    )
    budget: Money | None = Field(None, description="money for metered calls, such as `5 USD`")
    budget_per_day: Money | None = Field(
        None, description="money that metered calls of all your runs may cost in a day (UTC) before this one stops"
    )
    budgets: dict[str, Money] = Field(
        default_factory=dict, description="money for the calls of one quota, or of all that begin so: `openai/gpt-5`"
    )
    max_failures: FailuresText | None = Field(
        None, description="stop after so many failed jobs, or a share such as `10%` (from 20 finished on)"
    )
    deadline: Duration | None = Field(None, description="stop this long after the start of this invocation")
    rate: RateText | None = Field(None, description="attempts started, such as `30/min`")
    quotas: dict[str, QuotaSection] = Field(
        default_factory=dict, description="limits of metered calls, by quota or by what its name begins with: `openai`"
    )
    kill_grace: Grace = Field(0.0, description="time between SIGTERM and SIGKILL at a timeout; 0 kills at once")
    jobs_per_worker: int | None = Field(None, ge=1, description="a worker is replaced after so many jobs")
    worker_growth: Size | None = Field(
        None, description="a worker is replaced when its resting memory grew by this much"
    )


NO_SOURCE: Final = "a file set needs `directory`, `paths` or `from`"


def _need_a_source(schema: dict[str, Any]) -> None:
    text, texts = {"type": "string"}, {"minItems": 1}
    sources = (("directory", text), ("paths", texts), ("from", text))
    schema["anyOf"] = [{"required": [key], "properties": {key: shape}} for key, shape in sources]


class FilesSection(_Section):
    """Input files: one job a file (or, for tasks that look inside, one job a piece of it)."""

    model_config = ConfigDict(json_schema_extra=_need_a_source)

    directory: str | None = Field(None, description="folder to search, relative to the manifest")
    pattern: Pattern = Field("*", description="glob (or several) of file names")
    paths: list[str] = Field(default_factory=list, description="files named one by one")
    from_: str | None = Field(None, alias="from", description="a text file with one path a line")
    as_: str = Field("path", alias="as", description="the parameter that takes the path")
    recursive: bool = Field(False, description="search below the folder too")
    exclude: list[str] = Field(default_factory=list, description="globs of names or relative paths to leave out")
    min_size: Size | None = Field(None, description="leave out smaller files")
    max_size: Size | None = Field(None, description="leave out larger files")
    modified_since: str | None = Field(None, description="leave out older files: a date, or a time ago: `7d`")
    hidden: bool = Field(False, description="also files and folders whose name begins with a dot")
    group: str | None = Field(None, description="template of the job's group: `{path}`, `{stem}`, `{folder}`")

    @model_validator(mode="after")
    def _some_source(self) -> FilesSection:
        if self.directory is None and not self.paths and self.from_ is None:
            raise PydanticCustomError("no_source", NO_SOURCE)
        return self


class JobSection(_Section):
    """One job, named and described by hand."""

    name: Name | None = Field(None, description="unique in the run; default: made from the parameters")
    params: Params = Field(default_factory=dict, description="parameters, over the `defaults`")
    task: str | None = Field(None, description="another task than the manifest's")
    timeout: Duration | None = Field(None, description="over `limits.timeout`")
    memory: Size | None = Field(None, description="over `limits.memory`")
    retry: RetrySection | None = Field(None, description="over the manifest's `retry`")
    priority: int = Field(0, ge=-(10**6), le=10**6, description="higher runs first")
    group: str | None = Field(None, description="counts, progress and concurrency are kept per group")


class RangeAxis(_Section):
    """Whole or decimal numbers from `start` up to, but without, `stop`."""

    range: list[Number] = Field(min_length=1, max_length=3, description="[stop], [start, stop] or with step")

    def bounds(self) -> tuple[int | float, int | float, int | float]:
        """Start, stop and step."""
        first, *rest = self.range
        start, stop = (first, rest[0]) if rest else (0, first)
        return start, stop, rest[1] if len(rest) > 1 else 1

    @property
    def count(self) -> int:
        """How many numbers; 0 when the range is empty or its step is 0."""
        start, stop, step = (Decimal(str(bound)) for bound in self.bounds())
        return max(0, math.ceil((stop - start) / step)) if step else 0

    def at(self, index: int) -> int | float:
        """The number at an index from 0; decimal fractions stay exact (the fourth of 0, 0.1, ... is 0.3)."""
        start, _, step = self.bounds()
        if isinstance(start, int) and isinstance(step, int):
            return start + index * step
        return float(Decimal(str(start)) + index * Decimal(str(step)))


Axis = Annotated[Annotated[list[Any], Tag("<list>")] | Annotated[RangeAxis, Tag("<mapping>")], _FORM]


class MatrixSection(_Section):
    """Every combination of the axes' values."""

    axes: dict[str, Axis] = Field(default_factory=dict, description="parameter -> its values")
    paired: dict[str, Axis] = Field(
        default_factory=dict, description="parameters whose values advance together, as one further axis"
    )
    base_params: Params = Field(default_factory=dict, description="parameters of every combination")
    include: list[Params] = Field(default_factory=list, description="further combinations")
    exclude: list[Params] = Field(default_factory=list, description="combinations to leave out")
    name: str | None = Field(None, description="name template, such as `m_{axis}_{axis:.2f}`")
    group: str | None = Field(None, description="group template, such as `{axis}`")


class TableSection(_Section):
    """One job a row; columns are parameters, or `name, task, timeout, memory, retry, priority, group`."""

    from_: str = Field(
        alias="from",
        description="a .csv (with `,`, `;` or tabs: what its first line has most of), .jsonl or .xlsx file",
    )
    sheet: str | None = Field(None, description="sheet of an .xlsx file; default: the first")
    name: str | None = Field(None, description="name template over the columns")


class ReportSection(_Section):
    """What is written into the run's folder at its end."""

    formats: list[Literal["json", "csv", "md"]] = Field(
        ["json", "csv", "md"],
        description="`summary.json`, `results.csv`, `report.md`",
    )


class Manifest(_Section):
    """A batch: what to run, on which jobs, within which limits."""

    name: Name | None = Field(None, description="the name of its runs; default: the file's stem")
    task: str | None = Field(None, description="what is done for each job")
    defaults: Params = Field(default_factory=dict, description="parameters of every job")
    limits: LimitsSection = Field(default_factory=LimitsSection, description="what the run may use")
    retry: RetrySection = Field(default_factory=RetrySection, description="which failures are tried again")
    files: FilesSection | None = Field(None, description="input files; combined with the matrix as a product")
    jobs: list[JobSection] = Field(default_factory=list, description="jobs described one by one")
    matrix: MatrixSection | None = Field(None, description="combinations of values")
    table: TableSection | None = Field(None, description="one job a row of a table")
    order: Literal["plan", "group"] = Field("plan", description="`group`: one group ends before the next begins")
    seed: int = Field(0, ge=0, lt=2**63, description="seeds `ctx.seed`, `random` and `numpy.random` of every job")
    reuse: Literal["any", "name", "never"] | None = Field(
        None, description="whose results count as done; default: what the task declares"
    )
    durability: Literal["power", "process"] = Field(
        "power", description="`power`: results survive a power cut; `process`: any kill of processes"
    )
    output: str | None = Field(None, description="folder for exports, relative to the manifest")
    report: ReportSection = Field(default_factory=ReportSection, description="files written at the end")
