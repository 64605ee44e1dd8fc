"""`resume` and `retry` go by what the run's folder keeps, wherever the run came from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MODULE, Call

SCRIPT = """
import batchmill

def double(x: int) -> int:
    return 2 * x

if __name__ == "__main__":
    batchmill.run({function}, name="doubles", matrix={{"axes": {{"x": [1, 2, 3]}}}}, limit=1, progress=False)
"""


def run_script(folder: Path, function: str) -> None:
    """Run a script that starts a batch and does one of its jobs."""
    (folder / "doubles.py").write_text(SCRIPT.format(function=function))
    subprocess.run([sys.executable, "doubles.py"], cwd=folder, check=True, timeout=60)


def test_a_run_goes_on_that_a_script_began(call: Call, tmp_path: Path) -> None:
    run_script(tmp_path, "double")
    assert call("resume", "doubles", "--output", "json").json["success_count"] == 3


def test_functions_of_a_session_stay_there(call: Call, tmp_path: Path) -> None:
    run_script(tmp_path, "lambda x: 2 * x")
    said = call("resume", "last")
    assert said.code == 2
    assert "lives only in the Python session" in said.err


def test_overrides_are_kept(call: Call, squares: Path) -> None:
    call("run", squares, "--name", "mine", "--only", "two", "--set", "jobs[2].params.fail=false")
    said = call("resume", "mine", "--output", "json")
    assert (said.code, said.json["run"], said.json["success_count"]) == (0, "mine-1", 3)


def test_an_older_run_of_a_name_goes_on_too(call: Call, squares: Path) -> None:
    call("run", squares, "--only", "two")
    call("run", squares, "--only", "two", "--set", "defaults.x=7")
    call("run", squares, "--only", "two", "--set", "jobs[1].params.x=5")
    assert call("resume", "squares-1", "--output", "json").json["run"] == "squares-1"
    assert call("ls", "--output", "json").json["runs"][0]["state"] == "finished"


def test_changed_code_is_not_mixed_into_a_run(call: Call, squares: Path, tmp_path: Path) -> None:
    call("run", squares, "--only", "two")
    (tmp_path / "squares.py").write_text(MODULE.replace("x * x", "x ** 2"))
    said = call("resume", "last")
    assert said.code == 2
    assert "have changed since it was planned" in said.err
    assert "`batchmill run` starts the next run" in said.err


@pytest.mark.parametrize("command", ["resume", "retry"])
def test_a_finished_run_without_failures_has_nothing_to_do(call: Call, squares: Path, command: str) -> None:
    call("run", squares, "--set", "jobs[2].params.fail=false")
    said = call(command, "last")
    assert said.code == 0
    assert "nothing to do" in said.err or "no job has failed" in said.out
