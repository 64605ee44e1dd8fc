"""`batchmill doctor`: what this machine offers, and what would keep Batchmill from working here."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.cli.options import HomeOption, OutputOption
from batchmill.cli.output import Output, tell

if TYPE_CHECKING:
    from batchmill.report.page import Page

EXAMPLE = "  batchmill doctor\n  batchmill doctor --home /data/runs"
_EXTRAS = {"identifiability": ("numpy", "flint"), "tables": ("openpyxl",), "frames": ("pandas",)}


def doctor_command(output: OutputOption = Output.HUMAN, home: HomeOption = None) -> int:
    """Say what this machine offers, and what stands in the way.

    The exit code is 5 when no run can be kept in the home.
    """
    from batchmill.api.runs import home_path

    place = home_path(home)
    facts = {**_machine(), **_software(), "home": _home(place)}
    problem = facts["home"]["problem"]
    tell(output, facts, lambda: _page(facts))
    return 5 if problem else 0


def _machine() -> dict[str, Any]:
    from batchmill.driver.host import look

    host = look()
    return {
        "cores": host.cores,
        "memory_bytes": host.memory,
        "available_bytes": host.available,
        "cgroup": {"memory_bytes": host.cgroup_memory, "cores": host.cgroup_cores},
    }


def _software() -> dict[str, Any]:
    import platform
    import sqlite3

    from batchmill import __version__
    from batchmill.plugins import task_names

    return {
        "batchmill": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "process_tasks": sys.platform == "linux",
        "sqlite": sqlite3.sqlite_version,
        "tasks": task_names(),
        "extras": {extra: all(find_spec(name) for name in names) for extra, names in _EXTRAS.items()},
    }


def _home(place: Path) -> dict[str, Any]:
    """Where runs are kept: its file system, free bytes, and why it cannot be used. The home is not made."""
    import os
    import shutil

    from batchmill.errors import HomeError
    from batchmill.ledger.filesystems import file_system_of, refuse_network

    existing = next(folder for folder in (place, *place.parents) if folder.is_dir())
    mounts = Path("/proc/self/mountinfo")
    kind = file_system_of(existing.resolve(), mounts.read_text("utf-8", "replace")) if mounts.exists() else ""
    problem = "" if os.access(existing, os.W_OK) else f"`{existing}` cannot be written"
    try:
        refuse_network(place)
    except HomeError as error:
        problem = error.message
    free = shutil.disk_usage(existing).free
    return {"path": str(place), "exists": place.is_dir(), "file_system": kind, "free_bytes": free, "problem": problem}


def _page(facts: dict[str, Any]) -> Page:
    from batchmill.report.page import Page

    page = Page()
    page.pairs(_rows(facts))
    return page


def _rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    from batchmill.model.text import counted, size_text

    cgroup, home = facts["cgroup"], facts["home"]
    memory = f"{size_text(facts['memory_bytes'])}, of which {size_text(facts['available_bytes'])} are available"
    limits = [size_text(cgroup["memory_bytes"])] if cgroup["memory_bytes"] else []
    limits += [counted(cgroup["cores"], "core")] if cgroup["cores"] else []
    extras = [f"{name} ({'installed' if there else 'not installed'})" for name, there in facts["extras"].items()]
    there = "" if home["exists"] else ", not made yet"
    return [
        ("cores", facts["cores"]),
        ("memory", memory),
        ("control group", ", ".join(limits) or "no limits"),
        ("batchmill", facts["batchmill"]),
        ("python", facts["python"]),
        ("platform", facts["platform"]),
        (
            "process tasks",
            "supported" if facts["process_tasks"] else "not supported here: use `--inline` or async tasks",
        ),
        ("sqlite", facts["sqlite"]),
        ("tasks", ", ".join(facts["tasks"]) or "none installed"),
        ("extras", ", ".join(extras)),
        ("home", f"{home['path']} ({home['file_system'] or 'unknown file system'}{there})"),
        ("free space", size_text(home["free_bytes"])),
        ("verdict", home["problem"] or "ready"),
    ]
