"""Entry points of plug-ins, and the commands among them. Light: `batchmill --help` lists commands with it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from batchmill.errors import TaskError

COMMANDS = "batchmill.commands"


def command_plugins() -> list[tuple[str, Callable[[], Any]]]:
    """Commands that plug-ins bring: each a name and a function that imports it, which may raise TaskError."""
    entries = sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name)
    return [(entry.name, lambda entry=entry: imported(entry, "command")) for entry in entries]  # type: ignore[misc]


def imported(entry: EntryPoint, what: str) -> Any:
    """What an entry point names. Raises TaskError, with the reason and what to install, when it does not import."""
    try:
        return entry.load()
    except Exception as error:  # importing a plug-in runs its code
        origin = f" of `{entry.dist.name}`" if entry.dist is not None else ""
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        ours = entry.value.startswith("batchmill.") and missing and not missing.startswith("batchmill")
        raise TaskError(
            f"the {what} `{entry.name}`{origin} does not import: {type(error).__name__}: {error}",
            hint=f"install what it needs: `pip install 'batchmill[{entry.name}]'`" if ours else None,
            code="task/broken",
        ) from error
