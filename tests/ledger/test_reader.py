"""Pending rows as the driver reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.errors import LedgerError, RunNotFound
from batchmill.ledger import reader as reader_module
from batchmill.ledger.home import Home, NewRun
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import SUCCEEDED, LedgerReader
from batchmill.ledger.records import Selection
from batchmill.model.facts import AttemptEnded, JobDue, StepSaved
from batchmill.model.jobs import FileIdentity, SavedStep, Source
from batchmill.model.states import Mode
from tests.ledger.conftest import OFFSET, Written, ending, failure, key_of, planned, writing


def numbers(reader: LedgerReader, stream: str = "main", limit: int = 3, **options: object) -> list[int]:
    """All rows of a stream, page by page."""
    found: list[int] = []
    after = None
    while True:
        chunk = reader.load(stream, after, limit, OFFSET + 100, **options)  # type: ignore[arg-type]
        found += [row.job for row in chunk.rows]
        if chunk.exhausted:
            return found
        after = chunk.after


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-2, 2), st.sampled_from([None, "a", "b"])), max_size=30),
    st.integers(1, 7),
)
def test_pages_give_every_row_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, jobs: list[tuple[int, int, str | None]], limit: int
) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    paths = home.create_run(NewRun("sweep", "noop", "d", "/"))
    rows = [planned(n, lane=lane, priority=p, group=g) for n, (lane, p, g) in enumerate(jobs, 1)]
    with writing(paths) as written:
        written.plan(*rows)
    order = sorted(rows, key=lambda job: (job.lane, -job.priority, job.number))

    def expected(groups: list[str | None]) -> list[int]:
        return [job.number for job in order if job.group in groups]

    with LedgerReader(paths.ledger) as reader:
        assert numbers(reader, limit=limit) == expected([None, "a", "b"])
        assert numbers(reader, limit=limit, capped_groups=("a",)) == expected([None, "b"])
        assert numbers(reader, "group:a", limit=limit) == expected(["a"])
        assert numbers(reader, limit=limit, selection=Selection(group="b")) == expected(["b"])


def test_ready_jobs_are_counted_up_to_a_limit(written: Written) -> None:
    written.plan(*(planned(n) for n in range(1, 8)))
    written.write(JobDue(0.0, 1, 50.0, 1, 1, 0, 0.0), *ending(2))
    with LedgerReader(written.paths.ledger) as reader:
        assert (reader.ready(3), reader.ready(100)) == (3, 5)


def test_jobs_that_wait_for_another_attempt_are_told_with_their_lanes(written: Written) -> None:
    written.plan(*(planned(n, lane=n % 2) for n in range(1, 5)))
    written.write(JobDue(0.0, 1, 50.0, 1, 1, 0, 0.0), JobDue(0.0, 4, 60.0, 1, 1, 0, 0.0))
    with LedgerReader(written.paths.ledger) as reader:
        assert reader.waiting() == {1: 1, 4: 0}


def test_a_row_says_all_that_a_start_needs(written: Written) -> None:
    inputs = (FileIdentity("/data/\udcff.csv", 1, 2**60, 3),)
    written.plan(planned(1, mode=Mode.ASYNC, inputs=inputs, key=None), planned(2))
    written.write(StepSaved(1.0, 2, key_of(2), 1, SavedStep("load", "digest", b"[1]"), 0.5))
    with LedgerReader(written.paths.ledger) as reader:
        first, second = reader.load("main", None, 10, 0.0).rows
    assert (first.task, first.mode, first.version, first.inputs, first.key) == ("noop", Mode.ASYNC, "1", inputs, None)
    assert second.steps == (SavedStep("load", "digest", b"[1]"),)


def test_a_job_with_the_key_of_a_success_has_a_source(written: Written) -> None:
    written.plan(planned(1), planned(2, key=key_of(1)), planned(3))
    with LedgerReader(written.paths.ledger) as reader:
        assert [row.source for row in reader.load("main", None, 10, 0.0).rows] == [None, None, None]
        written.write(*ending(1))
        assert [row.source for row in reader.load("main", None, 10, 0.0).rows] == [Source("", 1), None]
        assert reader.succeeded(key_of(1)) == Source("", 1)
        assert reader.succeeded(key_of(1)[:8] + "0" * 56) is None


def test_results_are_looked_up_by_an_index(written: Written) -> None:
    written.plan(planned(1))
    plan = str(written.ask(f"EXPLAIN QUERY PLAN {SUCCEEDED}", '["x"]'))
    assert "USING INDEX jobs_key (key_start=?)" in plan


def test_waiting_jobs_come_when_their_time_has_come(written: Written) -> None:
    written.plan(*[planned(n) for n in range(1, 5)])
    for number, due in ((1, 30.0), (2, 10.0), (3, 20.0)):
        written.write(AttemptEnded(6.0, number, 1, 0, failure()), JobDue(6.0, number, due, 1, 1, 0, 5.0))
    with LedgerReader(written.paths.ledger) as reader:
        assert numbers(reader) == [4]
        early = reader.load("due", None, 10, OFFSET + 5)
        assert (early.rows, early.exhausted, early.next_due) == ((), True, OFFSET + 10)
        some = reader.load("due", None, 10, OFFSET + 25)
        assert ([row.job for row in some.rows], some.next_due) == ([2, 3], OFFSET + 30)
        assert (some.rows[0].attempts, some.rows[0].total_attempts, some.rows[0].first_started) == (1, 1, OFFSET + 5)
        one = reader.load("due", None, 1, OFFSET + 25)
        assert ([row.job for row in one.rows], one.exhausted, one.next_due) == ([2], False, OFFSET + 25)


def test_a_selection_narrows_by_name_and_number(written: Written) -> None:
    written.plan(*[planned(n) for n in range(1, 13)])
    with LedgerReader(written.paths.ledger) as reader:
        assert numbers(reader, selection=Selection(("job-1*", "job-3"))) == [1, 3, 10, 11, 12]
        assert numbers(reader, selection=Selection(numbers=frozenset({2, 5, 99}))) == [2, 5]
        assert numbers(reader, selection=Selection(("job-1*",), numbers=frozenset({2, 11}))) == [11]


def test_large_parameters_are_read_from_objects_and_bound_the_answer(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_MOST_BYTES", 150_000)
    large = [f'{{"x":"{"y" * 70_000}{n}"}}' for n in range(5)]
    written.plan(*[planned(n, params=params) for n, params in enumerate(large, 1)])
    with LedgerReader(written.paths.ledger) as reader:
        chunk = reader.load("main", None, 10, 0.0)
        assert ([row.job for row in chunk.rows], chunk.exhausted) == ([1, 2, 3], False)
        assert chunk.rows[2].params == large[2]
        assert numbers(reader, limit=10) == [1, 2, 3, 4, 5]


def test_what_is_no_ledger_is_said(tmp_path: Path, paths: RunPaths) -> None:
    with pytest.raises(RunNotFound):
        LedgerReader(tmp_path / "ledger.db")
    (tmp_path / "ledger.db").write_bytes(b"")
    with pytest.raises(LedgerError, match="not a ledger"):
        LedgerReader(tmp_path / "ledger.db")
    (tmp_path / "ledger.db").write_bytes(b"x" * 5000)
    with pytest.raises(LedgerError, match="not a database"):
        LedgerReader(tmp_path / "ledger.db")
