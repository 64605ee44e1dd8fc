"""Going on with a run from what its folder keeps: the manifest as it was, what was set over it, where its tasks are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchmill import plugins
from batchmill.api.batch import Batch, TaskBook
from batchmill.api.managing import find
from batchmill.api.running import Finished, Invocation, invoke
from batchmill.errors import UsageError
from batchmill.ledger.lease import acquire
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from batchmill.ledger.records import RunRow
from batchmill.live.base import Display
from batchmill.manifest.document import from_values
from batchmill.manifest.yaml_source import read_yaml
from batchmill.model.tasks import Task, TaskSource
from batchmill.plan.plan import build


def resume(home: Path, reference: str, invocation: Invocation, display: Display) -> Finished:
    """Continue a run, whether or not it is the newest of its name.

    Raises RunNotFound, RunHeld, and UsageError when its code, settings or input files have changed since its planning,
    or when its functions live only in the Python session that started it.
    """
    paths = find(home, reference)
    with LedgerReader(paths.ledger) as reader:
        row = reader.run()
    batch = _stored_batch(paths, row)
    if batch.plan.digest != row.plan_digest:
        raise UsageError(
            f"code, settings, tables or input files of run `{paths.id}` have changed since it was planned",
            hint="`batchmill run` starts the next run of that name, which takes over what is still valid",
            code="run/changed",
        )
    with acquire(paths) as lease:
        return invoke(paths, lease, batch, invocation, display, (), lambda run, session: None)


def _stored_batch(paths: RunPaths, row: RunRow) -> Batch:
    told = json.loads(row.provenance)
    given = {name: _loaded(paths, name, source) for name, source in told.get("tasks", {}).items() if _is_own(source)}
    overrides = tuple(told.get("overrides", ()))
    document = from_values(
        read_yaml(paths.manifest).value, folder=row.folder, name=row.name, overrides=overrides, known_tasks=tuple(given)
    )
    return Batch(document, build(document, TaskBook(given)), overrides)


def _is_own(source: Mapping[str, Any]) -> bool:
    """Whether a task is a function of the user's, rather than an installed plug-in."""
    return bool(source["kind"] != "entry")


def _loaded(paths: RunPaths, name: str, source: Mapping[str, Any]) -> Task:
    if source["kind"] == "pickle":
        raise UsageError(
            f"the function `{name}` of run `{paths.id}` lives only in the Python session that started it",
            hint="run the same code again: it continues the run",
            code="run/session-only",
        )
    place = TaskSource(source["kind"], source["name"], source["attribute"], b"", tuple(source["search_path"]))
    return plugins.load(place)
