"""`task: shell`: values are data to the shell, failures carry exit code and last words."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.errors import PlanError
from batchmill.manifest.document import from_values
from batchmill.plan.plan import build
from batchmill.plugins import find
from batchmill.workloads.basic.commands import CommandFailed, arguments_of

CONTEXT = SimpleNamespace(attempt=2, seed=11, idempotency_key="same")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(command: str | list[str], **params: Any) -> Any:
    task = find("shell")
    return task.call(task.params(command=command, **params), CONTEXT)


def output(command: str | list[str], **params: Any) -> str:
    return str(run(command, **params)["stdout"])


@pytest.mark.parametrize(
    "place",
    [
        "{x}",
        "'{x}'",
        '"{x}"',
        "'it'\\''s'{x}",
        "a\\'{x}",
        '"\\"{x}"',
        "'' # don't\nprintf %s {x}",
        '"it\'s {x}"',
        "'#'{x}",
    ],
)
def test_a_value_is_one_word_wherever_it_stands(place: str) -> None:
    value = """a  b'c"d$(id)`id`;\\*"""
    with_value, without = (output(f"printf %s {place}", x=text) for text in (value, "VALUE"))
    assert with_value == without.replace("VALUE", value)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_no_value_is_read_as_code(value: str) -> None:
    done = subprocess.run(arguments_of("printf %s {x}", {"x": value}), capture_output=True, check=True)
    assert done.stdout.decode() == value


def test_other_braces_are_left_alone() -> None:
    assert output("""echo a b | awk '{print $2}'; echo ${HOME:+home} {{x}} '{"a": {"b": 1}}'""", x=1) == (
        'b\nhome {x} {"a": {"b": 1}}\n'
    )


def test_values_are_spelled_as_in_the_manifest() -> None:
    assert output("echo {a} {b} {c} {d} {e}", a=1, b=0.1, c=True, d=[1, "x"], e=None) == '1 0.1 true [1,"x"] \n'


def test_a_list_of_words_runs_without_a_shell() -> None:
    assert output(["echo", "$HOME {x}", "{{x}}"], x="a; b") == "$HOME a; b {x}\n"


def test_a_failure_tells_the_exit_code_and_the_last_lines_of_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandFailed) as caught:
        run("echo out; for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3")
    assert str(caught.value) == "exit code 3: line 3\nline 4\nline 5\nline 6\nline 7"
    captured = capfd.readouterr()
    assert captured.out == "out\n"
    assert captured.err.startswith("line 1\nline 2\n")


def test_a_command_that_is_killed_names_the_signal() -> None:
    with pytest.raises(CommandFailed, match="ended by SIGKILL"):
        run("kill -9 $$")


def test_the_result_may_be_a_json_file() -> None:
    assert run('echo "{\\"n\\": {n}, \\"nan\\": NaN}" > out_{n}.json', result="out_{n}.json", n=5)["n"] == 5


def test_a_result_of_an_earlier_run_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("1")
    with pytest.raises(CommandFailed, match=r"did not write its result `out\.json`"):
        run("true", result="out.json")


def test_the_end_of_a_long_output_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    found = output("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done")
    assert found.endswith("line 2999\n")
    assert len(found) < 20_000
    assert capfd.readouterr().out.startswith("line 0\n")


def test_a_child_that_outlives_the_command_is_not_waited_for() -> None:
    found = run("sleep 30 & echo $!")
    assert subprocess.run(["kill", shlex.quote(found["stdout"].strip())], check=False).returncode == 0


def test_the_job_is_known_to_the_command() -> None:
    assert output("echo $BATCHMILL_ATTEMPT $BATCHMILL_SEED $BATCHMILL_IDEMPOTENCY_KEY") == "2 11 same\n"


def test_a_placeholder_without_parameter_is_told_before_anything_runs() -> None:
    values = {"task": "shell", "jobs": [{"params": {"command": "echo {nam}", "name": "x"}}]}
    with pytest.raises(PlanError, match=r"there is no parameter for `\{nam\}`"):
        build(from_values(values), find)
