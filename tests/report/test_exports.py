from __future__ import annotations

import csv
import io
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import HomeError, UsageError
from batchmill.model.text import clean
from batchmill.report.cells import cell, markdown_cell, text_cell
from batchmill.report.exports import FORMATS, Format, export, write_export
from batchmill.report.files import written_whole
from batchmill.report.query import RunView

from .conftest import MakeLedger


def exported(folder: Path, fmt: Format, *, stable: bool = False) -> str:
    out = io.StringIO()
    with RunView(folder) as view:
        export(view, fmt, out, stable=stable)
    return out.getvalue()


def test_the_json_export_is_as_promised(small_run: Path) -> None:
    document = json.loads(exported(small_run, "json"))
    assert list(document) == ["schema_version", "run", "jobs"]
    assert document["schema_version"] == 1
    assert document["run"] == {
        "id": "words-1",
        "name": "words",
        "task": "count-words",
        "state": "finished",
        "started": "2030-03-17T17:46:41.000Z",
        "finished": "2030-03-17T17:47:41.500Z",
        "wall_s": 60.5,
        "counts": {"succeeded": 3, "failed": 2, "skipped": 1, "cancelled": 0, "cached": 1, "retried": 1},
    }
    assert [job["name"] for job in document["jobs"]] == list("abcdefg")
    assert document["jobs"][1] == {
        "name": "b",
        "key": f"{2:064x}",
        "state": "succeeded",
        "cached": False,
        "params": {"text": "=1+1", "n": 1},
        "result": {"words": 1, "engine_s": 0.25, "list": [1, "x"]},
        "metrics": {"words": 1, "ratio": "NaN", "engine_s": 0.25},
        "error": None,
        "attempts": 3,
        "wall_s": 4.0,
        "cpu_s": 1.5,
        "peak_rss_bytes": 50_000_000,
    }
    assert document["jobs"][2]["cached"] is True
    assert document["jobs"][4]["error"] == {"kind": "timeout", "message": "took longer than 2 s"}
    assert (document["jobs"][5]["state"], document["jobs"][5]["error"]) == ("skipped", None)


def test_json_lines_hold_the_same_jobs(small_run: Path) -> None:
    jobs = json.loads(exported(small_run, "json"))["jobs"]
    lines = [json.loads(line) for line in exported(small_run, "jsonl").splitlines()]
    assert lines == [{"schema_version": 1} | job for job in jobs]


def test_csv_spreads_mappings_into_columns(small_run: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(exported(small_run, "csv"))))
    assert list(rows[0]) == [
        *("name", "key", "state", "cached", "attempts", "wall_s", "cpu_s", "peak_rss_bytes"),
        *("error.kind", "error.message", "params.text", "params.n"),
        *("metrics.words", "metrics.ratio", "metrics.engine_s"),
        *("result.words", "result.engine_s", "result.list"),
    ]
    assert rows[1]["params.text"] == "'=1+1"
    assert rows[1]["metrics.ratio"] == "nan"
    assert rows[1]["result.list"] == '[1,"x"]'
    assert rows[3]["error.message"] == "ValueError: no | words\nin <b>this</b> text"
    assert rows[6]["wall_s"] == rows[6]["result.words"] == ""


def test_markdown_cells_cannot_break_their_table(small_run: Path) -> None:
    lines = exported(small_run, "md").splitlines()
    assert len(lines) == 2 + 7
    assert "no \\| words in &lt;b>this&lt;/b> text" in lines[5]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_results_that_are_no_mappings_have_a_column_of_their_own(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    ledger.job("a", result=1.5)
    ledger.job("b", result={"x": "-Infinity"})
    ledger.job("c", result=[1, 2])
    ledger.job("d", result="-Infinity")
    rows = list(csv.DictReader(io.StringIO(exported(ledger.close(), "csv"))))
    assert [(row["result"], row["result.x"]) for row in rows] == [
        ("1.5", ""),
        ("", "-inf"),
        ("[1,2]", ""),
        ("-inf", ""),
    ]


def test_too_many_columns_become_one_of_json(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    for n in range(600):
        ledger.job(f"j{n}", result={f"word{n}": n})
    rows = list(csv.DictReader(io.StringIO(exported(ledger.close(), "csv"))))
    assert rows[599]["result"] == '{"word599":599}'
    assert len(rows[0]) == 11


def test_a_stable_export_does_not_depend_on_when_and_how_it_ran(make_ledger: MakeLedger) -> None:
    def run(name: str, seconds: float, cached: int, attempts: int) -> Path:
        ledger = make_ledger(name, active_s=seconds, state="finished" if cached else "superseded")
        result = {"words": 1, "engine_s": seconds}
        ledger.job("a", result=result, metrics=result, wall_s=seconds, cached=cached, total_attempts=attempts)
        ledger.job("b", "failed", kind="error", message="no", started=seconds, params={"wait_s": 3})
        return ledger.close()

    one, two = run("words-1", 1.0, 0, 1), run("words-2", 2.5, 1, 4)
    for fmt in FORMATS:
        assert exported(one, fmt, stable=True) == exported(two, fmt, stable=True)
        assert exported(one, fmt) != exported(two, fmt)
    assert json.loads(exported(one, "json", stable=True)) == {
        "schema_version": 1,
        "run": {
            "name": "words",
            "task": "count-words",
            "counts": {"succeeded": 1, "failed": 1, "skipped": 0, "cancelled": 0},
        },
        "jobs": [
            {
                "name": "a",
                "key": f"{1:064x}",
                "state": "succeeded",
                "params": {},
                "result": {"words": 1},
                "metrics": {"words": 1},
                "error": None,
            },
            {
                "name": "b",
                "key": f"{2:064x}",
                "state": "failed",
                "params": {"wait_s": 3},
                "result": None,
                "metrics": {},
                "error": {"kind": "error", "message": "no"},
            },
        ],
    }


def test_large_results_go_through_json_and_are_named_in_tables(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    small = ledger.object(b'{"words":3}')
    large = ledger.object(json.dumps({"text": "x" * 1_000_001}).encode())
    ledger.job("a", result_object=small, params={"text": '"result":null'})
    ledger.job("b", result_object=large)
    folder = ledger.close()
    first, second = json.loads(exported(folder, "json"))["jobs"]
    assert first["result"] == {"words": 3}
    assert list(first)[4:7] == ["params", "result", "metrics"]
    assert len(second["result"]["text"]) == 1_000_001
    assert json.loads(exported(folder, "json", stable=True))["jobs"][0]["result"] == {"words": 3}
    rows = list(csv.DictReader(io.StringIO(exported(folder, "csv"))))
    assert rows[0]["result.words"] == "3"
    assert rows[1]["result"] == f"object:{large}"


def test_text_that_utf_8_cannot_hold_is_exported(make_ledger: MakeLedger, tmp_path: Path) -> None:
    ledger = make_ledger()
    ledger.job("a", result={"path": "\ud800", "huge": 1e999})
    folder = ledger.close()
    assert json.loads(exported(folder, "json"))["jobs"][0]["result"] == {"path": "\ud800", "huge": "Infinity"}
    for fmt in FORMATS:
        write_export(RunView(folder), fmt, tmp_path / fmt)


def test_an_empty_run_exports(make_ledger: MakeLedger) -> None:
    folder = make_ledger().close()
    assert json.loads(exported(folder, "json"))["jobs"] == []
    assert exported(folder, "jsonl") == ""
    assert len(exported(folder, "csv").splitlines()) == 1


def test_an_unknown_format_is_refused(small_run: Path) -> None:
    with pytest.raises(UsageError, match="`xml`"):
        export(RunView(small_run), "xml", io.StringIO())  # type: ignore[arg-type]


# --- files -------------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(small_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "jobs.json"
    view = RunView(small_run)
    write_export(view, "json", target)
    before = target.read_text()
    assert json.loads(before)["run"]["id"] == "words-1"
    view.close()
    with pytest.raises(Exception, match="closed"):
        write_export(view, "json", target)
    assert target.read_text() == before
    assert [path.name for path in target.parent.iterdir()] == ["jobs.json"]


def test_a_file_keeps_to_its_folder(small_run: Path, tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "file").symlink_to(outside / "file")
    view = RunView(small_run)
    for path in (folder / "link" / "x", folder / ".." / "x", folder / "file"):
        with pytest.raises(UsageError, match="leads out"):
            write_export(view, "csv", path, within=folder)
    write_export(view, "csv", folder / "deep" / "x", within=folder)
    assert list(outside.iterdir()) == []


def test_a_refusing_disk_is_told(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="cannot be written"):
        write_export(RunView(small_run), "csv", tmp_path / "file" / "x.csv")


# --- cells -------------------------------------------------------------------------------------------------------

hostile = st.text(st.characters() | st.sampled_from("=+-@\t\r\n＝＋－＠'\"|,;\x1b[]\x07\x9b\ud800"))


@given(hostile)
def test_text_survives_csv_and_starts_no_formula(text: str) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([text_cell(text), "end"])
    ((read, end),) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert end == "end"
    assert read.lstrip(" ")[:1] not in {*"=+-@\t\r＝＋－＠"}
    assert read in (clean(text), "'" + clean(text))


@given(hostile)
def test_clean_text_holds_no_controls_and_stays_clean(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert all(c in "\t\n" or (c >= " " and not "\x7f" <= c <= "\x9f") for c in cleaned)
    cleaned.encode()


@given(st.floats() | st.integers())
def test_numbers_are_untouched_by_csv(number: float) -> None:
    read = type(number)(cell(number))
    assert read == number or (read != read and number != number)


@given(hostile)
def test_a_markdown_cell_is_one_line_with_no_free_pipe(text: str) -> None:
    written = markdown_cell(text)
    assert "\n" not in written
    assert "|" not in written.replace("\\\\", "").replace("\\|", "")
    assert "<" not in written


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (True, "true"),
        (-3, "-3"),
        ("-3", "'-3"),
        ("NaN", "nan"),
        (float("inf"), "inf"),
        (10**30, "1" + "0" * 30),
        ({"a": [1]}, '{"a":[1]}'),
        ("\x1b[0m=1", "'=1"),
        ("a\x1b]0;title\x07b\x9b2Jc", "abc"),
        ("  ＝1", "'  ＝1"),
    ],
)
def test_cells(value: Any, expected: str) -> None:
    assert cell(value) == expected


# --- size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fmt", "jobs"),
    [("json", 10_000), ("csv", 10_000), ("md", 10_000), pytest.param("csv", 100_000, marks=pytest.mark.slow)],
)
def test_memory_does_not_grow_with_the_number_of_jobs(
    make_ledger: MakeLedger, tmp_path: Path, fmt: Format, jobs: int
) -> None:
    ledger = make_ledger()
    ledger.jobs((n, f"job-{n}", f'{{"repeat":{n}}}', f'{{"rank":{n}}}', "{}", 0.1) for n in range(jobs))
    view = RunView(ledger.close())
    tracemalloc.start()
    try:
        write_export(view, fmt, tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert (tmp_path / "out").stat().st_size > 40 * jobs


def test_a_pipe_or_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with written_whole(pipe) as out:
        out.write("told")
    assert os.read(reader, 100) == b"told"
    assert pipe.is_fifo()
    os.close(reader)
