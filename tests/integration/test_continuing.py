"""Killed, interrupted or edited: the same command again does what is missing, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter

import pytest

from tests.integration.harness import PATIENCE, Project, wait_for


def _numbers(project: Project, count: int, **values: object) -> None:
    matrix = {"axes": {"x": {"range": [count]}}, "name": "n{x}"}
    project.manifest("slow", matrix=matrix, limits={"workers": 2}, **values)


def _kill_when_begun(project: Project, done: int) -> None:
    process = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: project.counts().get("succeeded", 0) >= done or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def test_a_killed_driver_loses_nothing_that_was_recorded(project: Project) -> None:
    _numbers(project, 120, defaults={"seconds": 0.005})
    recorded: set[str] = set()
    for kill in range(3):
        before = len(project.done())
        _kill_when_begun(project, 20 * (kill + 1))
        assert not recorded & set(project.done()[before:])
        recorded = {name[1:] for name, state in project.states().items() if state == "succeeded"}
        assert project.no_process_is_left()

    project.run()

    executed = Counter(project.done())
    assert project.counts() == {"succeeded": 120}
    assert len(executed) == 120
    assert sum(executed.values()) <= 120 + 3 * 64
    assert project.rows("SELECT count(*) FROM attempts WHERE state = 'succeeded'") == [(120,)]
    assert project.rows("SELECT name FROM run") == [("batch",)]
    assert not (project.home / "runs" / "batch-2").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda v: str(v)
)
def test_the_first_signal_lets_attempts_end(project: Project, number: signal.Signals, code: int) -> None:
    gate = "open"
    project.manifest("gated", jobs=[{"params": {"x": x, "gate": gate}} for x in range(6)], limits={"workers": 2})
    process = project.start("run", "batch.yaml")
    assert wait_for(lambda: len(project.done()) == 2)

    process.send_signal(number)
    project.write(gate, "")
    ended = project.end(process)

    assert ended.code == code, ended
    assert Counter(line.split()[0] for line in project.done()) == {"begin": 2, "end": 2}
    assert project.counts() == {"succeeded": 2, "pending": 4}
    assert project.run_state()[0] == "interrupted"
    assert project.no_process_is_left()
    project.run()
    assert project.counts() == {"succeeded": 6}
    assert Counter(line.split()[0] for line in project.done()) == {"begin": 6, "end": 6}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=lambda v: str(v))
def test_the_second_signal_stops_now(project: Project, number: signal.Signals, code: int) -> None:
    project.manifest("gated", jobs=[{"params": {"x": x, "gate": "open"}} for x in range(6)], limits={"workers": 2})
    process = project.start("run", "batch.yaml")
    assert wait_for(lambda: len(project.done()) == 2)

    process.send_signal(number)
    assert wait_for(lambda: signal.Signals(number).name in project.log())
    process.send_signal(number)
    ended = project.end(process)

    assert ended.code == code, ended
    assert project.counts() == {"pending": 6}
    assert project.rows("SELECT sum(attempts) FROM jobs") == [(0,)]  # nobody is charged
    assert project.no_process_is_left()
    project.write("open", "")
    project.run()
    assert project.counts() == {"succeeded": 6}


def test_ctrl_c_in_a_terminal_reaches_only_the_driver(project: Project) -> None:
    jobs = [{"params": {"x": x, "gate": "open"}} for x in range(2)]
    project.manifest("gated", jobs=jobs, limits={"workers": 1})
    process = project.start("run", "batch.yaml")
    assert wait_for(lambda: len(project.done()) == 1)

    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody in the foreground group
    assert wait_for(lambda: "SIGINT" in project.log())
    project.write("open", "")

    assert project.end(process).code == 130
    assert project.counts() == {"succeeded": 1, "pending": 1}


def test_a_run_that_was_interrupted_during_its_last_job_ends_as_if_it_had_not_been(project: Project) -> None:
    project.manifest("gated", jobs=[{"params": {"x": 1, "gate": "open"}}])
    process = project.start("run", "batch.yaml")
    assert wait_for(lambda: len(project.done()) == 1)

    process.send_signal(signal.SIGINT)
    assert wait_for(lambda: "SIGINT" in project.log())
    project.write("open", "")

    assert project.end(process).code == 0
    assert project.run_state() == ("finished", "")


def test_a_finished_run_is_not_run_again(project: Project) -> None:
    _numbers(project, 20, defaults={"seconds": 0})
    project.run()

    again = project.call("run", "batch.yaml")

    assert again.code == 0
    assert "nothing to do" in again.err
    assert len(project.done()) == 20


def test_editing_one_job_runs_that_job_and_renaming_one_runs_none(project: Project) -> None:
    jobs = [{"name": f"job{x}", "params": {"x": x}} for x in range(6)]
    project.manifest("square", jobs=jobs)
    project.run()

    jobs[2]["params"] = {"x": 99}
    jobs[4]["name"] = "renamed"
    project.manifest("square", jobs=jobs)
    plan = project.call("plan", "batch.yaml", "--output", "json").json
    project.run()

    assert Counter(project.done()) == {str(x): 1 for x in (0, 1, 2, 3, 4, 5, 99)}
    assert project.states("batch-2") == dict.fromkeys([job["name"] for job in jobs], "succeeded")
    cached = dict(project.rows("SELECT name, cached FROM jobs", "batch-2"))
    assert [name for name, flag in cached.items() if not flag] == ["job2"]
    assert plan["total"] == 6 or plan["jobs"]


def test_equal_jobs_are_executed_once(project: Project) -> None:
    project.manifest("square", jobs=[{"name": f"same{n}", "params": {"x": 7}} for n in range(5)])

    project.run()

    assert project.done() == ["7"]
    assert project.rows("SELECT count(*) FROM jobs WHERE cached") == [(4,)]
    assert len(project.results()) == 5 or project.counts() == {"succeeded": 5}
    exported = project.call("export", "last", "--format", "json").json
    assert [job["result"]["square"] for job in exported["jobs"]] == [49] * 5
    assert exported["run"]["counts"]["cached"] == 4


def test_fresh_takes_no_result_of_another_run(project: Project) -> None:
    project.manifest("square", jobs=[{"params": {"x": x}} for x in range(3)])
    project.run()
    project.manifest("square", jobs=[{"params": {"x": x}} for x in range(4)])

    project.run("batch.yaml", "--fresh")

    assert Counter(project.done()) == {"0": 2, "1": 2, "2": 2, "3": 1}

    project.run("batch.yaml", "--fresh")

    assert Counter(project.done()) == {"0": 3, "1": 3, "2": 3, "3": 2}


@pytest.mark.parametrize(("reuse", "executed"), [("any", 3), ("name", 6), ("never", 6)])
def test_reuse_says_whose_results_count(project: Project, reuse: str, executed: int) -> None:
    jobs = [{"params": {"x": x}} for x in range(3)]
    project.manifest("square", name="first", jobs=jobs, reuse="any")
    project.run()
    project.manifest("square", name="second", jobs=jobs, reuse=reuse)

    project.run()

    assert len(project.done()) == executed
    assert project.counts("second-1") == {"succeeded": 3}


def test_failed_jobs_run_again_unless_they_are_to_be_kept(project: Project) -> None:
    jobs = [
        {"name": "good", "params": {"x": 1, "name": "batch.yaml"}},
        {"name": "bad", "params": {"x": 2, "name": "no"}},
    ]
    project.manifest("unless_file", jobs=jobs)
    project.run(code=1)

    project.run("batch.yaml", "--keep-failed", code=1)
    assert sorted(project.done()) == ["1", "2"]

    project.write("no", "")
    project.run()
    assert sorted(project.done()) == ["1", "2", "2"]
    assert project.states() == {"good": "succeeded", "bad": "succeeded"}
    attempts = project.rows("SELECT number, state FROM attempts WHERE job = 2 ORDER BY number")
    assert attempts == [(1, "failed"), (2, "succeeded")]


def test_a_job_that_kills_its_worker_is_quarantined_until_retry(project: Project) -> None:
    jobs = [{"name": "poison", "params": {"kind": "exit"}}, {"name": "fine", "params": {"kind": "good"}}]
    project.manifest("mixed", jobs=jobs, retry={"backoff": {"base": "10ms"}})
    project.run(code=1)
    assert project.rows("SELECT name, total_attempts FROM jobs WHERE quarantined") == [("poison", 2)]

    project.run(code=1)
    assert project.rows("SELECT total_attempts FROM jobs WHERE name = 'poison'") == [(2,)]

    ended = project.call("retry", "last", "--failed", "--output", "quiet")
    assert ended.code == 1, ended
    assert project.rows("SELECT total_attempts FROM jobs WHERE name = 'poison'") == [(4,)]


def test_a_changed_function_runs_again(project: Project) -> None:
    project.manifest("square", jobs=[{"params": {"x": 3}}])
    project.run()
    source = (project.folder / "work.py").read_text()
    project.write("work.py", source.replace('"square": x * x', '"square": x * x * x'))

    plan = project.call("plan", "batch.yaml")
    project.run()

    assert "code changed" in plan.out + plan.err
    assert project.results("batch-2") == {name: {"x": 3, "square": 27} for name in project.states("batch-2")}


def test_code_that_changes_while_a_run_lives_gives_no_result_of_the_old_version(project: Project) -> None:
    jobs = [{"params": {"x": x, "gate": "open"}} for x in range(2)]
    project.manifest("gated", jobs=jobs, limits={"workers": 1, "jobs_per_worker": 1})
    process = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: project.done() == ["begin 0"])

    source = (project.folder / "work.py").read_text()
    project.write("work.py", source.replace('tell(f"end {x}")\n    return {"x": x}', 'return {"x": -x}'))
    project.write("open", "")

    assert project.end(process).code == 1
    assert list(project.states().values()) == ["succeeded", "invalid"]
    project.run()
    assert [result["x"] for result in project.results("batch-2").values()] == [0, -1]


def test_input_files_count_by_content_not_by_date(project: Project) -> None:
    for n in range(3):
        project.write(f"data/{n}.txt", f"content {n}")
    project.write("words.py", COUNT)
    project.write("batch.py", RUN_COUNT)
    project.end(project.spawn("batch.py"))
    assert sorted(project.done()) == ["0.txt", "1.txt", "2.txt"]

    os.utime(project.folder / "data" / "1.txt", (1, 1))
    project.end(project.spawn("batch.py"))
    assert len(project.done()) == 3

    project.write("data/2.txt", "other content")
    ended = project.end(project.spawn("batch.py"))
    assert project.done()[3:] == ["2.txt"], ended


COUNT = """
import os
import batchmill
from work import tell

@batchmill.task(name="count", version="1")
def count(path: batchmill.InputFile) -> dict:
    tell(os.path.basename(path))
    return {"size": os.path.getsize(path)}
"""
RUN_COUNT = """
import batchmill
from words import count

if __name__ == "__main__":
    run = batchmill.run(count, files={"directory": "data", "pattern": "*.txt"}, progress=False)
    assert run.counts["succeeded"] == 3, run
"""


def test_a_kill_while_the_ledger_changes_its_journal_is_undone(project: Project) -> None:
    _numbers(project, 50, defaults={"seconds": 0})
    project.run()
    before = project.rows("SELECT name, state FROM jobs")
    project.python(DIE_IN_A_TRANSACTION, str(project.run_folder() / "ledger.db"))
    assert (project.run_folder() / "ledger.db-journal").exists()

    assert project.call("ls", "--output", "json").json["runs"][0]["id"] == "batch-1"
    project.run()

    assert project.rows("SELECT name, state FROM jobs") == before
    assert len(project.done()) == 50


DIE_IN_A_TRANSACTION = """
import os, sqlite3, sys
ledger = sqlite3.connect(sys.argv[1], isolation_level=None)
ledger.execute("PRAGMA cache_size = 2")  # pages are written before the end of the transaction
ledger.execute("BEGIN IMMEDIATE")
ledger.execute("UPDATE jobs SET name = name || '!', state = 'pending', result = hex(randomblob(3000))")
os._exit(0)
"""


def test_two_drivers_on_one_run(project: Project) -> None:
    project.manifest("gated", jobs=[{"params": {"x": 1, "gate": "open"}}])
    first = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: len(project.done()) == 1)

    second = project.call("run", "batch.yaml")

    assert second.code == 5
    assert str(first.pid) in second.err
    project.write("open", "")
    assert project.end(first).code == 0


def test_an_edited_manifest_waits_for_the_live_run_of_its_name(project: Project) -> None:
    project.manifest("gated", jobs=[{"params": {"x": 1, "gate": "open"}}])
    first = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: len(project.done()) == 1)
    project.manifest("gated", jobs=[{"params": {"x": 2, "gate": "open"}}])

    assert project.call("run", "batch.yaml").code == 5
    assert not project.run_folder("batch-2").exists()

    project.write("open", "")
    assert project.end(first).code == 0
    project.run()
    assert project.counts("batch-2") == {"succeeded": 1}


def test_drivers_that_start_together_make_one_run(project: Project) -> None:
    project.manifest("slow", matrix={"axes": {"x": {"range": [20]}}})

    codes = [project.end(one).code for one in [project.start("run", "batch.yaml") for _ in range(3)]]

    assert sorted(codes)[0] == 0
    assert set(codes) <= {0, 5}
    assert [path.name for path in sorted((project.home / "runs").iterdir())] == ["batch-1"]
    assert len(project.done()) == 20


def test_a_name_belongs_to_one_task(project: Project) -> None:
    project.manifest("square", name="n", jobs=[{"params": {"x": 1}}])
    project.run()
    project.manifest(task="shell", name="n", jobs=[{"params": {"command": "true"}}])

    ended = project.call("run", "batch.yaml")

    assert ended.code == 2
    assert "another name" in ended.err


def test_a_stopped_driver_keeps_its_run_and_a_dead_one_has_lost_it(project: Project) -> None:
    project.manifest("gated", jobs=[{"params": {"x": 1, "gate": "open"}}])
    first = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: len(project.done()) == 1)
    first.send_signal(signal.SIGSTOP)

    assert project.call("run", "batch.yaml").code == 5

    first.kill()
    first.wait(PATIENCE)
    project.write("open", "")
    project.run()
    assert project.counts() == {"succeeded": 1}


def test_a_run_is_copied_and_archived_as_plain_files(project: Project) -> None:
    project.manifest("square", jobs=[{"params": {"x": 1}}])
    project.run()

    names = {path.name for path in project.run_folder().iterdir()}

    assert "ledger.db" in names
    assert not names & {"ledger.db-wal", "ledger.db-shm"}
    for name in ("report.md", "summary.json", "results.csv", "run.log", "manifest.yaml"):
        assert name in names


def test_what_a_pipe_no_longer_reads_ends_no_run(project: Project) -> None:
    _numbers(project, 30, defaults={"seconds": 0.01})
    process = subprocess.run(
        ["/bin/sh", "-c", f"{os.sys.executable} -m batchmill run batch.yaml 2>&1 | head -1"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert process.returncode == 0
    assert wait_for(lambda: project.counts() == {"succeeded": 30}), (project.run_state(), project.counts())
