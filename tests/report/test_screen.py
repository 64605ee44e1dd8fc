from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from batchmill.report.details import job_details, run_details
from batchmill.report.encode import json_text
from batchmill.report.page import Page
from batchmill.report.query import RunView
from batchmill.report.screen import job_page, run_page, summary_page
from batchmill.report.summary import gather

from .conftest import NOON, MakeLedger

EVIL = "\x1b]0;title\x07[red]x[/red]\x1b[2J\x9b31m"


def test_the_end_of_a_run_says_what_came_of_it_and_what_to_do(small_run: Path) -> None:
    view = RunView(small_run)
    lines = str(summary_page(view, gather(view), [small_run / "report.md"])).splitlines()
    text = "\n".join(" ".join(line.split()) for line in lines)
    for fact in (
        "words-1 finished, 1 min, task count-words",
        "jobs 7: 3 succeeded (1 cached), 2 failed, 1 skipped, 1 not run yet",
        "success rate 50%",
        "tried more than once 1",
        "wall time of a job median 3.0 s, 95% 8.2 s, longest 9.0 s",
        "peak memory of a job median 50 MB",
        "spent 1.23 USD",
        "error 1 d ValueError: no | words",
        "timeout 1 e took longer than 2 s",
        "hint: `batchmill show words-1/d` shows a failure, `batchmill retry words-1 --failed` tries again",
    ):
        assert fact in text
    assert "report.md" in text


def test_an_unfinished_run_says_how_to_go_on(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(state="interrupted", reason="SIGTERM")
    ledger.job("a")
    ledger.job("b", "pending")
    text = str(summary_page(RunView(ledger.close())))
    assert "words-1 interrupted (SIGTERM)" in text
    assert "`batchmill resume words-1` goes on with what has not run yet: 1 job" in text


def test_show_run_tells_groups_extremes_and_what_runs(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(state="running", plan_done=0)
    for n in range(30):
        ledger.job(f"job-{n}", grp=f"group-{n:02}", wall_s=float(n), peak_rss=n * 10**6, metrics={"words": n})
    number = ledger.job("now", "pending")
    ledger.insert("slots", slot=3, job=number, attempt=1, pid=77, since=NOON)
    text = "\n".join(" ".join(line.split()) for line in str(run_page(RunView(ledger.close()))).splitlines())
    for fact in (
        "31 planned so far",
        "group-00 1 0 0 100%",
        "+ 10 more groups",
        "3 now 1 77 2030-03-17T17:46:40.000Z",
        "job-29 29.0 s 29 MB succeeded",
        "highest memory",
        "words 14.5 14.5",
        "python 3.11.7",
    ):
        assert fact in text


def test_a_job_is_shown_with_all_that_happened_to_it(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    number = ledger.job(
        "a/b",
        "failed",
        kind="error",
        message="ValueError: no\nsecond line",
        params={"n": 1},
        total_attempts=2,
        wall_s=1.5,
    )
    usage = {"job": number, "slot": 1, "state": "failed", "wall_s": 1.0, "cpu_s": 1.0, "peak_rss": 10**7}
    log = {"log_file": "w", "log_start": 0, "log_end": 600}
    ledger.insert(
        "attempts", number=1, kind="crashed", message="signal 11", charged=0, exceptions="[]", started=NOON, **usage
    )
    ledger.insert(
        "attempts",
        number=2,
        kind="error",
        message="no",
        exceptions='["ValueError"]',
        traceback="Trace\n  back",
        started=NOON,
        **log,
        **usage,
    )
    step = {"arguments": "", "value": '{"pages":3}', "job": number, "attempt": 1, "finished": NOON, "seconds": 0.5}
    ledger.insert("steps", key=f"{number:064x}", name="read", **step)
    ledger.insert("calls", id=1, job=number, quota="q", key="k", state="settled", tokens=3, cost=10**6, reserved=NOON)
    ledger.insert("artifacts", job=number, name="plot.svg", digest="ab" * 32, size=5000)
    (ledger.folder / "logs").mkdir()
    (ledger.folder / "logs" / "w").write_bytes(b"".join(b"line %d\n" % n for n in range(100)))
    view = RunView(ledger.close())
    text = "\n".join(" ".join(line.split()) for line in str(job_page(view, view.job("a/b"))).splitlines())
    for fact in (
        "words-1/a/b failed",
        "attempts 2",
        '"n": 1',
        "1 crashed 2030-03-17T17:46:40.000Z 1.0 s 10 MB signal 11 (not counted)",
        'read succeeded 500 ms 1 {"pages":3}',
        "1 q settled 3 0.01 USD",
        "ValueError: no\nsecond line",
        "error 2030-03-17T17:46:40.000Z 1.0 s 10 MB ValueError: no",
        "Trace\nback",
        "plot.svg 5 kB",
        "line 9\n… ",
        "more lines …\nline",
    ):
        assert fact in text, fact
    record = json.loads(json_text(job_details(view, view.job("a/b"))))
    assert [attempt["kind"] for attempt in record["attempts"]] == ["crashed", "error"]
    assert record["steps"][0]["name"] == "read"
    assert record["error"]["kind"] == "error"


def test_a_cached_job_names_its_source(small_run: Path) -> None:
    view = RunView(small_run)
    text = " ".join(str(job_page(view, view.job("c"))).split())
    assert "result of words-0, job 3" in text
    assert '"words": 7' in text


def test_every_fate_of_a_job_can_be_shown(small_run: Path) -> None:
    view = RunView(small_run)
    for job in view.jobs():
        assert str(job_page(view, job)).startswith(f"words-1/{job.name} {job.state}")
        json_text(job_details(view, job))
    assert "nothing to do" in str(job_page(view, view.job("f")))


def test_nothing_that_jobs_bring_controls_the_terminal(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(reason=EVIL)
    number = ledger.job(EVIL, "failed", kind="error", message=EVIL, params={EVIL: EVIL}, grp=EVIL, wall_s=1.0)
    ledger.job("good", result=EVIL, metrics={EVIL: 1})
    usage = {"job": number, "slot": 1, "state": "failed", "started": NOON, "wall_s": 1, "cpu_s": 1, "peak_rss": 1}
    ledger.insert("attempts", number=1, traceback=EVIL, log_file="w", log_start=0, log_end=99, **usage)
    (ledger.folder / "logs").mkdir()
    (ledger.folder / "logs" / "w").write_text(EVIL)
    view = RunView(ledger.close())
    pages = [summary_page(view), run_page(view), job_page(view, view.job(1)), job_page(view, view.job("good"))]
    for page in pages:
        out = io.StringIO()
        Console(file=out, width=300, force_terminal=True, color_system=None).print(page)
        for text in (out.getvalue(), page.plain()):
            assert not set(text) & set("\x1b\x07\x9b\r")
    assert "[red]x[/red]" in str(pages[0])


def test_a_page_keeps_to_its_width() -> None:
    page = Page()
    page.title("t" * 500)
    page.table(("name", "message"), [("n" * 500, "word " * 100)])
    page.text("y" * 500)
    page.pairs([("a", None), ("b", ""), ("c", 0)])
    lines = page.plain(60).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[-1].split() == ["c", "0"]


@pytest.mark.parametrize("lines", [30, 31, 1000])
def test_long_output_is_shown_by_its_ends(make_ledger: MakeLedger, lines: int) -> None:
    ledger = make_ledger()
    number = ledger.job("a")
    text = "".join(f"line {n}\n" for n in range(lines)).encode()
    (ledger.folder / "logs").mkdir()
    (ledger.folder / "logs" / "w").write_bytes(text)
    usage = {"job": number, "slot": 1, "state": "succeeded", "started": NOON, "wall_s": 1, "cpu_s": 1, "peak_rss": 1}
    ledger.insert("attempts", number=1, log_file="w", log_start=0, log_end=len(text), **usage)
    view = RunView(ledger.close())
    shown = str(job_page(view, view.job("a"))).split("output\n")[1].splitlines()
    assert shown[0] == "line 0"
    assert shown[-1] == f"line {lines - 1}"
    assert len(shown) == min(lines, 31)


def test_the_details_of_a_run_are_json(small_run: Path) -> None:
    record = json.loads(json_text(run_details(RunView(small_run))))
    assert (record["run"], record["failure_count"]) == ("words-1", 2)
    assert [group["kind"] for group in record["failures"]] == ["error", "timeout"]
    assert record["peak"]["peak_rss_bytes"] == 50_000_000
    assert record["slowest"][0] == {"name": "e", "wall_s": 9.0}
    assert record["cached_from"] == {"words-0": 1}
