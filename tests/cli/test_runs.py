"""Commands on runs: a small run is made once, and its home copied for every test that asks or changes it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from batchmill.api import managing
from batchmill.cli import logs
from batchmill.ledger.lease import acquire
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.requests import take_requests
from tests.cli.conftest import MODULE, Call, Said


@pytest.fixture
def paths(ran: Said, tmp_path: Path) -> RunPaths:
    """Where that run lies."""
    return RunPaths(tmp_path / ".batchmill", "squares-1")


def test_a_run_ends_with_its_summary_on_stderr(ran: Said) -> None:
    assert ran.code == 1
    assert ran.out == ""
    assert "2 succeeded" in ran.err
    assert "no square of 1" in ran.err
    assert "batchmill show squares-1/bad/one" in ran.err


def test_a_run_gives_its_summary_as_json(call: Call, squares: Path) -> None:
    said = call("run", squares, "--output", "json", "--only", "t*")
    assert said.json["schema_version"] == 1
    assert said.json["success_count"] == 2
    assert said.json["successful"] == ["two", "three"]


def test_the_flags_of_run_override_the_manifest(call: Call, squares: Path) -> None:
    flags = ["--workers", "1", "--timeout", "60s", "--max-failures", "50%", "--deadline", "1h", "--name", "12"]
    said = call("run", squares, *flags, "--output", "json")
    assert (said.code, said.json["run"]) == (1, "12-1")
    assert call("run", squares, "--workers", "0").code == 2
    assert call("run", squares, "--timeout", "soon").code == 2
    assert call("run", squares, "--limit", "0").code == 2


def test_a_selection_runs_only_its_jobs(call: Call, squares: Path) -> None:
    assert call("run", squares, "--group", "odd", "--output", "json").json["successful"] == ["three"]
    assert call("run", squares, "--limit", "1", "--output", "json").json["pending_count"] == 1


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--only", "thre"], "no job of this run has a name that matches `thre`", "did you mean `three`?"),
        (["--only", "x*"], "no job of this run has a name that matches `x*`", "names are `two`, `three`, `bad/one`"),
        (["--group", "even"], "no job of this run is in the group `even`", "groups are `odd`"),
        (["--group", "od", "--only", "t*"], "matches `t*` and is in the group `od`", "did you mean `odd`?"),
    ],
)
def test_a_selection_of_no_job_is_refused(
    call: Call, squares: Path, options: list[str], message: str, hint: str
) -> None:
    for _ in range(2):  # while it is planned, and when it was planned before
        said = call("run", squares, *options)
        assert said.code == 2
        assert message in said.err
        assert hint in said.err
    assert call("export", "last", "--format", "jsonl").out.count('"state":"pending"') == 3


def test_a_selection_of_no_job_of_a_finished_run_is_refused(call: Call, ran: Said, squares: Path) -> None:
    said = call("run", squares, "--only", "tow")
    assert (said.code, "did you mean `two`?" in said.err) == (2, True)
    assert call("export", "last", "--format", "jsonl").out.count('"state":"failed"') == 1  # it was not made pending


def test_running_again_does_only_what_is_missing(call: Call, ran: Said, squares: Path) -> None:
    plan = call("plan", squares, "--output", "json").json
    assert plan["continues"] == "squares-1"
    assert plan["counts"] == {"done": 2, "again": 1}
    assert plan["jobs"][2]["reason"] == "failed (error) in squares-1"
    said = call("run", squares, "--output", "json")
    assert said.json["run"] == "squares-1"
    jobs = call("export", "last").json["jobs"]
    assert [job["attempts"] for job in jobs] == [1, 1, 2]


def test_plan_says_which_parameters_changed(call: Call, ran: Said, squares: Path) -> None:
    plan = call("plan", squares, "--set", "jobs[0].params.x=5", "--output", "json").json
    assert plan["continues"] is None
    assert [(job["status"], job["reason"]) for job in plan["jobs"]] == [
        ("changed", "parameters changed: x"),
        ("done", "done in squares-1"),
        ("again", "failed (error) in squares-1"),
    ]


def test_plan_says_that_code_changed(call: Call, ran: Said, squares: Path, tmp_path: Path) -> None:
    (tmp_path / "squares.py").write_text(MODULE.replace("x * x", "x ** 2"))
    plan = call("plan", squares, "--output", "json").json
    assert {job["reason"] for job in plan["jobs"]} == {"code changed"}


def test_plan_knows_a_renamed_job_by_its_key(call: Call, ran: Said, squares: Path) -> None:
    plan = call("plan", squares, "--set", "jobs[0].name=deux", "--output", "json").json
    assert plan["jobs"][0]["reason"] == "done in squares-1"


def test_plan_looks_into_input_files_only_where_it_must(call: Call, tmp_path: Path) -> None:
    (tmp_path / "lengths.py").write_text("def length(path: str) -> int:\n    return len(open(path).read())\n")
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    manifest = tmp_path / "lengths.yaml"
    manifest.write_text(
        "task: python\ndefaults: {function: 'lengths:length'}\nfiles: {directory: ., pattern: '*.txt'}\n"
    )
    assert call("run", manifest).code == 0
    assert call("plan", manifest, "--output", "json").json["counts"] == {"done": 2}
    os.utime(tmp_path / "a.txt", (1, 1))
    (tmp_path / "b.txt").write_text("longer")
    reasons = [job["reason"] for job in call("plan", manifest, "--output", "json").json["jobs"]]
    assert reasons == ["done in lengths-1", "input file changed"]


def test_ls_lists_runs(call: Call, ran: Said) -> None:
    assert "squares-1" in call("ls").out
    (run,) = call("ls", "--output", "json").json["runs"]
    assert (run["id"], run["state"], run["counts"]["failed"]) == ("squares-1", "finished", 1)
    assert call("ls", "--output", "quiet").out == "squares-1\n"


@pytest.mark.parametrize("reference", ["squares-1", "squares", "last"])
def test_a_run_has_three_names(call: Call, ran: Said, reference: str) -> None:
    assert call("show", reference, "--output", "json").json["run"] == "squares-1"


def test_show_tells_of_a_run(call: Call, ran: Said) -> None:
    said = call("show", "last")
    assert said.code == 0
    assert "3: 2 succeeded, 1 failed" in said.out
    assert "ValueError" in said.out or "no square of 1" in said.out
    assert "\x1b" not in said.out


def test_show_tells_of_a_job_whose_name_has_a_slash(call: Call, ran: Said) -> None:
    said = call("show", "last/bad/one")
    assert "no square of 1" in said.out
    assert "squaring 1" in said.out
    told = call("show", "last/two", "--output", "json").json
    assert told["run"] == "squares-1"
    assert told["job"]["result"] == {"square": 4}
    assert [attempt["state"] for attempt in told["job"]["attempts"]] == ["succeeded"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "sqares"], "did you mean `squares"),
        (["show", "last/four"], "has no job `four`"),
        (["logs", "last/four"], "has no job `four`"),
        (["logs", "last/two", "--attempt", "3"], "has no attempt 3"),
        (["logs", "last/two", "--follow"], "`--follow` is for the log of a run"),
        (["logs", "last", "--attempt", "1"], "`--attempt` is for the log of a job"),
        (["retry", "last", "--job", "two"], "job `two` has succeeded"),
        (["retry", "last", "--job", "two", "--failed"], "exclude each other"),
        (["cancel", "last"], "is finished"),
        (["cancel", "last/two"], "has ended: succeeded"),
        (["rm", "last"], "add `--yes`"),
        (["rm", "last", "gone", "--yes"], "no run `gone`"),
        (["verify", "gone"], "no run `gone`"),
    ],
)
def test_what_cannot_be_done_to_a_run_is_said(call: Call, ran: Said, argv: list[str], message: str) -> None:
    said = call(*argv)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


def test_logs_show_what_a_job_printed(call: Call, ran: Said) -> None:
    assert call("logs", "last/two").out == "squaring 2\n"
    assert call("logs", "last/bad/one", "--attempt", "1").out.startswith("squaring 1\n")
    assert call("logs", "last/two", "--output", "json").json["log"] == "squaring 2\n"


def test_the_log_of_a_run_can_be_followed_to_its_end(call: Call, paths: RunPaths) -> None:
    paths.log.write_text("one\ntwo\n")
    assert call("logs", "last").out == "one\ntwo\n"
    assert call("logs", "last", "--follow").out == "one\ntwo\n"
    assert call("logs", "last", "--output", "json").json["lines"] == ["one", "two"]


def test_following_a_log_ends_with_the_run(call: Call, paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.log.write_text("one\n")
    with acquire(paths) as lease:

        def the_run_ends(_: float) -> None:
            with paths.log.open("a") as log:
                log.write("two\n")
            lease.release()

        monkeypatch.setattr(logs.time, "sleep", the_run_ends)
        assert call("logs", "last", "--follow").out == "one\ntwo\n"


def test_exports_go_to_stdout_or_to_files(call: Call, ran: Said) -> None:
    told = call("export", "last").json
    assert [job["name"] for job in told["jobs"]] == ["two", "three", "bad/one"]
    assert call("export", "last", "--format", "csv").out.startswith("name,")
    assert len(call("export", "last", "--format", "jsonl").out.splitlines()) == 3
    assert call("export", "last", "-o", "one.md").code == 0
    assert Path("one.md").read_text().startswith("| name")
    assert call("export", "last", "--format", "json,csv", "-o", "both").code == 0
    assert json.loads(Path("both.json").read_text())["run"]["id"] == "squares-1"
    assert Path("both.csv").exists()
    assert call("export", "last", "--format", "json, csv", "-o", "folder/").code == 0
    assert sorted(path.name for path in Path("folder").iterdir()) == ["squares-1.csv", "squares-1.json"]


def test_a_stable_export_names_no_time(call: Call, ran: Said) -> None:
    said = call("export", "last", "--stable")
    assert "started" not in said.out
    assert "squares-1" not in said.out


def test_verify_names_what_is_damaged(call: Call, paths: RunPaths) -> None:
    assert call("verify").code == 0
    assert call("verify", "last", "--output", "json").json == {"schema_version": 1, "runs": {"squares-1": []}}
    with paths.ledger.open("r+b") as ledger:
        ledger.truncate(100)
    said = call("verify")
    assert said.code == 5
    assert "ledger/" in said.out
    assert "squares-1" in call("ls", "--output", "json").json["damaged"]


def test_retry_runs_failed_jobs_again(call: Call, ran: Said) -> None:
    said = call("retry", "last", "--failed")
    assert said.code == 1
    assert "retrying 1 job of `squares-1`" in said.err
    assert call("show", "last/bad/one", "--output", "json").json["job"]["attempt_count"] == 2


def test_resume_goes_on_with_what_is_left(call: Call, squares: Path) -> None:
    assert call("run", squares, "--only", "two").code == 0
    said = call("resume", "squares", "--output", "json")
    assert said.code == 1
    assert said.json["pending_count"] == 0


def test_a_job_that_waits_can_be_cancelled_and_run_again(call: Call, squares: Path) -> None:
    call("run", squares, "--only", "two")
    assert call("cancel", "last/three").code == 0
    assert call("show", "last/three", "--output", "json").json["job"]["state"] == "cancelled"
    plan = call("plan", squares, "--output", "json").json
    assert plan["jobs"][1]["status"] == "held"
    assert call("cancel", "last").code == 0
    (run,) = call("ls", "--output", "json").json["runs"]
    assert run["state"] == "cancelled"
    assert call("retry", "last", "--job", "three").code in (0, 1)
    assert call("show", "last/three", "--output", "json").json["job"]["state"] == "succeeded"


def test_a_live_run_is_asked(call: Call, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managing, "_HEARING_SECONDS", 0.0)  # nobody listens here
    call("run", squares, "--only", "two")
    paths = RunPaths(tmp_path / ".batchmill", "squares-1")
    with acquire(paths):
        assert "asked" in call("cancel", "last/three").out
        assert call("cancel", "last", "--output", "json").json["asked"] is True
        assert call("retry", "last", "--job", "bad/one").code == 0
        said = call("rm", "last", "--yes")
        assert said.code == 5
        assert f"process {os.getpid()}" in said.err
    assert [(request.what, request.job) for request in take_requests(paths)] == [
        ("cancel", 2),
        ("cancel", 0),
        ("retry", 3),
    ]


def test_rm_deletes_and_gc_frees(call: Call, ran: Said, paths: RunPaths) -> None:
    assert call("rm", "squares-1", "last", "--yes").out == "deleted `squares-1`\n"
    assert not paths.folder.exists()
    assert call("gc").out.startswith("freed ")
    assert managing.list_runs(paths.home) == []
