"""Where workers find a function, and when its version changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import TaskError
from batchmill.model.tasks import TaskSource
from batchmill.plugins import load, make_task, registry, source_of
from batchmill.plugins.source import code_digest


def plain(x: int) -> int:
    return x + 1


@make_task(name="decorated", version="3")
def decorated(x: int) -> int:
    return x * 2


def closure(n: int) -> Any:
    return lambda x: x + n


def test_a_function_of_a_module_is_found_by_name() -> None:
    source = source_of(plain)
    assert (source.kind, source.name, source.attribute) == ("module", __name__, "plain")
    task = load(source)
    assert task.call(task.params(x=1)) == 2
    assert task.version == make_task(plain).version


def test_a_decorated_function_is_found_as_the_task_that_it_is() -> None:
    assert decorated.source is not None
    assert (decorated.source.kind, decorated.source.attribute) == ("module", "decorated")
    assert load(decorated.source).name == "decorated"


def test_options_that_the_module_does_not_hold_travel_with_the_function() -> None:
    made = make_task(plain, name="other", version="9", metrics=lambda result: {"result": result})
    assert made.source is not None
    assert made.source.kind == "pickle"
    task = load(made.source)
    assert (task.name, task.version) == ("other", "9")
    assert task.metrics is not None
    assert task.metrics(3) == {"result": 3}


@pytest.mark.parametrize("function", [lambda x: x + 1, closure(1)])
def test_lambdas_and_closures_are_pickled(function: Any) -> None:
    source = source_of(function)
    assert source.kind == "pickle"
    task = load(source)
    assert task.call(task.params(x=1)) == 2


def test_the_code_is_the_version_of_a_closure_not_its_place() -> None:
    assert code_digest(closure(1)) == code_digest(closure(1))
    assert code_digest(closure(1)) != code_digest(closure(2))
    assert code_digest(lambda x: x + 1) == code_digest(lambda x: x + 1)
    assert code_digest(lambda x: x + 1) != code_digest(lambda x: x + 2)
    assert code_digest(lambda x, y=1: x) != code_digest(lambda x, y=2: x)
    assert code_digest(lambda x: x in {"a", "b"}) != code_digest(lambda x: x in {"a", "c"})
    assert code_digest(lambda x: [i for i in x]) != code_digest(lambda x: [-i for i in x])  # noqa: C416


def test_what_a_function_of_a_session_calls_is_part_of_its_version() -> None:
    def version(helper: str) -> str:
        session: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def helper(x): return {helper}\ndef f(x): return helper(x)", session)
        return code_digest(session["f"])

    assert version("x") == version("x")
    assert version("x") != version("-x")


def test_recursive_functions_have_a_version() -> None:
    def countdown(n: int) -> int:
        return n and countdown(n - 1)

    assert len(code_digest(countdown)) == 32


SCRIPT = """
import sys
from batchmill.plugins import make_task, source_of, load, refuse_inside_import

def double(x: int) -> int:
    return 2 * x

def start():
    refuse_inside_import()
    source = source_of(double)
    assert source.kind == "file", source
    task = load(source)
    print(task.call(task.params(x=4)), task.fn.__module__, task.version == make_task(double).version)
"""


def run_script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(text)
    command = [sys.executable, str(script)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=os.sep, timeout=60)


def test_a_function_of_the_running_script_is_found_by_importing_it_under_another_name(tmp_path: Path) -> None:
    done = run_script(tmp_path, SCRIPT + 'if __name__ == "__main__":\n    start()\n')
    assert done.stdout.split() == ["8", "__batchmill_main__", "True"], done.stderr


def test_a_function_of_a_session_travels_with_what_it_uses() -> None:
    session = (
        "import sys\nfrom batchmill.plugins import source_of\n"
        "def helper(x): return 3 * x\ndef triple(x: int): return helper(x)\n"
        "source = source_of(triple)\nassert source.kind == 'pickle'\nsys.stdout.buffer.write(source.payload)"
    )
    payload = subprocess.run([sys.executable, "-c", session], capture_output=True, check=True, timeout=60).stdout
    task = load(TaskSource("pickle", "triple", payload=payload))
    assert task.call(task.params(x=2)) == 6


def test_a_script_without_main_guard_is_told_to_add_one(tmp_path: Path) -> None:
    text = SCRIPT + "try:\n    start()\nexcept Exception as e:\n    print(e, '|', e.hint)\n    raise\n"
    done = run_script(tmp_path, text)
    assert "`script.py` starts a batch whenever it is imported" in done.stdout
    assert '`if __name__ == "__main__":`' in done.stdout


def test_a_script_that_does_not_import_says_why(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise RuntimeError('no data here')")
    with pytest.raises(TaskError, match="RuntimeError: no data here"):
        load(TaskSource("file", str(script), "f"))
    assert registry.SCRIPT not in sys.modules
    sys.path.remove(str(tmp_path))


def test_a_name_that_a_worker_does_not_find_is_named() -> None:
    with pytest.raises(TaskError, match="`nothing`"):
        load(TaskSource("module", __name__, "nothing"))
    with pytest.raises(TaskError, match="does not import"):
        load(TaskSource("module", "no_such_module_here", "f"))
