from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from batchmill.errors import LedgerError, RunNotFound, UsageError
from batchmill.report.query import RunView

from .conftest import NOON, MakeLedger


def test_the_run_is_read_as_a_whole(small_run: Path) -> None:
    with RunView(small_run) as view:
        info = view.info
    assert (info.id, info.name, info.ordinal, info.task, info.state) == (
        "words-1",
        "words",
        1,
        "count-words",
        "finished",
    )
    assert info.wall_s == 60.5
    assert info.plan_done is True
    assert info.provenance == {"python": "3.11.7"}


def test_counts_come_per_state_and_group(small_run: Path) -> None:
    view = RunView(small_run)
    assert view.counts() == {
        "pending": 1,
        "succeeded": 3,
        "failed": 2,
        "skipped": 1,
        "cancelled": 0,
        "cached": 1,
        "retried": 1,
    }
    assert view.counts("x")["succeeded"] == 2
    assert view.counts("nobody")["succeeded"] == 0
    assert list(view.groups()) == ["", "x", "y"]


def test_jobs_come_in_plan_order_whatever_the_page(small_run: Path) -> None:
    view = RunView(small_run)
    for page in (1, 2, 100):
        assert [job.name for job in view.jobs(page=page)] == list("abcdefg")
    assert [job.name for job in view.jobs("failed")] == ["d", "e"]
    assert [job.name for job in view.jobs(group="x")] == ["a", "b"]
    assert [job.name for job in view.jobs(group="")] == ["c", "f", "g"]


def test_a_job_is_found_by_name_or_number(small_run: Path) -> None:
    view = RunView(small_run)
    job = view.job("b")
    assert view.job(2) == job == view.job("2")
    assert (job.task, job.attempts, job.group, job.cached) == ("count-words", 3, "x", False)
    assert job.params == {"n": 1, "text": "=1+1"}
    assert job.result == view.result(job) == {"words": 1, "engine_s": 0.25, "list": [1, "x"]}
    assert job.error is None
    assert view.job("e").error == ("timeout", "took longer than 2 s")
    assert (view.job("f").error, view.job("f").message) == (None, "nothing to do")
    with pytest.raises(UsageError, match="has no job `zz`"):
        view.job("zz")
    with pytest.raises(UsageError):
        view.job("9" * 400)


def test_a_cursor_leaves_out_what_changed_after_it_began(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(tick=7)
    for name in "abcd":
        ledger.job(name, tick=7)
    folder = ledger.close()
    cursor = RunView(folder).jobs(page=2)
    seen = [next(cursor).name]
    with sqlite3.connect(folder / "ledger.db") as writer:
        writer.execute("UPDATE jobs SET tick = 8 WHERE name = 'c'")
        writer.execute("UPDATE run SET tick = 8")
    writer.close()
    seen += [job.name for job in cursor]
    assert seen == ["a", "b", "d"]


def test_a_cursor_holds_no_transaction_between_its_pages(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    ledger.database.execute("PRAGMA journal_mode = WAL")
    for name in "abc":
        ledger.job(name)
    folder = ledger.close()
    cursor = RunView(folder).jobs(page=1)
    next(cursor)
    writer = sqlite3.connect(folder / "ledger.db")
    writer.execute("UPDATE jobs SET wall_s = 1")
    writer.commit()
    busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    writer.close()
    assert busy == 0


def test_a_view_cannot_write(small_run: Path) -> None:
    with pytest.raises(LedgerError, match="readonly"):
        RunView(small_run)._all("DELETE FROM jobs")


def test_large_values_are_read_from_their_objects(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    result = ledger.object(b'{"pages":[1,2,3]}')
    params = ledger.object(b'{"text":"long"}')
    ledger.job("a", result_object=result)
    ledger.database.execute("UPDATE jobs SET params = ?", (f"object:{params}",))
    job = RunView(ledger.close()).job("a")
    assert job.result == {"pages": [1, 2, 3]}
    assert job.params == {"text": "long"}


def test_a_damaged_object_is_named_not_returned(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    digest = ledger.object(b"[1]")
    ledger.job("a", result_object=digest)
    ledger.job("b", result_object="ab" * 32)
    (ledger.home / "objects" / digest[:2] / digest[2:]).write_bytes(b"[2]")
    view = RunView(ledger.close())
    with pytest.raises(LedgerError, match="damaged"):
        _ = view.job("a").result
    with pytest.raises(LedgerError, match="cannot be read"):
        _ = view.job("b").result


def test_attempts_steps_calls_artifacts_and_hooks(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    number = ledger.job("a", total_attempts=2)
    usage = {"slot": 1, "wall_s": 1.0, "cpu_s": 0.5, "peak_rss": 10}
    ledger.insert("attempts", job=number, number=2, state="succeeded", started=NOON + 5, **usage)
    failed = {"state": "failed", "kind": "crashed", "message": "signal 11", "signal": 11, "charged": 0}
    ledger.insert("attempts", job=number, number=1, started=NOON, exceptions='["ValueError"]', **failed, **usage)
    key = f"{number:064x}"
    for name, finished in (("second", NOON + 2), ("first", NOON + 1)):
        step = {"name": name, "arguments": "", "value": "1", "attempt": 1, "seconds": 0.5, "finished": finished}
        ledger.insert("steps", key=key, job=number, **step)
    call = {"quota": "q", "key": "k", "state": "settled", "tokens": 3, "cost": 4, "reserved": NOON}
    ledger.insert("calls", id=1, job=number, usage='{"in":1}', **call)
    ledger.insert("artifacts", job=number, name="plot.svg", digest="ab" * 32, size=5)
    ledger.insert("artifacts", job=0, hook="prepare:t", name="x", digest="ab" * 32, size=5)
    ledger.insert("hooks", hook="report", task="t", state="succeeded", result='"text"')
    view = RunView(ledger.close())
    job = view.job("a")
    first, second = view.attempts(job)
    assert (first.number, first.kind, first.signal, first.charged, first.exceptions) == (
        *(1, "crashed", 11, False),
        ("ValueError",),
    )
    assert (second.state, second.charged, second.log) == ("succeeded", True, None)
    assert [step.name for step in view.steps(job)] == ["first", "second"]
    assert [(call.cost, call.usage) for call in view.calls(job)] == [(4, {"in": 1})]
    assert [artifact.name for artifact in view.artifacts(job)] == ["plot.svg"]
    assert [(hook.hook, hook.result) for hook in view.hooks()] == [("report", "text")]


def test_captured_output_is_cut_from_the_workers_file(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    number = ledger.job("a")
    logs = ledger.folder / "logs"
    logs.mkdir()
    (logs / "worker-1").write_bytes(b"before|first|second|after")
    (ledger.folder / "secret").write_bytes(b"secret")
    usage = {"job": number, "slot": 1, "state": "failed", "started": NOON, "wall_s": 1, "cpu_s": 1, "peak_rss": 1}
    for attempt, (start, end) in {1: (7, 12), 2: (13, 19), 3: (19, 19)}.items():
        ledger.insert("attempts", number=attempt, log_file="worker-1", log_start=start, log_end=end, **usage)
    ledger.insert("attempts", number=9, log_file="../secret", log_start=0, log_end=6, **usage)
    ledger.insert("attempts", number=10, log_file="gone", log_start=0, log_end=6, **usage)
    view = RunView(ledger.close())
    assert view.log(number, 1) == b"first"
    assert view.log(number, 3) == b""
    assert view.log(number, 10) == b""
    with pytest.raises(LedgerError, match="outside"):
        view.log(number, 9)


def test_the_last_output_is_that_of_the_last_attempt_that_printed(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    number = ledger.job("a")
    (ledger.folder / "logs").mkdir()
    (ledger.folder / "logs" / "1").write_bytes(b"hello")
    usage = {"job": number, "slot": 1, "state": "failed", "started": NOON, "wall_s": 1, "cpu_s": 1, "peak_rss": 1}
    ledger.insert("attempts", number=1, log_file="1", log_start=0, log_end=5, **usage)
    ledger.insert("attempts", number=2, log_file="1", log_start=5, log_end=5, **usage)
    assert RunView(ledger.close()).log(number) == b"hello"


def test_failures_are_grouped_by_kind_and_first_line(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    for n in range(3):
        ledger.job(f"a{n}", "failed", kind="error", message=f"boom\nin line {n}")
    ledger.job("b", "failed", kind="error", message="other")
    ledger.job("c", "failed", kind="timeout", message="slow")
    ledger.job("d", "skipped", kind="skip", message="boom")
    error, timeout = RunView(ledger.close()).failures_by_kind(messages=1)
    assert (error.kind, error.jobs, error.others) == ("error", 4, 1)
    assert error.messages == (("boom", 3, "a0"),)
    assert (timeout.kind, timeout.jobs) == ("timeout", 1)


def test_the_slowest_jobs_and_the_peak_leave_out_cached_ones(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    ledger.job("a", wall_s=1.0, peak_rss=30)
    ledger.job("b", wall_s=3.0, peak_rss=10)
    ledger.job("c", wall_s=9.0, peak_rss=90, cached=1)
    ledger.job("d", "pending")
    view = RunView(ledger.close())
    assert [job.name for job in view.slowest(2)] == ["b", "a"]
    peak = view.peak()
    assert peak is not None
    assert peak.name == "a"


def test_running_jobs_are_read_from_the_slots(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(state="running")
    number = ledger.job("a", "pending")
    ledger.insert("slots", slot=1, job=0, attempt=0, pid=11, since=NOON)
    ledger.insert("slots", slot=2, job=number, attempt=1, pid=12, since=NOON)
    (slot,) = RunView(ledger.close()).running()
    assert (slot.slot, slot.name, slot.pid) == (2, "a", 12)


def test_no_ledger_a_broken_one_and_a_newer_one_are_told_apart(tmp_path: Path, make_ledger: MakeLedger) -> None:
    with pytest.raises(RunNotFound):
        RunView(tmp_path / "nowhere")
    ledger = make_ledger()
    ledger.database.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="version 99"):
        RunView(ledger.close())
    (ledger.folder / "ledger.db").write_bytes(b"no database at all, but long enough to look" * 100)
    with pytest.raises(LedgerError, match="cannot be read"):
        RunView(ledger.folder)


def test_numbers_that_json_text_can_hold_survive(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    ledger.job("a")
    ledger.database.execute("UPDATE jobs SET result = ?", (f'{{"big":{"9" * 30},"huge":{"9" * 5000},"nan":NaN}}',))
    result = RunView(ledger.close()).job("a").result
    assert result == {"big": int("9" * 30), "huge": "9" * 5000, "nan": "NaN"}
