"""A run that lives, changed and read by other processes; and what is made of one that has ended."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path

import pytest

from tests.integration.harness import Project, wait_for

GATED = [{"name": f"n{x}", "params": {"x": x, "gate": f"open{x}"}} for x in range(3)]


def test_jobs_of_a_live_run_are_cancelled_and_retried_from_outside(project: Project) -> None:
    project.manifest("gated", jobs=GATED, limits={"workers": 1})
    process = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: project.done() == ["begin 0"])

    assert project.call("cancel", "last/n1").code == 0  # waits
    assert wait_for(lambda: project.states()["n1"] == "cancelled")
    assert project.call("cancel", "last/n0").code == 0  # runs
    assert wait_for(lambda: project.states()["n0"] == "cancelled")
    assert wait_for(lambda: project.done() == ["begin 0", "begin 2"])
    assert project.call("retry", "last", "--job", "n1").code == 0
    project.write("open2", "")
    project.write("open1", "")

    assert project.end(process).code == 0
    assert project.states() == {"n0": "cancelled", "n1": "succeeded", "n2": "succeeded"}
    assert project.no_process_is_left()


def test_a_live_run_is_cancelled_from_outside_and_can_be_resumed(project: Project) -> None:
    project.manifest("gated", jobs=GATED, limits={"workers": 2})
    process = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: len(project.done()) == 2)

    assert project.call("cancel", "batch").code == 0

    assert project.end(process).code == 130
    assert project.run_state() == ("cancelled", "cancelled")
    assert project.counts() == {"pending": 3}
    assert project.no_process_is_left()
    for x in range(3):
        project.write(f"open{x}", "")
    assert project.call("resume", "batch", "--output", "quiet").code == 0
    assert project.counts() == {"succeeded": 3}


def test_a_live_run_is_read_by_every_command(project: Project) -> None:
    project.manifest("gated", jobs=GATED, limits={"workers": 1})
    project.write("open0", "")
    process = project.start("run", "batch.yaml", "--output", "quiet")
    assert wait_for(lambda: project.done() == ["begin 0", "end 0", "begin 1"])

    assert "running" in project.call("ls").out
    shown = project.call("show", "last").out
    assert "running" in shown
    assert "running" in project.call("show", "last/n1").out
    exported = project.call("export", "last", "--format", "json").json
    assert [job["state"] for job in exported["jobs"]] == ["succeeded", "pending", "pending"]
    assert project.call("verify", "last").code == 0
    assert project.call("rm", "last", "--yes").code == 5  # somebody works on it
    follower = project.start("logs", "last", "--follow")
    for x in (1, 2):
        project.write(f"open{x}", "")

    assert project.end(process).code == 0
    assert "finished" in project.end(follower).out


@pytest.mark.parametrize("workers", ["1", "4"])
def test_stable_exports_do_not_depend_on_workers_or_kills(project: Project, workers: str) -> None:
    jobs = [{"name": f"bad{x}", "params": {"x": x, "kind": "raise"}} for x in (7, 9)]
    matrix = {"axes": {"x": {"range": [60]}}, "name": "n{x}"}
    project.manifest("drawn", jobs=jobs, matrix=matrix, limits={"workers": 1}, seed=5)
    project.run(code=1)
    expected = {fmt: _stable(project, fmt) for fmt in ("json", "jsonl", "csv", "md")}

    assert project.call("rm", "last", "--yes").code == 0
    process = project.start("run", "batch.yaml", "--workers", workers, "--output", "quiet")
    assert wait_for(lambda: project.counts().get("succeeded", 0) >= 10 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    project.run("batch.yaml", "--workers", workers, code=1)

    assert {fmt: _stable(project, fmt) for fmt in expected} == expected
    assert '"random"' in expected["json"]


def _stable(project: Project, fmt: str) -> str:
    ended = project.call("export", "last", "--format", fmt, "--stable")
    assert ended.code == 0, ended
    return ended.out


def test_the_json_export_has_its_documented_form(project: Project) -> None:
    project.manifest("mixed", jobs=[{"name": "good", "params": {}}, {"name": "bad", "params": {"kind": "raise"}}])
    project.run(code=1)

    export = project.call("export", "last", "--format", "json").json

    assert export["schema_version"] == 1
    run = export["run"]
    assert {"id", "name", "task", "state", "started", "finished", "wall_s", "counts"} <= set(run)
    assert (run["id"], run["name"], run["task"], run["state"]) == ("batch-1", "batch", "python", "finished")
    assert set(run["counts"]) == {"succeeded", "failed", "skipped", "cancelled", "cached", "retried"}
    keys = {"name", "key", "state", "cached", "params", "result", "metrics", "error", "attempts"}
    keys |= {"wall_s", "cpu_s", "peak_rss_bytes"}
    assert [keys <= set(job) for job in export["jobs"]] == [True, True]
    good, bad = export["jobs"]
    assert (good["error"], bad["error"]["kind"], bad["result"]) == (None, "error", None)
    assert good["peak_rss_bytes"] > 1_000_000
    summary = json.loads((project.run_folder() / "summary.json").read_text())
    wanted = {"schema_version", "run", "started", "finished", "total", "success_count", "failure_count"}
    wanted |= {"skipped_count", "cached_count", "success_rate", "total_time", "successful", "failed", "metrics"}
    assert wanted <= set(summary)
    assert (summary["total"], summary["success_count"], summary["failure_count"]) == (2, 1, 1)
    assert summary["failed"] == [{"name": "bad", "kind": "error", "message": summary["failed"][0]["message"]}]


def test_results_go_where_the_manifest_wants_them(project: Project) -> None:
    project.manifest(
        "square", matrix={"axes": {"x": [1, 2]}}, output="results/of today", report={"formats": ["csv", "json"]}
    )

    project.run()

    folder = project.folder / "results" / "of today"
    assert sorted(path.name for path in folder.iterdir()) == ["batch.csv", "batch.json"]
    rows = list(csv.DictReader((folder / "batch.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == list(project.states())
    assert not (project.run_folder() / "report.md").exists()


def test_a_formula_in_a_cell_stays_a_text(project: Project) -> None:
    project.manifest("echo", jobs=[{"name": "=1+1", "params": {"value": "=cmd|'/c calc'!A1"}}])
    project.run()

    text = project.call("export", "last", "--format", "csv").out

    assert not any(cell.startswith("=") for row in csv.reader(text.splitlines()) for cell in row)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_durability_is_how_the_ledger_is_synchronised(project: Project, durability: str) -> None:
    project.manifest("square", matrix={"axes": {"x": {"range": [20]}}}, durability=durability)

    project.run()

    assert project.counts() == {"succeeded": 20}
    assert project.call("verify", "last").code == 0


def test_shell_jobs_obey_every_limit(project: Project) -> None:
    jobs = [
        {"name": "quoted", "params": {"command": "printf %s {text}", "text": "a 'b' $(id) \"c\"; d"}},
        {
            "name": "result",
            "params": {"command": "echo '{\"v\": [1, 2]}' > {file}", "file": "o.json", "result": "{file}"},
        },
        {"name": "fails", "params": {"command": "echo oops >&2; exit 7"}},
        {"name": "sleeps", "params": {"command": "sleep 1000 & sleep 1000"}, "timeout": "300ms"},
        {"name": "words", "params": {"command": ["echo", "{x}"], "x": "$HOME; ls"}},
    ]
    project.manifest(task="shell", jobs=jobs, retry={"attempts": 1}, limits={"workers": 2})

    project.run(code=1)

    assert project.states() == {
        "quoted": "succeeded", "result": "succeeded", "fails": "error", "sleeps": "timeout", "words": "succeeded",
    }  # fmt: skip
    results = project.results()
    assert results["quoted"]["stdout"] == "a 'b' $(id) \"c\"; d"
    assert results["result"] == {"v": [1, 2]}
    assert results["words"]["stdout"] == "$HOME; ls\n"
    ((message,),) = project.rows("SELECT message FROM jobs WHERE name = 'fails'")
    assert "exit code 7" in message
    assert "oops" in message
    assert project.call("logs", "last/fails").out == "oops\n"
    assert project.no_process_is_left()


def test_files_and_a_matrix_are_combined(project: Project) -> None:
    for name in ("a", "b", "old_c"):
        project.write(f"data/{name}.txt", name)
    project.write("data/sub/d.txt", "d")
    files = {"directory": "data", "pattern": "*.txt", "recursive": True, "exclude": ["old_*"], "as": "path"}
    project.manifest("read", files=files, matrix={"axes": {"times": [1, 2]}})

    project.run()

    assert sorted(result["text"] for result in project.results().values()) == ["a", "aa", "b", "bb", "d", "dd"]
    assert len(project.states()) == 6


def test_removed_runs_leave_no_objects_behind(project: Project) -> None:
    project.manifest("mixed", jobs=[{"name": "big", "params": {"kind": "big"}}])
    project.run()
    assert _objects(project) == 1

    assert project.call("rm", "last", "--yes").code == 0
    assert project.call("gc").code == 0

    assert _objects(project) == 0
    assert project.call("ls").code == 0


def _objects(project: Project) -> int:
    return sum(path.is_file() for path in (project.home / "objects").glob("[0-9a-f]*/*"))


def test_the_home_index_is_made_again_when_it_is_lost(project: Project) -> None:
    project.manifest("square", name="first", jobs=[{"params": {"x": 1}}], reuse="any")
    project.run()
    for path in project.home.glob("home.db*"):
        path.unlink()
    project.manifest("square", name="second", jobs=[{"params": {"x": 1}}], reuse="any")

    project.run()

    assert project.done() == ["1"]
    assert project.rows("SELECT cached FROM jobs", "second-1") == [(1,)]


def test_a_damaged_ledger_is_named_and_no_other_run_suffers(project: Project) -> None:
    project.manifest("square", jobs=[{"params": {"x": x}} for x in range(5)])
    project.run()
    ledger = project.run_folder() / "ledger.db"
    data = bytearray(ledger.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    ledger.write_bytes(data)

    ended = project.call("verify", "batch-1")
    assert ended.code == 5
    again = project.call("run", "batch.yaml")
    assert again.code == 5
    assert "Traceback" not in again.err
    project.manifest("square", name="other", jobs=[{"params": {"x": 1}}])
    project.run()
    assert project.counts("other-1") == {"succeeded": 1}


@pytest.mark.slow
def test_planning_and_running_many_jobs_takes_no_more_memory_than_few(project: Project) -> None:
    matrix = {"axes": {"x": {"range": [1000]}, "y": {"range": [1000]}}, "name": "n{x}_{y}"}
    # workers that may do little leave planning all the time that it wants
    project.manifest("square", matrix=matrix, limits={"workers": 2, "rate": "3000/min"})
    project.write("work.py", "def square(x: int, y: int) -> int:\n    return x * y\n")
    process = project.start("run", "batch.yaml", "--output", "quiet")

    assert wait_for(lambda: _planned(project) >= 90_000)  # by now the caches of the ledger are full
    few = _resident(process.pid)
    assert wait_for(lambda: _planned(project) >= 180_000)
    many = _resident(process.pid)

    assert 0 < many < 100e6
    assert many - few < 10e6


def _planned(project: Project) -> int:
    time.sleep(0.1)  # asking is work for the disk
    return next((planned for (planned,) in project.rows("SELECT planned FROM run")), 0)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def test_the_first_jobs_of_a_long_plan_do_not_wait_for_its_end(project: Project) -> None:
    project.manifest("square", matrix={"axes": {"x": {"range": [10**12]}}, "name": "n{x}"})

    project.run("batch.yaml", "--limit", "3")
    project.run("batch.yaml", "--limit", "2")

    assert sorted(project.done()) == ["0", "1", "2", "3", "4"]
    assert project.rows("SELECT planned, plan_done, state FROM run") == [(5, 0, "stopped")]


def test_planning_a_million_jobs_is_lazy(project: Project) -> None:
    project.manifest("square", matrix={"axes": {"x": {"range": [10**12]}}, "name": "n{x}"})

    plan = project.call("plan", "batch.yaml", "--limit", "2", "--output", "json")

    assert plan.code == 0, plan
    assert not project.home.exists()
