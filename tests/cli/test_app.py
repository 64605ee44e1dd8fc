"""Help, usage errors, unexpected errors: what holds for every command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill.cli import app, gc
from tests.cli.conftest import Call

HARMLESS = [command for command in app.COMMANDS if command not in ("init", "run", "resume", "retry")]
FLAGS = ("output", "home", "set", "limit", "format", "stable", "attempt", "follow", "yes", "failed", "help")
RUNS = ("show", "export", "resume", "retry")


@pytest.mark.parametrize("command", app.COMMANDS)
def test_every_command_explains_itself_with_an_example(call: Call, command: str) -> None:
    said = call(command, "--help")
    assert said.code == 0
    assert "Example:" in said.out
    assert f"batchmill {command}" in said.out.partition("Example:")[2]
    for option in ("--output", "--home", "BATCHMILL_HOME"):
        assert option in said.out
    assert said.err == ""


def test_a_wrong_folder_is_all_that_is_said_about_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("BATCHMILL_MODEL", "local/smollm2")
    said = call("documents", "NOFOLDER", "--prompt", "x")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error[usage]: there is no file or folder `NOFOLDER`")


def test_what_waits_for_the_end_of_a_command_comes_before_it() -> None:
    code = (
        "import atexit, sys, threading, batchmill._leaving as leaving; leaving.prepare()\n"
        "atexit.register(lambda: print('handler'))\n"
        "threading.Thread(target=lambda: (threading.main_thread().join(), print('thread'))).start()\n"
        "sys.stderr.write('told'); leaving.end(7)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "thread\nhandler\n", "told")


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(call: Call, argv: tuple[str, ...]) -> None:
    said = call(*argv)
    assert said.code == 0
    assert [name for name in app.COMMANDS if not re.search(rf"^  {name}  ", said.out, re.MULTILINE)] == []


def test_the_version_is_told(call: Call) -> None:
    from batchmill import __version__

    assert call("--version").out == f"batchmill {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["rnu"], "there is no command `rnu`", "did you mean `run`?"),
        (["frobnicate"], "there is no command `frobnicate`", "`batchmill --help` lists the commands"),
        (["--verson"], "`batchmill` has no option `--verson`", "did you mean `--version`?"),
        (["check", "--outptu"], "`batchmill check` has no option `--outptu`", "did you mean `--output`?"),
        (["check"], "missing argument `FILE`", "`batchmill check --help` shows what it takes"),
        (["plan", "x.yaml", "--limit", "many"], "invalid value for `--limit`", ""),
        (["ls", "--output", "xml"], "invalid value for `--output`", ""),
        (["ls", "extra"], "got unexpected extra argument", ""),
        (["check", "absent.yaml"], "cannot read `absent.yaml`: no such file", "check the path"),
        (["check", "."], "cannot read `.`: is a directory", ""),
        (["run", "absent.yaml"], "cannot read `absent.yaml`", ""),
        (["plan", "absent.yaml"], "cannot read `absent.yaml`", ""),
        (["init", "pyhton"], "there is no task `pyhton`", "did you mean `python`?"),
        (["export", "last", "--format", "xml"], "unknown format `xml`", ""),
        (["export", "last", "--format", "json,csv"], "only one format fits on stdout", "-o"),
        *[([command, "last"], "there are no runs", "") for command in RUNS],
        (["cancel", "last/x"], "there are no runs", ""),
        (["rm", "last", "--yes"], "there are no runs", ""),
        (["verify"], "there are no runs", ""),
        (["logs", "last", "--attempt", "0"], "invalid value for `--attempt`", ""),
    ],
)
def test_wrong_input_gives_one_clear_message(call: Call, argv: list[str], message: str, hint: str) -> None:
    said = call(*argv)
    assert said.code == 2
    assert said.out == ""
    assert message in said.err
    assert hint in said.err
    assert said.err.count("error[") == 1
    assert "Traceback" not in said.err


@pytest.mark.parametrize("flag", [["--output", "json"], ["--output=json"]])
def test_errors_are_json_for_programs(call: Call, flag: list[str]) -> None:
    said = call("show", "nothing", *flag)
    error = json.loads(said.err)["error"]
    assert said.code == 2
    assert error["code"] == "run/not-found"
    assert error["message"]
    assert error["hint"]
    assert error["problems"] == []


def test_problems_of_a_manifest_come_with_their_places(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("task: shell\nlimits: {wrokers: 2}\njobs: [{params: {command: ls}}]\n")
    said = call("check", "bad.yaml")
    assert said.code == 2
    assert "bad.yaml:2:10" in said.err
    assert "did you mean `workers`?" in said.err
    (problem,) = json.loads(call("check", "bad.yaml", "--output", "json").err)["error"]["problems"]
    assert (problem["line"], problem["column"]) == (2, 10)


@pytest.mark.parametrize("override", ["workers", "limits.workers=x", "limits.workers.x=1", "jobs[9].name=x", "=1"])
def test_a_wrong_override_is_shown_with_a_caret(call: Call, squares: Path, override: str) -> None:
    said = call("check", squares, "--set", override)
    assert said.code == 2
    assert "--set" in said.err
    assert "^" in said.err


def test_a_defect_leaves_its_traceback_in_a_file(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("by \x1b[31mnought")

    monkeypatch.setattr(gc, "gc_command", broken)
    said = call("gc")
    assert said.code == 4
    assert "ZeroDivisionError: by nought" in said.err
    assert "Traceback" not in said.err
    written = Path(re.search(r"`(\S+\.txt)`", said.err)[1])  # type: ignore[index]
    assert "ZeroDivisionError" in written.read_text()
    written.unlink()


_WORDS = st.one_of(
    st.sampled_from([*(f"--{flag}" for flag in FLAGS), "-o", "-f", "--", "last", "a/b", "json", "quiet", "1", "10%"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), max_size=20),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(HARMLESS), st.lists(_WORDS, max_size=5))
def test_no_command_line_is_a_defect(call: Call, command: str, words: list[str]) -> None:
    said = call(command, *words)
    assert said.code in (0, 2, 5)
    assert "Traceback" not in said.err
    assert said.code == 0 or said.err or said.out


def test_an_interrupt_outside_a_run_is_130(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gc, "gc_command", interrupted)
    assert call("gc").code == 130


def test_an_interrupt_that_became_another_error_is_130(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise ValueError("Error building `model` serializer: KeyboardInterrupt: ")

    monkeypatch.setattr(gc, "gc_command", interrupted)
    assert call("gc").code == 130


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    code = "import sys, time\nsys.stdin.readline()\nfrom batchmill.cli.app import run\nsys.exit(run(['schema']))"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    child.stdin.write("go\n")
    child.stdin.close()
    assert child.stderr.read() == ""
    child.stderr.close()
    assert child.wait(30) == app.BROKEN_PIPE


def test_commands_of_plug_ins_are_found(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(name: str) -> int:
        """Greet somebody."""
        print(f"hello {name}")
        return 3

    monkeypatch.setattr(app, "_plugins", lambda: [("greet", lambda: greet)])
    said = call("greet", "you")
    assert (said.code, said.out) == (3, "hello you\n")
    assert "Greet somebody" in call("--help").out


def test_help_does_not_import_what_commands_need() -> None:
    code = (
        "import sys; from batchmill.cli.app import run; run(['--help']);"
        "heavy = {'numpy', 'pydantic', 'sqlite3', 'yaml', 'rich.console'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_error(closed: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m batchmill --help {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 0
    assert b"error" not in done.stderr


def test_a_full_disk_behind_stdout_is_no_defect() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "batchmill", "schema"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 5
    assert done.stderr.startswith(b"error[disk/unwritable]: stdout or a temporary file cannot be written: no space")
