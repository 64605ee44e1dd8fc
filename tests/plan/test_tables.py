"""Tables: one job a row; every wrong cell is told with file, row and column before anything runs."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import PlanError, Problem
from batchmill.manifest.document import from_values
from batchmill.model.manifest import TableSection
from batchmill.model.states import Mode
from batchmill.model.tasks import InputFile
from batchmill.plan.plan import Plan, build
from batchmill.plan.tables import Table, TableRow
from batchmill.plugins import make_task


def fit(leaf: int, thresh: float = 0.5, tags: list[str] | None = None, note: str = "", anything: Any = None) -> None:
    return None


def read_file(path: InputFile) -> None:
    return None


TASKS = {task.name: task for task in (make_task(fit, version="1"), make_task(read_file, version="1"))}


def plan(folder: Path, table: dict[str, Any], **values: Any) -> Plan:
    given = {"task": "fit", "table": table, **values}
    return build(from_values(given, folder=folder, known_tasks=list(TASKS)), TASKS.__getitem__)


def rows(folder: Path, name: str, **section: Any) -> list[TableRow | Problem]:
    return list(Table(TableSection.model_validate({"from": name, **section}), str(folder)))


def problems(folder: Path, table: dict[str, Any], **values: Any) -> list[tuple[str, int, int, str]]:
    with pytest.raises(PlanError) as caught:
        plan(folder, table, **values)
    return [(p.source, p.line, p.column, p.message) for p in caught.value.problems]


def test_cells_are_typed_by_the_parameters_and_empty_ones_are_not_given(tmp_path: Path) -> None:
    text = 'leaf,thresh,tags,note,anything\n50,,"[""a""]",7,007\n\n 60,0.25,,"a, b\nc",3\n'
    (tmp_path / "t.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert [job.params for job in plan(tmp_path, {"from": "t.csv"}).jobs()] == [
        '{"anything":"007","leaf":50,"note":"7","tags":["a"],"thresh":0.5}',
        '{"anything":3,"leaf":60,"note":"a, b\\nc","tags":null,"thresh":0.25}',
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "leaf;note\n50;a, b, c\n"),
        ("t.csv", "\ufeffleaf\tnote\n50\ta, b, c\n"),
        ("t.csv", 'leaf,note\n50,"a, b, c"\n'),
        ("t.tsv", "leaf\tnote\n50\ta, b, c\n"),
        ("t.csv", 'leaf;"note"\n50;"a, b, c"\n'),
    ],
)
def test_cells_are_parted_by_what_the_header_has_most_of(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [job.params for job in plan(tmp_path, {"from": name}).jobs()] == [
        '{"anything":null,"leaf":50,"note":"a, b, c","tags":null,"thresh":0.5}'
    ]


def test_rows_carry_their_own_options(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "name,leaf,task,timeout,memory,retry,priority,group\nfirst,1,,60,2GB,4,7,g\n,2,,,,,,\n"
    )
    first, second = plan(tmp_path, {"from": "t.csv"}, retry={"on": ["timeout"]}).jobs()
    assert (first.name, first.generated, first.timeout, first.memory) == ("first", False, 60.0, 2 * 10**9)
    assert (first.priority, first.group) == (7, "g")
    assert first.retry is not None
    assert (first.retry.attempts, first.retry.on) == (4, ("timeout",))
    assert (second.name, second.generated, second.retry, second.group) == ("row_2", True, None, None)


def test_rows_may_name_their_tasks(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"task": "read_file", "path": "t.jsonl"}\n{"task": "fit", "leaf": 3}\n')
    jobs = list(build(from_values({"table": {"from": "t.jsonl"}}, folder=tmp_path), lambda name: TASKS[name]).jobs())
    assert [(job.task, job.mode, job.key is None) for job in jobs] == [
        ("read_file", Mode.PROCESS, True),
        ("fit", Mode.PROCESS, False),
    ]


def test_a_template_names_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("leaf\n1\n2\n")
    found = plan(tmp_path, {"from": "t.csv", "name": "{leaf}-{thresh}"}, defaults={"thresh": 0.1})
    assert [(job.name, job.generated) for job in found.jobs()] == [("1-0.1", True), ("2-0.1", True)]


def test_every_wrong_cell_is_told_with_file_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("leaf,thrsh,priority,name\nmany,,,a\n1,2,,b\n2,,high,b\n3,,,b\n")
    assert problems(tmp_path, {"from": "t.csv"}) == [
        ("t.csv", 2, 1, "`leaf`: input should be a valid integer, unable to parse string as an integer"),
        ("t.csv", 3, 2, "the task `fit` has no parameter `thrsh`"),
        ("t.csv", 4, 3, "`priority`: input should be a valid integer, unable to parse string as an integer"),
        ("t.csv", 5, 4, "two jobs are named `b`"),
    ]


def test_a_fault_in_the_defaults_is_told_there_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("leaf\n1\n2\n")
    [found] = problems(tmp_path, {"from": "t.csv"}, defaults={"thresh": "high"})
    assert found[0] == "defaults.thresh"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "leaf,leaf\n1,2\n", "the column `leaf` is there twice"),
        ("t.csv", "leaf,,note\n1,2,3\n", "this column has no name"),
        ("t.csv", "leaf\n1,2\n", "this row has more than 1 cell"),
        ("t.csv", 'leaf\n"1\n', "this is not valid csv: unexpected end of data"),
        ("t.jsonl", '{"leaf": 1}\n{leaf}\n', "this is not JSON: Expecting property name enclosed in double quotes"),
        ("t.jsonl", "[1]\n", "each line must be a JSON object"),
        ("t.jsonl", "[" * 100_000, "this is not usable JSON: maximum recursion depth exceeded"),
        ("t.txt", "x", "`t.txt` is no table that can be read"),
        ("t.xlsx", "x", "`t.xlsx` is not a readable .xlsx file: File is not a zip file"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    assert any(found[3].startswith(message) for found in problems(tmp_path, {"from": name}))


def test_a_missing_or_binary_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"leaf\n\xff\n")
    assert problems(tmp_path, {"from": "no.csv"}) == [("table.from", 0, 0, "there is no table `no.csv`")]
    assert problems(tmp_path, {"from": "b.csv"})[0][3].startswith("`b.csv` is not UTF-8")


def test_sheets_are_read_with_their_types(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (
        ["leaf", "note", "anything", None],
        [5, 7, datetime.datetime(2025, 1, 2)],
        [None] * 3,
        [6, None, True],
    ):
        sheet.append(row)
    book.create_sheet("more").append(["leaf"])
    book.save(tmp_path / "t.xlsx")
    book.close()
    assert [r.cells for r in rows(tmp_path, "t.xlsx") if isinstance(r, TableRow)] == [
        {"leaf": 5, "note": 7, "anything": "2025-01-02T00:00:00"},
        {"leaf": 6, "anything": True},
    ]
    assert [r.line for r in rows(tmp_path, "t.xlsx") if isinstance(r, TableRow)] == [2, 4]
    assert '"note":"7"' in next(plan(tmp_path, {"from": "t.xlsx"}).jobs()).params
    assert rows(tmp_path, "t.xlsx", sheet="more") == []
    with pytest.raises(PlanError) as caught:
        rows(tmp_path, "t.xlsx", sheet="none")
    assert caught.value.hint == "its sheets: `Sheet`, `more`"


def test_without_openpyxl_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(PlanError) as caught:
        rows(tmp_path, "t.xlsx")
    assert "batchmill[tables]" in str(caught.value.hint)


def test_rows_that_name_files_are_keyed_by_their_content_later(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path\na.txt\nb.txt\n")
    (tmp_path / "a.txt").write_text("a")
    assert problems(tmp_path, {"from": "t.csv"}, task="read_file") == [
        ("t.csv", 3, 1, "the file `b.txt` does not exist")
    ]
    (tmp_path / "b.txt").write_text("b")
    found = plan(tmp_path, {"from": "t.csv"}, task="read_file")
    assert [(job.key, [i.path for i in job.inputs]) for job in found.jobs()] == [
        (None, [str(tmp_path / "a.txt")]),
        (None, [str(tmp_path / "b.txt")]),
    ]
    (tmp_path / "a.txt").write_text("changed")
    assert plan(tmp_path, {"from": "t.csv"}, task="read_file").digest != found.digest


def test_a_table_that_changes_after_it_was_checked_breaks_the_plan_off(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("leaf\n1\n")
    found = plan(tmp_path, {"from": "t.csv"})
    (tmp_path / "t.csv").write_text("leaf\n1\n2\n")
    with pytest.raises(PlanError, match="changed while it was planned"):
        list(found.jobs())


def test_skipping_rows_is_slicing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("leaf\n" + "".join(f"{n}\n" for n in range(20)))
    found = plan(tmp_path, {"from": "t.csv"}, jobs=[{"params": {"leaf": 1}}])
    jobs = list(found.jobs())
    assert found.count() == len(jobs) == 21
    for start in (0, 1, 5, 20, 21, 30):
        assert list(found.jobs(start)) == jobs[start:]
