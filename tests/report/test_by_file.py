"""The export shape `files`."""

from __future__ import annotations

import csv
import io
import json

import pytest

from batchmill.errors import UsageError
from batchmill.report.exports import export
from batchmill.report.query import RunView
from tests.report.conftest import MakeLedger


@pytest.fixture
def view(make_ledger: MakeLedger) -> RunView:
    ledger = make_ledger()
    asked = {"prompt": "Summarise", "model": "p/m"}
    ledger.job("a", params={"file": "docs/a.txt", **asked}, result={"text": "# Ships\n=1+1", "data": None}, wall_s=1.5)
    ledger.job("b", params={"file": "b.pdf", **asked}, result={"text": "{}", "data": {"topic": "sea"}}, wall_s=2.0)
    ledger.job("c", "skipped", params={"file": "c.txt", **asked, "model": "p/n"}, kind="empty", message="no text in it")
    ledger.job("d", "failed", params=asked, kind="timeout", message="after 30 s", wall_s=30.0)
    ledger.job("e", "pending", params={"file": "e.txt", **asked})
    return RunView(ledger.close())


def exported(view: RunView, fmt: str) -> str:
    out = io.StringIO()
    export(view, fmt, out, shape="files")
    return out.getvalue()


def test_json_has_an_entry_a_file_and_what_all_jobs_share(view: RunView) -> None:
    told = json.loads(exported(view, "json"))
    assert list(told) == ["batch_id", "parameters", "summary", "results"]
    assert told["parameters"] == {"prompt": "Summarise"}
    assert told["summary"]["total"] == told["summary"]["successful"] + told["summary"]["failed"]
    first, second, third, fourth, fifth = told["results"]
    assert first == {
        "file": "docs/a.txt",
        "status": "success",
        "result": "# Ships\n=1+1",
        "processing_time": 1.5,
        "error": None,
    }
    assert second["result"] == {"topic": "sea"}
    assert (third["status"], third["error"]) == ("failed", "empty: no text in it")
    assert (fourth["file"], fourth["error"]) == ("d", "timeout: after 30 s")
    assert fifth["error"] == "not run yet"


def test_csv_has_the_same_columns_and_starts_no_formula(view: RunView) -> None:
    rows = list(csv.reader(io.StringIO(exported(view, "csv"))))
    assert rows[0] == ["file", "status", "result", "processing_time", "error"]
    assert rows[1] == ["docs/a.txt", "success", "# Ships\n=1+1", "1.5", ""]
    assert rows[2][2] == '{"topic":"sea"}'
    assert rows[3] == ["c.txt", "failed", "", "", "empty: no text in it"]


def test_markdown_has_a_marked_heading_a_file_which_no_result_can_forge(view: RunView) -> None:
    lines = exported(view, "md").splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## ✓ docs/a.txt (1.5 s)", "## ✓ b.pdf (2.0 s)", "## ✗ c.txt", "## ✗ d (30.0 s)", "## ✗ e.txt"]
    assert "### Ships" in lines
    assert "**empty: no text in it**" in lines


def test_other_formats_are_refused(view: RunView) -> None:
    with pytest.raises(UsageError, match="the shape `files` has no format `jsonl`"):
        exported(view, "jsonl")
