"""The public API is what is listed here; a change of it is a decision, not an accident."""

from __future__ import annotations

import subprocess
import sys

import pytest

import batchmill

PUBLIC = [
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


def test_the_public_names_are_the_pinned_ones() -> None:
    assert sorted(batchmill.__all__) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had_and_says_what_it_is(name: str) -> None:
    value = getattr(batchmill, name)
    if callable(value):
        assert value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        batchmill.nothing  # noqa: B018


@pytest.mark.parametrize("heavy", ["numpy", "rich", "typer", "asyncio", "sqlite3", "pydantic"])
def test_importing_the_package_loads_nothing_heavy(heavy: str) -> None:
    code = f"import batchmill, sys; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
