"""Batchmill runs a batch: many similar, expensive jobs, described once, run within limits, kept through any kill.

    >>> import batchmill
    >>> run = batchmill.run(fn, matrix={"axes": {"x": [1, 2, 3]}}, workers=2)     # doctest: +SKIP
    >>> [outcome.value for outcome in run.results()]                               # doctest: +SKIP

Everything public is a name of this module, loaded when it is first used; modules below it may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchmill._lazy import lazily
from batchmill._version import __version__

if TYPE_CHECKING:
    from batchmill.api.mapping import map
    from batchmill.api.running import run
    from batchmill.api.runs import JobOutcome, Run, open_run
    from batchmill.errors import (
        BatchmillError,
        JobFailed,
        LedgerError,
        ManifestError,
        Permanent,
        PlanError,
        Problem,
        RetryLater,
        RunHeld,
        RunNotFound,
        Skip,
        TaskError,
        UsageError,
    )
    from batchmill.executors.context import Context
    from batchmill.manifest.yaml_source import read_yaml
    from batchmill.model.jobs import Job
    from batchmill.model.limits import QuotaLimit, Rate, Retry
    from batchmill.model.near import did_you_mean
    from batchmill.model.tasks import Bound, Estimate, InputFile, Invalid, Metric, ShortName, Task
    from batchmill.model.units import duration as parse_duration
    from batchmill.model.units import rate as parse_rate
    from batchmill.model.units import size as parse_size
    from batchmill.plugins import make_task as task
    from batchmill.plugins.code import project_digest as source_digest
    from batchmill.plugins.code import signature_of as function_signature
    from batchmill.plugins.entries import Entry, entry_points

_HOMES = {
    "run": "api.running",
    "map": "api.mapping",
    "open_run": "api.runs",
    "Run": "api.runs",
    "JobOutcome": "api.runs",
    "task": "plugins:make_task",
    "Context": "executors.context",
    "Job": "model.jobs",
    "Task": "model.tasks",
    "Bound": "model.tasks",
    "Estimate": "model.tasks",
    "InputFile": "model.tasks",
    "Invalid": "model.tasks",
    "Metric": "model.tasks",
    "ShortName": "model.tasks",
    "QuotaLimit": "model.limits",
    "Rate": "model.limits",
    "Retry": "model.limits",
    "read_yaml": "manifest.yaml_source",
    "parse_duration": "model.units:duration",
    "parse_rate": "model.units:rate",
    "parse_size": "model.units:size",
    "did_you_mean": "model.near",
    "Entry": "plugins.entries",
    "entry_points": "plugins.entries",
    "source_digest": "plugins.code:project_digest",
    "function_signature": "plugins.code:signature_of",
    "BatchmillError": "errors",
    "JobFailed": "errors",
    "LedgerError": "errors",
    "ManifestError": "errors",
    "Permanent": "errors",
    "PlanError": "errors",
    "Problem": "errors",
    "RetryLater": "errors",
    "RunHeld": "errors",
    "RunNotFound": "errors",
    "Skip": "errors",
    "TaskError": "errors",
    "UsageError": "errors",
}

__all__ = [  # noqa: RUF022 - in the order in which a reader wants them
    "run",
    "map",
    "open_run",
    "Run",
    "JobOutcome",
    "task",
    "Context",
    "Job",
    "Task",
    "Bound",
    "Estimate",
    "InputFile",
    "Invalid",
    "Metric",
    "ShortName",
    "QuotaLimit",
    "Rate",
    "Retry",
    "read_yaml",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "did_you_mean",
    "source_digest",
    "function_signature",
    "Entry",
    "entry_points",
    "BatchmillError",
    "JobFailed",
    "LedgerError",
    "ManifestError",
    "Permanent",
    "PlanError",
    "Problem",
    "RetryLater",
    "RunHeld",
    "RunNotFound",
    "Skip",
    "TaskError",
    "UsageError",
    "__version__",
]

__getattr__, __dir__ = lazily(__name__, _HOMES, __all__)
