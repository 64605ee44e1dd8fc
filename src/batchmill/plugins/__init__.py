"""Tasks and commands as plug-ins: how they are found, made from functions, and loaded in a worker.

`registry` finds and loads, `making` makes a Task from a function, `source` tells where a function is found again,
`code` reads source without importing it. What a Task is stands in `batchmill.model.tasks`.
"""

from batchmill.plugins.making import make_task
from batchmill.plugins.registry import command_plugins, find, load, refuse_inside_import, task_names
from batchmill.plugins.source import source_of

__all__ = ["command_plugins", "find", "load", "make_task", "refuse_inside_import", "source_of", "task_names"]
