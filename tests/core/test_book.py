"""The window of rows: readings that cross commits must neither lose a row nor believe an old one."""

from __future__ import annotations

from batchmill.core.jobs import JobBook
from batchmill.model.events import Loaded
from batchmill.model.jobs import Row
from batchmill.model.states import Mode
from batchmill.testing import rows


def book(window: int = 100, **options: object) -> JobBook:
    made = JobBook(window, **options)  # type: ignore[arg-type]
    made.loads(0.0)
    return made


def answer(made: JobBook, stream: str, found: list[Row], *, exhausted: bool = True, at: float = 0.0) -> list[int]:
    return [row.job for row in made.loaded(Loaded(at, stream, tuple(found), exhausted, (0, 0, 9)))]


def test_the_first_readings_take_the_main_stream_and_waiting_jobs_of_earlier_invocations() -> None:
    assert [load.stream for load in JobBook(100).loads(0.0)] == ["main", "due"]
    assert [load.stream for load in JobBook(100, ["x"]).loads(0.0)] == ["main", "group:x", "due"]


def test_a_row_that_was_read_before_its_end_was_committed_is_not_believed() -> None:
    made = book()
    (row,) = rows(1)
    made.hold(row)
    made.take(Mode.PROCESS)
    made.plan_grew()
    made.ended(row, batch=5)
    made.committed(5, now=1.0)
    assert answer(made, "main", [row]) == []
    assert answer(made, "due", []) == []
    made.loads(2.0)
    assert answer(made, "main", [row]) == [1]  # asked for after the commit: it was reset since


def test_rows_that_are_planned_while_a_reading_is_under_way_are_read_afterwards() -> None:
    made = book()
    made.plan_grew()
    answer(made, "main", [])
    assert not made.empty
    (load,) = [load for load in made.loads(1.0) if load.stream == "main"]
    assert load.after is None


def test_a_row_whose_due_time_passed_before_its_commit_is_not_passed_over() -> None:
    made = book()
    answer(made, "due", [])
    made.expect_due(3, due=1.0)
    made.committed(3, now=2.0)
    (load,) = [load for load in made.loads(2.0) if load.stream == "due"]
    assert load.after is None


def test_due_rows_are_read_when_they_are_due_and_not_before() -> None:
    made = book()
    answer(made, "due", [])
    made.expect_due(3, due=10.0)
    made.committed(3, now=2.0)
    assert made.due_wakeup == 10.0
    assert not [load for load in made.loads(9.9) if load.stream == "due"]
    assert [load for load in made.loads(10.0) if load.stream == "due"]


def test_a_reader_without_positions_is_asked_for_more_than_what_is_known() -> None:
    made = book(600)
    waiting = rows(700)
    answer(made, "main", [])
    first = made.loaded(Loaded(1.0, "due", tuple(waiting[:500]), False, None, 1.0))
    for row in first:
        made.hold(row)
    made.take(Mode.PROCESS)
    (load,) = made.loads(1.0)
    assert load.limit == 500 + 500
    assert len(made.loaded(Loaded(1.0, "due", tuple(waiting), True))) == 200


def test_a_reading_that_brings_nothing_new_is_not_repeated_at_once() -> None:
    made = book()
    (row,) = rows(1)
    made.hold(row)
    made.loaded(Loaded(1.0, "due", (row,), False, None, 1.0))
    assert made.due_wakeup == 1.5


def test_a_window_is_refilled_when_half_of_it_is_gone_and_never_overfilled() -> None:
    made = book(10)
    for row in rows(10):
        made.hold(row)
    answer(made, "main", [], exhausted=False)
    answer(made, "due", [])
    assert made.loads(0.0) == []
    for _ in range(5):
        made.take(Mode.PROCESS)
    (load,) = made.loads(0.0)
    assert load.limit == 5


def test_a_result_is_known_to_rows_that_were_read_too_early() -> None:
    made = book()
    one, two, three = (row._replace(key="k") for row in rows(3))
    made.hold(one)
    made.take(Mode.PROCESS)
    made.hold(two)
    assert made.peek(Mode.PROCESS) is None
    assert made.ended(one, 5, succeeded=True) == [two]
    made.committed(5, 1.0)
    answer(made, "due", [])
    assert answer(made, "main", [three]) == [3]
    assert made.result_of(three) == 1
    made.committed(6, 2.0)
    assert made.result_of(three) is None


def test_a_dropped_owner_of_a_key_hands_it_on() -> None:
    made = book()
    one, two = (row._replace(key="k") for row in rows(2))
    made.hold(one)
    made.hold(two)
    made.drop(one)
    assert made.peek(Mode.PROCESS) == two


def test_a_row_that_is_put_back_keeps_its_key_and_its_place() -> None:
    made = book()
    one, two = (row._replace(key="k") for row in rows(2))
    made.hold(one)
    made.hold(two)
    made.put_back(made.take(Mode.PROCESS))
    assert made.take(Mode.PROCESS) == one
    assert made.peek(Mode.PROCESS) is None
