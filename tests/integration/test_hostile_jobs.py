"""Jobs that do their worst among good ones: each ends as what it is, and hurts nobody else."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal

import pytest

from tests.integration.harness import Project, wait_for

EXPECTED = {
    "loop": "timeout",
    "sleep": "timeout",
    "memory": "memory",
    "segfault": "crashed",
    "exit": "crashed",
    "kill_self": "crashed",
    "close_fds": "crashed",
    "raise": "error",
    "sys_exit": "error",
    "unwritable": "invalid",
    "print": "succeeded",
    "nan": "succeeded",
    "big": "succeeded",
    "medium": "succeeded",
    "daemon": "succeeded",
    "change": "succeeded",
    "binary": "succeeded",
    "limits": "succeeded",
    "alarm": "succeeded",
    "mask": "succeeded",
    "child": "succeeded",
}


def _hostile(project: Project) -> None:
    jobs = [{"name": kind, "params": {"kind": kind}} for kind in EXPECTED]
    project.manifest(
        "mixed",
        jobs=jobs,
        matrix={"axes": {"n": {"range": [60]}}, "name": "good{n}"},
        limits={"workers": 2, "timeout": "1.5s", "memory": "300MB"},
        retry={"attempts": 1},
    )


def test_every_hostile_job_ends_as_what_it_is_and_every_good_one_succeeds(project: Project) -> None:
    _hostile(project)

    project.run(code=1)

    states = project.states()
    assert {name: state for name, state in states.items() if name in EXPECTED} == EXPECTED
    good = {name: state for name, state in states.items() if name not in EXPECTED}
    assert len(good) == 60
    assert set(good.values()) == {"succeeded"}
    assert project.no_process_is_left()


def test_what_hostile_jobs_change_does_not_reach_the_next_job(project: Project) -> None:
    jobs = [{"name": f"{kind}{n}", "params": {"kind": kind, "n": n}} for n in range(3) for kind in ("change", "good")]
    project.manifest("mixed", jobs=jobs, limits={"workers": 1})

    project.run()

    good = [result for name, result in project.results().items() if name.startswith("good")]
    assert {(one["cwd"], one["evil"]) for one in good} == {(str(project.folder), None)}
    assert len({one["umask"] for one in good}) == 1


def test_results_of_hostile_jobs_are_kept_and_exported(project: Project) -> None:
    names = ("nan", "big", "medium", "print", "binary", "exit", "segfault")
    jobs = [{"name": kind, "params": {"kind": kind}} for kind in names]
    project.manifest("mixed", jobs=jobs, limits={"workers": 2}, retry={"attempts": 1})

    project.run(code=1)

    exported = {job["name"]: job for job in project.call("export", "last", "--format", "json").json["jobs"]}
    assert exported["nan"]["result"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}
    assert exported["big"]["result"] == "y" * 5_000_000
    assert exported["medium"]["result"] == "z" * 100_000
    assert "exit code 3" in exported["exit"]["error"]["message"]
    assert "signal 11" in exported["segfault"]["error"]["message"]
    ((in_object,),) = project.rows("SELECT result_object FROM jobs WHERE name = 'big'")
    assert (project.home / "objects" / in_object[:2] / in_object[2:]).stat().st_size == 5_000_002
    rows = list(csv.DictReader(project.call("export", "last", "--format", "csv").out.splitlines()))
    assert {"nan", "inf", "-inf"} <= set(next(row for row in rows if row["name"] == "nan").values())
    log = project.call("logs", "last/print").out
    assert log.startswith("first line\n")
    assert log.rstrip().endswith("last line")
    assert len(log) < 2_200_000
    assert json.loads((project.run_folder() / "summary.json").read_text())["failure_count"] == 2


def test_a_terminal_escape_in_an_error_reaches_no_terminal(project: Project) -> None:
    project.manifest("mixed", jobs=[{"name": "raise", "params": {"kind": "raise"}}])

    ended = project.call("run", "batch.yaml")

    assert ended.code == 1
    assert "\x1b" not in ended.err + ended.out + project.call("show", "last/raise").out


@pytest.mark.parametrize("who", ["zygote", "worker"])
def test_a_run_goes_on_when_somebody_kills_its_processes(project: Project, who: str) -> None:
    jobs = [{"params": {"x": x, "gate": "open" if x < 2 else ""}} for x in range(20)]
    project.manifest("gated", jobs=jobs, limits={"workers": 2}, retry={"backoff": {"base": "10ms"}})
    process = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: len(project.done()) == 2)
    (zygote,) = project.children_of(process.pid)
    workers = project.children_of(zygote)

    os.kill(zygote if who == "zygote" else workers[0], signal.SIGKILL)
    assert wait_for(lambda: len(project.done()) > 2)  # somebody began again
    project.write("open", "")

    assert project.end(process).code == 0
    assert project.counts() == {"succeeded": 20}
    assert len(workers) == 2
    assert "died" in project.log()
    assert project.no_process_is_left()


def test_a_job_that_ends_the_process_above_all_workers_is_quarantined_alone(project: Project) -> None:
    jobs = [{"name": f"job{x}", "params": {"x": x, "kills": x == 1}} for x in range(6)]
    project.manifest("patricide", jobs=jobs, limits={"workers": 2}, retry={"backoff": {"base": "10ms"}})

    project.run(code=1)

    assert project.rows("SELECT name, kind, quarantined FROM jobs WHERE state = 'failed'") == [("job1", "crashed", 1)]
    assert project.counts() == {"succeeded": 5, "failed": 1}
    assert project.rows("SELECT count(*) FROM attempts WHERE state <> 'succeeded' AND job <> 2") == [(0,)]
    assert project.no_process_is_left()


def test_a_folder_that_is_removed_under_a_run_is_told_in_words(project: Project) -> None:
    project.manifest("gated", jobs=[{"params": {"x": x, "gate": "open"}} for x in range(3)], limits={"workers": 1})
    process = project.start("run", "batch.yaml")
    assert wait_for(lambda: len(project.done()) == 1)

    shutil.rmtree(project.run_folder())
    project.write("open", "")
    ended = project.end(process)

    assert ended.code == 5
    assert "was deleted while it ran" in ended.err
    assert project.no_process_is_left()
