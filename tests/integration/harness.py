"""A user's folder: manifests and code in it, commands run there as processes of their own, ledgers read from outside.

Nothing here reaches into the engine. Every wait has a deadline, and whatever a test started is ended with it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

import batchmill.cli.app

PATIENCE = 40.0  # seconds for anything at all
MARK = "BATCHMILL_TEST_MARK"
WORK = Path(__file__).with_name("work.py")


class Ended(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class Project:
    """A folder with `work.py` (see there), in which commands run as a user runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self._started: list[subprocess.Popen[str]] = []
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(WORK, folder / "work.py")

    # --- writing

    def write(self, name: str, content: str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def manifest(self, function: str | None = None, *, file: str = "batch.yaml", **values: Any) -> str:
        """A manifest of the `python` task that calls a function of `work.py`, unless `values` say otherwise."""
        values.setdefault("task", "python")
        if function is not None:
            values["defaults"] = {"function": f"work:{function}", **values.get("defaults", {})}
        self.write(file, yaml.safe_dump(values, sort_keys=False))
        return file

    # --- running

    @property
    def environment(self) -> dict[str, str]:
        """That of a user who has set nothing."""
        unset = ("BATCHMILL_HOME", "NO_COLOR", "CI", "PYTHONPATH")
        return {**{k: v for k, v in os.environ.items() if k not in unset}, MARK: self.mark}

    def start(self, *argv: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A command in the background."""
        return self.spawn("-m", "batchmill", *argv, environment=environment)

    def spawn(self, *argv: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A Python process in the background, in a process group of its own as a shell would make it."""
        process = subprocess.Popen(
            [sys.executable, *map(str, argv)],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for a command."""
        out, err = process.communicate(timeout=PATIENCE)
        return Ended(process.returncode, out, err)

    def call(self, *argv: str | Path, environment: Mapping[str, str] | None = None) -> Ended:
        """A command, to its end, in this process: what it starts are real processes, and Python starts only once."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**self.environment, **(environment or {})}, clear=True),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = batchmill.cli.app.run([str(word) for word in argv])
        return Ended(code, out.getvalue(), err.getvalue())

    def run(self, file: str = "batch.yaml", *options: str, code: int | None = 0) -> Ended:
        """`batchmill run`, to its end, which must be `code`."""
        ended = self.call("run", file, "--output", "quiet", *options)
        assert code is None or ended.code == code, ended
        return ended

    def python(self, text: str, *argv: str, code: int | None = 0, name: str = "script.py") -> Ended:
        """A script of the user's, to its end."""
        ended = self.end(self.spawn(self.write(name, textwrap.dedent(text)), *argv))
        assert code is None or ended.code == code, ended
        return ended

    # --- looking

    @property
    def home(self) -> Path:
        """The home of this folder."""
        return self.folder / ".batchmill"

    def run_folder(self, run: str = "batch-1") -> Path:
        """The folder of a run."""
        return self.home / "runs" / run

    def rows(self, query: str, run: str = "batch-1") -> list[tuple[Any, ...]]:
        """What the ledger answers; nothing while there is none."""
        ledger = self.run_folder(run) / "ledger.db"
        if not ledger.exists():
            return []
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=5)) as connection:
            try:
                return connection.execute(query).fetchall()
            except sqlite3.OperationalError:  # its tables are only just being made
                return []

    def states(self, run: str = "batch-1") -> dict[str, str]:
        """The state of each job by name; of a failed one its kind."""
        return dict(self.rows("SELECT name, coalesce(kind, state) FROM jobs ORDER BY number", run))

    def counts(self, run: str = "batch-1") -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(self.rows("SELECT state, count(*) FROM jobs GROUP BY state", run))

    def run_state(self, run: str = "batch-1") -> tuple[str, str]:
        """The run's state and reason."""
        ((state, reason),) = self.rows("SELECT state, reason FROM run", run)
        return state, reason

    def results(self, run: str = "batch-1") -> dict[str, Any]:
        """The results by job."""
        rows = self.rows("SELECT name, result FROM jobs WHERE result IS NOT NULL ORDER BY number", run)
        return {name: json.loads(result) for name, result in rows}

    def log(self, run: str = "batch-1") -> str:
        """The run's own log so far."""
        path = self.run_folder(run) / "run.log"
        return path.read_text() if path.exists() else ""

    def done(self, file: str = "done.txt") -> list[str]:
        """What jobs told by `work.tell`, in the order told."""
        path = self.folder / file
        return path.read_text().splitlines() if path.exists() else []

    def processes(self) -> list[int]:
        """Living processes that descend from a command of this project."""
        mark = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (
                        mark in (entry / "environ").read_bytes()
                        and b"\nState:\tZ" not in (entry / "status").read_bytes()
                    ):
                        found.append(int(entry.name))
                except OSError:  # it ended just now, or is somebody else's
                    continue
        return found

    def children_of(self, pid: int) -> list[int]:
        """Living children of a process of this project."""
        return [one for one in self.processes() if _parent(one) == pid]

    def no_process_is_left(self) -> bool:
        """Whether everything that descends from the commands of this project ends soon."""
        return wait_for(lambda: not self.processes(), at_most=10)

    def clean_up(self) -> None:
        """End whatever a test left running."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._started:
            process.communicate(timeout=PATIENCE)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended just now
        return 0


def wait_for(condition: Callable[[], Any], *, at_most: float = PATIENCE) -> bool:
    """Whether a condition comes true in time."""
    until = time.monotonic() + at_most
    while not (value := condition()):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)  # a poll: nobody tells another process's reader
    return bool(value)
