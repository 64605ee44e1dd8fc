"""What the journal makes of facts and plans."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from batchmill.errors import LedgerError
from batchmill.ledger import database
from batchmill.ledger.home import Home
from batchmill.ledger.invocation import set_run_state
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from batchmill.ledger.verify import verify
from batchmill.model.events import Committed
from batchmill.model.facts import (
    AttemptEnded,
    CallClosed,
    CallReserved,
    HookEnded,
    JobCached,
    JobCancelled,
    JobDue,
    JobEnded,
    JobKeyed,
    JobReset,
    Noted,
    RunSet,
    SlotSet,
    StepSaved,
)
from batchmill.model.jobs import SavedStep, Source
from batchmill.model.limits import Backoff, Retry
from batchmill.model.outcomes import Blob
from batchmill.model.states import FailureKind, JobState, RunState
from tests.ledger.conftest import (
    OFFSET,
    Written,
    artifact,
    ask,
    ending,
    failure,
    key_of,
    planned,
    success,
    waiting,
    writing,
)


def counts(paths: RunPaths) -> dict[str, int]:
    with LedgerReader(paths.ledger) as reader:
        return {state: n for state, n in reader.counts().items() if n}


def test_a_success_is_recorded_with_what_it_took(written: Written) -> None:
    written.plan(planned(1))
    written.write(*ending(1))
    job = (
        "SELECT state, attempts, total_attempts, result, metrics, started, wall_s, cpu_s, peak_rss, finished FROM jobs"
    )
    assert written.ask(job) == [("succeeded", 1, 1, '{"value":1}', '{"m":1}', OFFSET + 5, 1.5, 0.5, 1000, OFFSET + 10)]
    assert written.ask("SELECT job, number, state, charged, started, wall_s FROM attempts") == [
        (1, 1, "succeeded", 1, OFFSET + 5, 1.5)
    ]
    assert counts(written.paths) == {"succeeded": 1}


def test_a_failure_keeps_its_kind_message_and_classes(written: Written) -> None:
    written.plan(planned(1))
    written.write(*ending(1, failure("bad \udcff name")))
    assert written.ask("SELECT state, kind, message, result FROM jobs") == [("failed", "error", "bad ? name", None)]
    ((exceptions, traceback),) = written.ask("SELECT exceptions, traceback FROM attempts")
    assert json.loads(exceptions) == ["ValueError", "Exception"]
    assert traceback == "Traceback..."


def test_answers_name_the_highest_batch_and_nothing_stays_uncommitted(written: Written) -> None:
    written.plan(*[planned(n) for n in range(1, 21)])
    for n in range(1, 21):
        written.submit(*ending(n))
    answer = written.wait(lambda event: isinstance(event, Committed) and event.number == 20)
    assert answer.at > 0
    assert written.journal.uncommitted == written.journal.backlog == 0
    assert counts(written.paths) == {"succeeded": 20}


def test_every_transaction_raises_the_tick(written: Written) -> None:
    written.plan(planned(1), planned(2))
    written.write(*ending(1))
    written.write(*ending(2))
    ticks = [tick for (tick,) in written.ask("SELECT tick FROM jobs ORDER BY number")]
    assert ticks[0] < ticks[1] == written.ask("SELECT tick FROM run")[0][0]


def test_a_retry_waits_and_counts(written: Written) -> None:
    written.plan(planned(1, group="a"))
    written.write(AttemptEnded(6.5, 1, 1, 0, failure()), JobDue(6.5, 1, 9.0, 1, 1, 0, 5.0))
    assert written.ask("SELECT state, due, attempts, total_attempts, first_started FROM jobs") == [
        ("pending", OFFSET + 9, 1, 1, OFFSET + 5)
    ]
    written.write(*ending(1, number=2))
    assert written.ask("SELECT state, due, attempts, total_attempts FROM jobs") == [("succeeded", None, 2, 2)]
    assert written.ask("SELECT grp, state, n FROM counts WHERE n ORDER BY state") == [
        ("a", "retried", 1),
        ("a", "succeeded", 1),
    ]


def test_several_changes_of_one_job_in_one_transaction_keep_their_order(written: Written) -> None:
    written.plan(planned(1))
    written.write(
        AttemptEnded(6.0, 1, 1, 0, failure()),
        JobDue(6.0, 1, 6.0, 1, 1, 0, 5.0),
        AttemptEnded(7.0, 1, 2, 0, failure("again")),
        JobEnded(7.0, 1, JobState.FAILED, failure("again")),
        JobReset(8.0, 1),
        *ending(1, number=3),
    )
    assert written.ask("SELECT state, message, attempts, total_attempts FROM jobs") == [("succeeded", None, 1, 3)]
    assert written.ask("SELECT number, state FROM attempts") == [(1, "failed"), (2, "failed"), (3, "succeeded")]
    assert counts(written.paths) == {"succeeded": 1, "retried": 1}


def test_an_uncharged_attempt_is_history_only(written: Written) -> None:
    written.plan(planned(1))
    written.write(AttemptEnded(6.0, 1, 1, 0, failure(), charged=False))
    assert written.ask("SELECT state, attempts, total_attempts FROM jobs") == [("pending", 0, 1)]


def test_a_second_end_of_a_job_changes_nothing(written: Written) -> None:
    written.plan(planned(1))
    written.write(*ending(1))
    written.write(JobEnded(20.0, 1, JobState.FAILED, failure()))
    assert written.ask("SELECT state, finished FROM jobs") == [("succeeded", OFFSET + 10)]
    assert counts(written.paths) == {"succeeded": 1}


def test_cancelling_and_resetting(written: Written) -> None:
    written.plan(planned(1), planned(2), planned(3))
    written.write(*ending(2), *ending(3, failure()))
    written.write(JobCancelled(11.0, 1), JobCancelled(11.0, 2), JobReset(11.0, 3))
    assert written.ask("SELECT state, due, attempts FROM jobs") == [
        ("cancelled", None, 0),
        ("succeeded", None, 1),
        ("pending", OFFSET + 11, 0),
    ]


def test_slots_keep_the_last_word(written: Written) -> None:
    written.plan(planned(1), planned(2))
    written.write(SlotSet(1.0, 0, 1, 77, 1), SlotSet(2.0, 0, 2, 77, 1), SlotSet(1.5, 1, 0, 78, 0))
    assert written.ask("SELECT slot, job, attempt, pid, since FROM slots") == [
        (0, 2, 1, 77, OFFSET + 2),
        (1, 0, 0, 78, OFFSET + 1.5),
    ]


def test_calls_add_up_to_what_is_spent(written: Written) -> None:
    written.write(CallReserved(1.0, 1, 1, "q", "k", 100, 50), CallReserved(1.0, 1, 2, "q", "k2", 100, 50))
    written.write(CallReserved(1.5, 2, 3, "q", "k3", 100, 7), CallClosed(2.0, 1, "settled", 80, 40, b'{"in":80}'))
    written.write(CallClosed(2.0, 2, "released", 0, 0, b"{}"))
    assert written.ask("SELECT id, state, cost FROM calls") == [
        (1, "settled", 40),
        (2, "released", 0),
        (3, "reserved", 7),
    ]
    with LedgerReader(written.paths.ledger) as reader:
        assert reader.run().spent == 40
        past = reader.past()
        assert (past.next_call, past.spent) == (4, 47)
        past = reader.past(since=1_000_002.5)
        assert (past.spent_today, dict(past.spent_of)) == (7, {"q": 47})


def test_the_state_of_the_run(written: Written) -> None:
    written.write(RunSet(1.0, RunState.RUNNING))
    written.write(RunSet(9.0, RunState.STOPPED, "budget"))
    with LedgerReader(written.paths.ledger) as reader:
        run = reader.run()
    assert (run.state, run.reason, run.started, run.finished) == (RunState.STOPPED, "budget", OFFSET + 1, OFFSET + 9)


def test_notes_reach_the_log_in_one_line_each(written: Written) -> None:
    written.write(Noted(1.0, "job `a` failed\x1b[31m: two\nlines"), Noted(2.0, "second"))
    lines = written.paths.log.read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["job `a` failed: two lines", "second"]


# --- the plan


def test_a_plan_grows_by_chunks_with_its_position(written: Written) -> None:
    assert written.plan(planned(1), planned(2), position=2, done=False)[1:] == (2, False, "")
    assert written.plan(planned(3), position=17)[1:] == (3, True, "")
    with LedgerReader(written.paths.ledger) as reader:
        run = reader.run()
    assert (run.planned, run.plan_position, run.plan_done) == (3, 17, True)
    assert counts(written.paths) == {"pending": 3}


def test_a_generated_name_that_is_taken_gets_a_number(written: Written) -> None:
    jobs = [planned(n, "same", generated=n > 1) for n in range(1, 12)]
    written.plan(*jobs[:6], done=False)
    written.plan(*jobs[6:])
    names = [name for (name,) in written.ask("SELECT name FROM jobs ORDER BY number")]
    assert names == ["same", *[f"same~{n}" for n in range(2, 12)]]


def test_an_explicit_name_that_is_taken_breaks_the_plan_off(written: Written) -> None:
    written.plan(planned(1, "a"), done=False)
    answer = written.plan(planned(2, "b"), planned(3, "a"))
    assert (answer.total, answer.done) == (1, False)
    assert "`a` is taken" in answer.error
    assert written.plan(planned(4, "c")).error == answer.error
    assert written.ask("SELECT name FROM jobs") == [("a",)]
    assert counts(written.paths) == {"pending": 1}


def test_an_unfit_job_is_planned_as_failed(written: Written) -> None:
    written.plan(planned(1), planned(2, invalid="no such column", key=None))
    assert written.ask("SELECT state, kind, message FROM jobs") == [
        ("pending", None, None),
        ("failed", "invalid", "no such column"),
    ]
    assert counts(written.paths) == {"pending": 1, "failed": 1}


def test_what_a_job_asks_for_is_planned_with_it(written: Written) -> None:
    retry = Retry(3, ("timeout", "KeyError"), Backoff(2.0, 3.0, 9.0, "none"), 60.0)
    written.plan(planned(1, retry=retry, timeout=2.5, memory=10**9, priority=3, lane=1, group="g"))
    with LedgerReader(written.paths.ledger) as reader:
        (row,) = reader.load("main", None, 10, 0.0).rows
    assert (row.retry, row.timeout, row.memory, row.priority, row.lane, row.group) == (retry, 2.5, 10**9, 3, 1, "g")


# --- contents


def test_a_large_result_and_artifacts_become_objects(written: Written, home: Home) -> None:
    written.plan(planned(1))
    blob = waiting(written.paths, b"[" + b"1," * 50_000 + b"1]", "blob-result")
    plot = artifact(written.paths, "plot.png", b"png")
    written.write(*ending(1, success(None, result_blob=blob, artifacts=(plot,))))
    assert written.ask("SELECT result, result_object FROM jobs") == [(None, blob.digest)]
    assert home.objects.read(blob.digest).startswith(b"[1,")
    assert (written.paths.out / "1" / "plot.png").read_bytes() == b"png"
    assert list(written.paths.tmp.iterdir()) == []


def test_large_inline_contents_become_objects(written: Written, home: Home) -> None:
    large = json.dumps("x" * 70_000).encode()
    written.plan(planned(1, params=large.decode()), planned(2))
    written.write(*ending(1, success(large)), StepSaved(1.0, 2, key_of(2), 1, SavedStep("s", "a", large), 0.1))
    digest = written.ask("SELECT result_object FROM jobs WHERE number = 1")[0][0]
    assert written.ask("SELECT params FROM jobs WHERE number = 1") == [(f"object:{digest}",)]
    assert written.ask("SELECT value FROM steps") == [(f"object:{digest}",)]
    assert home.objects.read(digest) == large
    with LedgerReader(written.paths.ledger) as reader:
        assert reader.steps(key_of(2)) == (SavedStep("s", "a", large),)


@pytest.mark.parametrize("name", ["../../../evil", "/etc/passwd", "a/b", ".hidden", "x" * 300, "nul\0", "é" * 200])
def test_an_artifact_of_any_name_stays_under_its_job(written: Written, name: str) -> None:
    written.plan(planned(1))
    written.write(*ending(1, success(artifacts=(artifact(written.paths, name, b"data"),))))
    (file,) = (path for path in (written.paths.out / "1").rglob("*") if path.is_file())
    assert file.read_bytes() == b"data"
    assert len(file.name.encode()) <= 255


def test_a_link_in_the_way_is_not_followed(written: Written, home: Home) -> None:
    elsewhere = home.path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("keep")
    (written.paths.out / "1").symlink_to(elsewhere)
    (written.paths.out / "2").mkdir()
    (written.paths.out / "2" / "a").symlink_to(elsewhere / "secret")
    written.plan(planned(1), planned(2))
    for job in (1, 2):
        written.write(*ending(job, success(artifacts=(artifact(written.paths, "a", b"%d" % job),))))
    assert [file.name for file in elsewhere.iterdir()] == ["secret"]
    assert (elsewhere / "secret").read_text() == "keep"
    assert (written.paths.out / "2" / "a").read_text() == "2"
    assert "could not be linked" in written.paths.log.read_text()


def test_a_lost_file_fails_its_own_job_only(written: Written) -> None:
    written.plan(planned(1), planned(2))
    lost = Blob("ab" * 32, 5, "blob-lost")
    written.write(*ending(1, success(None, result_blob=lost)), *ending(2))
    assert written.ask("SELECT state, kind FROM jobs") == [("failed", "invalid"), ("succeeded", None)]
    assert counts(written.paths) == {"succeeded": 1, "failed": 1}


def test_files_of_an_attempt_that_failed_are_removed(written: Written) -> None:
    written.plan(planned(1))
    outcome = failure(artifacts=(artifact(written.paths, "a", b"half"),))
    written.write(AttemptEnded(6.0, 1, 1, 0, outcome), JobDue(6.0, 1, 7.0, 1, 1, 0, 5.0))
    assert list(written.paths.tmp.iterdir()) == []
    assert written.ask("SELECT * FROM artifacts") == []


def test_hooks_and_their_artifacts(written: Written) -> None:
    outcome = success(b'{"n":1}', artifacts=(artifact(written.paths, "table.npy", b"array"),))
    written.write(HookEnded(3.0, "prepare", "noop", outcome))
    with LedgerReader(written.paths.ledger) as reader:
        assert list(reader.prepared()["noop"]) == ["table.npy"]
        assert reader.past().done_hooks == {("prepare", "noop")}


# --- results of other jobs


def test_a_cached_job_takes_result_metrics_and_artifacts(written: Written) -> None:
    written.plan(planned(1), planned(2, key=key_of(1)))
    outcome = success(artifacts=(artifact(written.paths, "a.txt", b"data"),))
    written.write(*ending(1, outcome), JobCached(11.0, 2, key_of(1), Source("", 1)))
    columns = "state, cached, source_run, source_job, result, metrics, wall_s, attempts"
    assert written.ask(f"SELECT {columns} FROM jobs WHERE number = 2") == [
        ("succeeded", 1, "sweep-1", 1, '{"value":1}', '{"m":1}', None, 0)
    ]
    assert (written.paths.out / "2" / "a.txt").read_bytes() == b"data"
    assert counts(written.paths) == {"succeeded": 2, "cached": 1}


def test_a_result_of_another_run_is_copied(new_run: Callable[..., RunPaths]) -> None:
    first, second = new_run(), new_run()
    with writing(first) as source:
        source.plan(planned(1))
        source.write(*ending(1, success(None, result_blob=waiting(first, b"[1]" * 30_000, "blob-1"))))
    with writing(second) as written:
        written.plan(planned(1, key=None), planned(2))
        written.write(JobKeyed(1.0, 1, key_of(1)), JobCached(1.0, 1, key_of(1), Source("sweep-1", 1)))
        digest = written.ask("SELECT result_object FROM jobs WHERE number = 1")[0][0]
        assert written.ask("SELECT key, cached FROM jobs WHERE number = 1") == [(key_of(1), 1)]
    assert digest == ask(first, "SELECT result_object FROM jobs")[0][0]


def test_a_source_that_is_gone_fails_the_job(new_run: Callable[..., RunPaths], home: Home) -> None:
    first, second = new_run(), new_run()
    home.remove(first)
    with writing(second) as written:
        written.plan(planned(1), planned(2))
        written.write(JobCached(1.0, 1, key_of(1), Source("sweep-1", 1)), *ending(2))
        assert written.ask("SELECT state, kind, cached FROM jobs") == [("failed", "error", 0), ("succeeded", None, 0)]
        assert verify(second) == []


# --- when it cannot be written


def test_a_full_disk_is_told_and_everything_is_written_once_there_is_room(written: Written) -> None:
    written.plan(*[planned(n) for n in range(1, 101)])
    connection = written.journal._connection
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    facts = [fact for n in range(1, 101) for fact in ending(n, success(json.dumps("x" * 2000).encode()))]
    number = written.submit(*facts)
    failed = written.wait_for_failure()
    assert failed.number == number
    assert "full" in failed.message
    assert written.journal.uncommitted == 1
    written.submit(Noted(3.0, "later"))
    connection.execute("PRAGMA max_page_count = 1000000")
    written.wait(lambda event: isinstance(event, Committed) and event.number == number + 1)
    assert counts(written.paths) == {"succeeded": 100}
    assert written.journal.uncommitted == 0


def test_closing_with_facts_that_cannot_be_written_says_so(paths: RunPaths) -> None:
    written = Written(paths)
    written.plan(planned(1))
    connection = written.journal._connection
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    written.submit(*ending(1, success(json.dumps("x" * 60_000).encode())))
    written.wait_for_failure()
    with pytest.raises(LedgerError, match="could not be written"):
        written.close()
    with pytest.raises(LedgerError, match="could not be written"):
        written.journal.close()
    assert counts(paths) == {"pending": 1}


def test_a_driver_that_was_taken_over_writes_nothing_more(written: Written) -> None:
    written.plan(planned(1))
    written.journal._connection.execute("UPDATE run SET epoch = epoch + 1")
    written.submit(*ending(1))
    assert "taken over" in written.wait_for_failure().message
    assert counts(written.paths) == {"pending": 1}
    written.journal._connection.execute("UPDATE run SET epoch = epoch - 1")


class Deaf:
    """A connection whose first COMMIT works and says that it did not."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._told = False

    def execute(self, statement: str, *given: Any) -> Any:
        answer = self._connection.execute(statement, *given)
        if statement == "COMMIT" and not self._told:
            self._told = True
            raise sqlite3.OperationalError("disk I/O error")
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_a_commit_that_worked_but_reported_an_error_is_not_repeated(written: Written) -> None:
    written.plan(planned(1))
    written.journal._connection = Deaf(written.journal._connection)  # type: ignore[assignment]
    written.submit(CallReserved(1.0, 1, 1, "q", "k", 1, 5), CallClosed(2.0, 1, "settled", 1, 5, b"{}"), *ending(1))
    assert written.wait_for_failure().message == "disk I/O error"
    written.wait(lambda event: isinstance(event, Committed))
    assert written.ask("SELECT spent FROM run") == [(5,)]
    assert written.ask("SELECT attempts FROM jobs") == [(1,)]


def test_a_clean_end_leaves_one_plain_file(paths: RunPaths) -> None:
    with writing(paths) as written:
        written.plan(planned(1))
        written.write(*ending(1))
    names = {file.name for file in paths.folder.iterdir() if file.name.startswith("ledger")}
    assert names == {"ledger.db", "ledger.db.sha256"}
    assert verify(paths) == []
    set_run_state(paths, RunState.SUPERSEDED)
    assert ask(paths, "SELECT state FROM run") == [("superseded",)]


def test_a_reader_neither_stops_the_writer_nor_touches_its_log(paths: RunPaths) -> None:
    with writing(paths) as written:
        written.plan(*[planned(n) for n in range(1, 11)])
        with LedgerReader(paths.ledger) as reader:
            reader._connection.execute("BEGIN")
            assert reader.counts()["pending"] == 10
            written.write(*[fact for n in range(1, 11) for fact in ending(n)])
            assert reader.counts()["pending"] == 10
            reader._connection.execute("COMMIT")
            assert reader.counts()["succeeded"] == 10


def test_the_log_beside_the_ledger_stays_small(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_CHECKPOINT_PAGES", 100)
    with writing(paths) as written:
        written.plan(*[planned(n) for n in range(1, 2001)])
        for first in range(1, 2001, 20):
            written.write(*[fact for n in range(first, first + 20) for fact in ending(n)])
        log = paths.folder / "ledger.db-wal"
        assert log.stat().st_size < 4 * 100 * 4096


def test_text_that_is_no_unicode_is_stored_with_question_marks(written: Written) -> None:
    written.plan(planned(1, "name\udcff", group="group\udcff"), planned(2, invalid="bad \udcff"))
    written.write(StepSaved(1.0, 1, key_of(1), 1, SavedStep("step\udcff", "a", b"1"), 0.1))
    assert written.ask("SELECT name, grp, message FROM jobs") == [("name?", "group?", None), ("job-2", None, "bad ?")]
    assert written.ask("SELECT name FROM steps") == [("step?",)]
    assert verify(written.paths) == []
    assert "surrogates" in written.plan(planned(3, params='{"x":"\udcff"}')).error


def test_kinds_of_failure_are_those_that_verify_knows(written: Written) -> None:
    kinds = list(FailureKind)
    written.plan(*[planned(n) for n in range(1, len(kinds) + 1)])
    for number, kind in enumerate(kinds, 1):
        written.write(*ending(number, failure(kind=kind)))
    assert verify(written.paths) == []
