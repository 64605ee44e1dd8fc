"""The hooks of a task that run in a worker like a job: `prepare`, `summarise`, `report`, and offloaded functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.executors.messages import Work
from batchmill.executors.offload import run_packed
from batchmill.executors.runner import InvalidJob, Runner, to_json

if TYPE_CHECKING:
    from batchmill.executors.attempt import Environment
    from batchmill.executors.context import Context


def run(work: Work, runner: Runner | None, environment: Environment, context: Context) -> tuple[bytes, bytes | None]:
    """What the hook returns, as JSON (an offloaded function: packed). Raises InvalidJob when there is no such hook."""
    if work.hook == "offload":
        return run_packed(work.payload or b""), None
    if runner is None:
        raise InvalidJob(f"there is no task `{work.task}`")
    hook = getattr(runner.task, work.hook, None) if work.hook in ("prepare", "summarise", "report") else None
    if hook is None:
        raise InvalidJob(f"task `{work.task}` has no `{work.hook}`")
    return to_json(_call(work, hook, environment, context)), None


def _call(work: Work, hook: Callable[..., Any], environment: Environment, context: Context) -> Any:
    reader = environment.jobs_reader if work.hook == "prepare" else environment.results_reader
    records = _records(reader, environment.run_folder, work.task)
    return hook(records) if work.hook == "report" else hook(records, context)


def _records(reader: str, folder: Path, task: str) -> Iterator[Any]:
    """What `module:function` iterates over for this run, as far as it is of this task."""
    module, _, function = reader.partition(":")
    records: Iterable[Any] = getattr(importlib.import_module(module), function)(folder)
    return (record for record in records if getattr(record, "task", task) == task)
