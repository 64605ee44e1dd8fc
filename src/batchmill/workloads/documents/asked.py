"""What a user asks for at the terminal, as the values of a manifest: shared by `documents` and `generate documents`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill import UsageError
from batchmill.workloads.documents import templates

if TYPE_CHECKING:
    from batchmill.llm.settings import Settings

TASK = "documents"
IN_A_BATCH = 5000  # files that wait for one batch, where they go in batches
_LARGEST_SCHEMA = 1_000_000  # bytes


@dataclass(frozen=True)
class Asked:
    """The words and flags of a command. `params` are the job's parameters that were given, by name."""

    words: Sequence[str]
    as_files: bool = False  # every word is a file, also one that is not there
    files: dict[str, Any] = field(default_factory=dict)  # pattern, exclude, sizes, dates
    params: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    name: str | None = None


def at_once(settings: Settings) -> int:
    """Files in work at one time: where they go in batches, as many as make a large one."""
    return settings.max_concurrent if settings.lane == "live" else max(settings.max_concurrent, IN_A_BATCH)


def values(asked: Asked, settings: Settings) -> dict[str, Any]:
    """The values of the manifest. Raises UsageError when no file or no question is named."""
    from batchmill.llm.settings import time_for_a_file

    params = {name: value for name, value in asked.params.items() if value is not None}
    if not params.keys() & {"prompt", "template", "questions"}:
        names = ", ".join(f"`{name}`" for name in templates.shipped())
        raise UsageError(
            "nothing is asked about the documents", hint=f"add `--prompt '...'`, or `--template` with one of {names}"
        )
    limits = {"concurrency": at_once(settings), "timeout": time_for_a_file(settings, params.get("model"))}
    given = {name: value for name, value in asked.limits.items() if value is not None}
    return {
        "name": asked.name or TASK,
        "task": TASK,
        "defaults": {"model": settings.model, **params},
        "limits": limits | given,
        "files": _files(asked, settings),
    }


def _files(asked: Asked, settings: Settings) -> dict[str, Any]:
    folders = [] if asked.as_files else [word for word in asked.words if Path(word).is_dir()]
    paths = [word for word in asked.words if word not in folders]
    chosen = {name: value for name, value in asked.files.items() if value is not None}
    if len(folders) > 1:
        raise UsageError("one folder at a time", hint=f"`{folders[0]}` first, or name the files: `--files A B C`")
    if not folders and not paths:
        raise UsageError("which documents?", hint="name a folder, or files: `--files a.txt b.pdf`")
    if not folders and not asked.as_files and (missing := [path for path in paths if not Path(path).exists()]):
        raise UsageError(f"there is no file or folder `{missing[0]}`", hint="with `--files` it counts as skipped")
    found: dict[str, Any] = {"as": "file"}
    if folders:
        found |= {"directory": folders[0], "pattern": settings.default_pattern, "recursive": True, **chosen}
    elif chosen:
        raise UsageError(f"`{next(iter(chosen))}` chooses among the files of a folder", hint="name a folder too")
    if paths:
        found["paths"] = paths
    return found


def read_schema(path: str) -> Any:
    """The JSON Schema in a file. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read(_LARGEST_SCHEMA))
    except OSError as error:
        raise UsageError(f"cannot read the schema `{path}`: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"`{path}` is not JSON: {error}", hint="a schema is written as JSON Schema") from None
