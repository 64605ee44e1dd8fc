"""Tasks and commands as plug-ins: how they are found, made from functions, and loaded in a worker.

`registry` finds and loads, `making` makes a Task from a function, `source` tells where a function is found again,
`code` reads source without importing it. What a Task is stands in `batchmill.model.tasks`.
Loaded lazily: listing commands needs neither pydantic nor the making of tasks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.plugins.entries import command_plugins
    from batchmill.plugins.making import make_task
    from batchmill.plugins.registry import find, load, refuse_inside_import, task_names
    from batchmill.plugins.source import source_of

__all__ = ["command_plugins", "find", "load", "make_task", "refuse_inside_import", "source_of", "task_names"]

_HOMES = {"command_plugins": "entries", "make_task": "making", "source_of": "source"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'registry')}"), name)
