from __future__ import annotations

import json
import math
import statistics as exact
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import UsageError
from batchmill.model.tasks import Metric
from batchmill.report.query import RunView
from batchmill.report.statistics import Column, collect, percentile
from batchmill.report.summary import summarise, write_reports

from .conftest import MakeLedger

finite = st.floats(-1e12, 1e12)


def test_the_summary_holds_what_it_promises(small_run: Path) -> None:
    summary = summarise(RunView(small_run), columns=[Metric("words", "words", "word count", "higher")])
    assert summary["schema_version"] == 1
    assert (summary["run"], summary["name"], summary["task"]) == ("words-1", "words", "count-words")
    assert (summary["started"], summary["finished"]) == ("2030-03-17T17:46:41.000Z", "2030-03-17T17:47:41.500Z")
    assert (summary["total"], summary["total_time"], summary["spent"]) == (7, 60.5, 1.23)
    counted = ("success", "failure", "skipped", "cancelled", "cached", "retried", "pending")
    assert [summary[f"{name}_count"] for name in counted] == [3, 2, 1, 0, 1, 1, 1]
    assert summary["success_rate"] == 0.5
    assert summary["successful"] == ["a", "b", "c"]
    assert summary["failed"][1] == {"name": "e", "kind": "timeout", "message": "took longer than 2 s"}
    words = summary["metrics"]["words"]
    assert (words["n"], words["mean"], words["min"], words["max"]) == (3, 10 / 3, 1, 7)
    assert (words["unit"], words["label"], words["better"]) == ("words", "word count", "higher")
    assert "ratio" not in summary["metrics"]
    assert summary["statistics"]["wall_s"]["n"] == 4
    assert summary["statistics"]["slowest"] == {"name": "e", "wall_s": 9.0}
    assert summary["statistics"]["fastest"] == {"name": "a", "wall_s": 2.0}
    assert list(summary["groups"]) == ["x", "y"]
    assert summary["groups"]["x"]["success_rate"] == 1.0
    assert summary["groups"]["x"]["wall_s_mean"] == 3.0
    assert summary["groups"]["y"]["success_rate"] == 0.0


def test_the_file_is_the_same_summary_with_every_name(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    for n in range(2500):
        ledger.job(f"job-{n}", "failed" if n % 5 == 0 else "succeeded")
    view = RunView(ledger.close())
    short = summarise(view)
    (path,) = write_reports(view, ["json"])
    whole = json.loads(path.read_text())
    assert (len(short["successful"]), len(short["failed"])) == (1000, 500)
    assert (len(whole["successful"]), len(whole["failed"])) == (2000, 500)
    assert whole | {"successful": short["successful"]} == short


def test_a_run_without_ended_jobs_has_no_rates(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(started=None, finished=None, state="planning")
    ledger.job("a", "pending")
    view = RunView(ledger.close())
    summary = summarise(view)
    assert summary["success_rate"] is summary["started"] is summary["statistics"]["wall_s"] is None
    write_reports(view)
    assert json.loads((view.run_folder / "summary.json").read_text()) == summary


def test_the_reports_are_written_into_the_runs_folder(small_run: Path) -> None:
    view = RunView(small_run)
    assert [path.name for path in write_reports(view)] == ["summary.json", "results.csv", "report.md"]
    assert [path.name for path in write_reports(view, ["csv"])] == ["results.csv"]
    assert sorted(path.name for path in small_run.iterdir()) == [
        *("ledger.db", "report.md", "results.csv", "summary.json"),
    ]


def test_a_report_does_not_follow_links_out_of_the_folder(small_run: Path, tmp_path: Path) -> None:
    (small_run / "summary.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out"):
        write_reports(RunView(small_run), ["json"])


def test_the_report_reads_well(small_run: Path, make_ledger: MakeLedger) -> None:
    write_reports(RunView(small_run), ["md"])
    text = (small_run / "report.md").read_text()
    for line in (
        "# words-1",
        "| succeeded | 3 |",
        "| success rate | 50% |",
        "| taken from earlier results (cached) | 1 |",
        "| spent | 1.23 USD |",
        "| wall time | 4.2 s | 3.0 s | 8.2 s | 2.0 s | 9.0 s | 17.0 s |",
        "| peak memory | 50 MB | 50 MB | 50 MB | 50 MB | 50 MB |  |",
        "Fastest: a, 2.0 s. Slowest: e, 9.0 s.",
        "| words | 3 | 3.333 | 2 | 6.5 | 1 | 7 |",
        "### error: 1",
        "| 1 | ValueError: no \\| words | d |",
        "| b | 3 | succeeded |",
        "| words-0 | 1 |",
        "| y | 0 | 2 | 0 | 0 | 0% | 5.5 s |",
    ):
        assert line in text.splitlines(), line
    assert "\x1b" not in text


def test_a_tasks_own_report_is_part_of_the_report(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    ledger.insert("hooks", hook="report", task="t", state="succeeded", result=json.dumps("All \x1b[1mgood\x1b[0m.\n"))
    ledger.insert("hooks", hook="summarise", task="t", state="succeeded", result='"not this"')
    view = RunView(ledger.close())
    write_reports(view, ["md"])
    assert (view.run_folder / "report.md").read_text().endswith("## Report of t\n\nAll good.\n\n")


# --- numbers -----------------------------------------------------------------------------------------------------


@given(st.lists(finite, min_size=2))
def test_a_columns_summary_is_exact(values: list[float]) -> None:
    column = Column()
    for first in range(0, len(values), 3):
        column.extend(values[first : first + 3])
    found = column.summary()
    assert found is not None
    assert (found.n, found.min, found.max) == (len(values), min(values), max(values))
    assert found.total == pytest.approx(math.fsum(values), rel=1e-12, abs=1e-3)
    assert found.p95 == pytest.approx(exact.quantiles(values, n=20, method="inclusive")[-1], rel=1e-9, abs=1e-3)


def test_values_that_are_not_finite_are_counted_apart() -> None:
    column = Column()
    column.extend([1.0, math.nan, 3.0, math.inf])
    found = column.summary()
    assert found is not None
    assert (found.n, found.mean, found.max, found.non_finite) == (2, 2.0, 3.0, 2)
    assert Column().summary() is None


def test_beyond_the_exact_size_percentiles_come_from_a_fair_sample() -> None:
    column = Column(exact=2000)
    for first in range(0, 20_000, 500):
        column.extend([float(value) for value in range(first, first + 500)])
    found = column.summary()
    assert found is not None
    assert (found.n, found.min, found.max, found.total) == (20_000, 0, 19_999, 19_999 * 10_000)
    assert found.p50 == pytest.approx(10_000, rel=0.08)
    assert found.p95 == pytest.approx(19_000, rel=0.03)


def test_a_percentile_lies_between_its_neighbours() -> None:
    assert percentile([1.0], 0.95) == 1.0
    assert percentile([1.0, 2.0], 0.5) == 1.5
    assert percentile([1.0, 2.0, 10.0], 1.0) == 10.0


def test_metrics_are_numbers_of_any_size_but_no_truth_values(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    ledger.job("a", metrics={"n": 10**400, "flag": True, "label": "x", "v": 1})
    ledger.job("b", metrics={"n": 1, "v": "Infinity"})
    ledger.job("c", "failed", metrics={"v": 5})
    found = collect(RunView(ledger.close())).metrics
    assert set(found) == {"n", "v"}
    assert (found["n"].n, found["n"].non_finite) == (1, 1)
    assert (found["v"].n, found["v"].max, found["v"].non_finite) == (1, 1.0, 1)
