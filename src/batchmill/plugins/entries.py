"""Entry points of plug-ins, and the commands among them. Light: `batchmill --help` lists commands with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

COMMANDS = "batchmill.commands"
EARLY = "batchmill.early"  # functions that import what the task or command of that name will need in its workers


class Entry(NamedTuple):
    """One name that an installed distribution offers. `value` is its `module:attribute`."""

    name: str
    value: str
    group: str
    distribution: str = ""
    version: str = ""  # of the distribution

    def load(self) -> Any:
        """What it names, imported."""
        module, _, path = self.value.partition("[")[0].strip().partition(":")
        found: Any = import_module(module.strip())
        for attribute in filter(None, path.strip().split(".")):
            found = getattr(found, attribute)
        return found


def entry_points(*, group: str, name: str | None = None) -> list[Entry]:
    """The entries of one of our groups; of a distribution that is installed twice, those of the first one.

    Reads a tenth of what `importlib.metadata.entry_points` reads: only files that name a group of ours.
    """
    found: dict[str, tuple[Entry, ...]] = {}
    for folder in dict.fromkeys(entry or "." for entry in sys.path):
        try:
            changed = os.stat(folder).st_mtime_ns
        except OSError:
            continue
        for distribution, entries in _offered(folder, changed):
            found.setdefault(distribution, entries)
    return [e for entries in found.values() for e in entries if e.group == group and name in (None, e.name)]


@lru_cache(maxsize=64)
def _offered(folder: str, changed: int) -> tuple[tuple[str, tuple[Entry, ...]], ...]:
    """What each distribution in a folder of `sys.path` offers to us. `changed` is when the folder last did."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))
    except OSError:  # an archive, or nothing
        return ()
    return tuple((_plain(name), tuple(_entries(os.path.join(folder, name)))) for name in names)


def _plain(folder: str) -> str:
    """The name of a distribution, as names are compared."""
    return folder.rpartition(".")[0].partition("-")[0].lower().replace(".", "_")


def _entries(metadata: str) -> Iterator[Entry]:
    try:
        with open(os.path.join(metadata, "entry_points.txt"), encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return
    if "[batchmill." not in text:
        return
    distribution, _, version = os.path.basename(metadata).rpartition(".")[0].partition("-")
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]").strip()
        elif group.startswith("batchmill.") and "=" in line and line[0] != "#":
            name, _, value = line.partition("=")
            yield Entry(name.strip(), value.strip(), group, distribution, version)


def command_plugins() -> list[tuple[str, Callable[[], Any]]]:
    """Commands that plug-ins bring: each a name and a function that imports it, which may raise TaskError."""
    entries = sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name)
    return [(entry.name, lambda entry=entry: imported(entry, "command")) for entry in entries]  # type: ignore[misc]


def imported(entry: Entry, what: str) -> Any:
    """What an entry point names. Raises TaskError, with the reason and what to install, when it does not import."""
    try:
        return entry.load()
    except Exception as error:  # importing a plug-in runs its code
        from batchmill.errors import TaskError

        origin = f" of `{entry.distribution}`" if entry.distribution else ""
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        ours = entry.value.startswith("batchmill.") and missing and not missing.startswith("batchmill")
        raise TaskError(
            f"the {what} `{entry.name}`{origin} does not import: {type(error).__name__}: {error}",
            hint=f"install what it needs: `pip install 'batchmill[{entry.name}]'`" if ours else None,
            code="task/broken",
        ) from error
