"""Plug-ins are found by entry point; a broken one is named."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from batchmill.errors import TaskError
from batchmill.model.tasks import Task
from batchmill.plugins import command_plugins, find, registry, task_names
from batchmill.plugins import entries as plugin_entries
from batchmill.plugins.entries import Entry
from batchmill.workloads import basic


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        Entry("good", "tests.plugins.test_source:decorated", "batchmill.tasks"),
        Entry("plain", "tests.plugins.test_source:plain", "batchmill.tasks"),
        Entry("number", "math:pi", "batchmill.tasks"),
        Entry("broken", "no_such_package_here:task", "batchmill.tasks"),
        Entry("status", "json:dumps", "batchmill.commands"),
    ]

    def entry_points(group: str, name: str | None = None) -> list[Entry]:
        return [e for e in entries if e.group == group and name in (None, e.name)]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr(plugin_entries, "entry_points", entry_points)


def test_our_own_tasks_come_in_through_the_same_door() -> None:
    assert {"python", "shell", "identifiability"} <= set(task_names())
    assert find("shell").params is basic.shell.params


def test_listing_names_imports_no_task() -> None:
    code = "import sys, batchmill.plugins as p; p.task_names(); print('batchmill.workloads' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


@pytest.mark.usefixtures("plugged")
def test_a_task_goes_by_the_name_of_its_entry_point() -> None:
    task = find("good")
    assert isinstance(task, Task)
    assert (task.name, task.version) == ("good", "3")
    assert task.source is not None
    assert (task.source.kind, task.source.name) == ("entry", "good")
    assert find("plain").name == "plain"


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("goood", "unknown task `goood`", "did you mean `good`?"),
        ("xyzzy", "unknown task `xyzzy`", "installed tasks: `broken`, `good`, `number`, `plain`"),
        ("broken", "the task `broken` does not import: ModuleNotFoundError", None),
        ("number", "the plug-in `number` (math:pi) is not a task", "make it with `@batchmill.task`"),
    ],
)
def test_what_is_wrong_with_a_plug_in_is_told(name: str, message: str, hint: Any) -> None:
    with pytest.raises(TaskError) as caught:
        find(name)
    assert caught.value.message.startswith(message)
    assert caught.value.hint == hint


@pytest.mark.usefixtures("plugged")
def test_commands_are_imported_only_when_called() -> None:
    [(name, command)] = command_plugins()
    assert name == "status"
    assert command().__name__ == "dumps"
