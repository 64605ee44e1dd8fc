"""What all runs of a user have in common: real processes at once against one limit, and one day's money."""

from __future__ import annotations

import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.harness import Project, wait_for

STAMPING = """
import json, sys
import batchmill
from tests.integration import tasks

task = batchmill.task(tasks.stamp, name="stamp", version="1", mode="async")

if __name__ == "__main__":
    name, jobs, limits = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    matrix = {"axes": {"x": {"range": [jobs]}}}
    run = batchmill.run(task, name=name, matrix=matrix, defaults={"folder": "."}, limits=limits, progress=False)
    sys.exit(run.exit_code)
"""
RATE = 30.0


@pytest.fixture
def path(project: Project) -> Path:
    return project.write("stamping.py", STAMPING)


def _environment(project: Project) -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parents[2]), "XDG_STATE_HOME": str(project.folder / "state")}


def _stamps(project: Project) -> list[tuple[float, str]]:
    return sorted((float(at), process) for process, at in (line.split() for line in project.done("stamps.txt")))


def test_four_processes_together_use_one_limit_to_the_full_and_no_more(project: Project, path: Path) -> None:
    limits = f'{{"quotas": {{"service": {{"rate": "{60 * RATE:g}/min"}}}}}}'
    environment = _environment(project)
    runs = [project.spawn(path, f"run{n}", "60", limits, environment=environment) for n in range(4)]
    ended = [project.end(run) for run in runs]
    assert [run.code for run in ended] == [0, 0, 0, 0], ended

    stamps = _stamps(project)
    assert len(stamps) == 240
    level = least = 0.0  # of a token bucket that starts full and must never be empty
    for (before, _), (at, _) in pairwise(stamps):
        level = min(0.0, level - 1 + (at - before) * RATE)
        least = min(least, level)
    assert -least < RATE  # a second's worth, which services that count by the second hold
    assert 239 / (stamps[-1][0] - stamps[0][0]) >= 0.95 * RATE
    busy = Counter(process for _, process in stamps[60:180])
    assert len(busy) >= 3


def test_two_runs_and_a_kill_never_spend_more_than_the_day_s_budget(project: Project, path: Path) -> None:
    limits = '{"budget_per_day": "0.40 USD", "concurrency": 10, "quotas": {"service": {"concurrency": 4}}}'
    environment = _environment(project)
    killed = project.spawn(path, "killed", "200", limits, environment=environment)
    assert wait_for(lambda: len(project.done("stamps.txt")) >= 5)
    killed.send_signal(signal.SIGKILL)
    killed.wait(20)
    assert project.no_process_is_left()

    runs = [project.spawn(path, name, "200", limits, environment=environment) for name in ("killed", "other")]
    ended = [project.end(run) for run in runs]

    assert [run.code for run in ended] == [3, 3], ended
    assert project.run_state("other-1") == ("stopped", "day's budget spent")
    assert 40 - 8 <= len(project.done("stamps.txt")) <= 40


def test_a_damaged_book_is_warned_of_once_and_limits_hold_for_each_run(project: Project) -> None:
    state = project.folder / "state/batchmill/quota.db"
    project.write("state/batchmill/quota.db", "no database")
    project.write("calling.py", "def call(x, ctx):\n    with ctx.call(quota='q'):\n        return x\n")
    project.write(
        "calling.py",
        "from batchmill import Context\n\n"
        + (project.folder / "calling.py").read_text().replace("ctx)", "ctx: Context)"),
    )
    project.manifest(
        file="batch.yaml",
        defaults={"function": "calling:call"},
        matrix={"axes": {"x": [1, 2, 3]}},
        limits={"workers": 1},
    )
    ended = project.call("run", "batch.yaml", environment={"XDG_STATE_HOME": str(project.folder / "state")})
    assert ended.code == 0, ended
    assert ended.err.count("limits hold for this run alone") == 1
    assert str(state) in ended.err
    assert project.log().count("limits hold for this run alone") == 1
    assert project.counts() == {"succeeded": 3}
