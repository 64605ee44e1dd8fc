"""Damage is named, never raised, and nothing sound is called damaged."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import pytest

from batchmill.ledger.home import Home
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.verify import verify
from batchmill.model.facts import AttemptEnded, JobDue
from batchmill.model.outcomes import LogSlice
from tests.ledger.conftest import artifact, ask, ending, failure, planned, success, waiting, writing


@pytest.fixture
def whole(paths: RunPaths) -> RunPaths:
    """A finished run with a bit of everything."""
    (paths.logs / "worker-0.log").write_bytes(b"x" * 100)
    with writing(paths) as written:
        written.plan(*[planned(n, group="g" if n % 2 else None) for n in range(1, 41)])
        for n in range(1, 41):
            log = LogSlice("worker-0.log", 2 * n, 2 * n + 2)
            artifacts = (artifact(paths, f"plot-{n}", b"%d" % n),) if n < 4 else ()
            written.submit(*ending(n, success(artifacts=artifacts, log=log) if n % 10 else failure(log=log)))
        blob = waiting(paths, b"[" + b"7," * 40_000 + b"7]", "blob-large")
        written.plan(planned(41), planned(42))
        written.write(*ending(41, success(None, result_blob=blob)))
        written.write(AttemptEnded(6.0, 42, 1, 0, failure()), JobDue(6.0, 42, 7.0, 1, 1, 0, 5.0))
    return paths


def codes(paths: RunPaths) -> set[str]:
    return {finding.code for finding in verify(paths)}


def change(paths: RunPaths, statement: str) -> None:
    paths.checksum.unlink(missing_ok=True)
    with closing(sqlite3.connect(paths.ledger)) as connection, connection:
        connection.execute(statement)


def test_a_whole_run_has_no_findings(whole: RunPaths) -> None:
    assert verify(whole) == []


def test_a_live_run_has_no_findings(whole: RunPaths) -> None:
    with writing(whole) as written:
        written.write(*ending(42, number=2))
        assert verify(whole) == []


@pytest.mark.parametrize(
    ("statement", "code", "subject"),
    [
        ("UPDATE jobs SET state = 'done' WHERE number = 3", "job/state", "job 3 (`job-3`)"),
        ("UPDATE jobs SET kind = NULL WHERE number = 10", "job/state", "job 10 (`job-10`)"),
        ("UPDATE jobs SET finished = NULL WHERE number = 3", "job/state", "job 3 (`job-3`)"),
        ("UPDATE jobs SET result = NULL WHERE number = 3", "job/result", "job 3 (`job-3`)"),
        ("UPDATE jobs SET result = '{' WHERE number = 3", "job/json", "job 3 (`job-3`)"),
        ("UPDATE jobs SET binding = 9 WHERE number = 3", "job/task", "job 3 (`job-3`)"),
        ("DELETE FROM attempts WHERE job = 3", "job/attempts", "job 3 (`job-3`)"),
        ("UPDATE attempts SET number = 7 WHERE job = 3", "attempt/number", "attempt 7 of job 3"),
        (
            "UPDATE counts SET n = n + 1 WHERE grp = 'g' AND state = 'failed'",
            "counts",
            "count of `failed` in group `g`",
        ),
        ("UPDATE run SET planned = 7", "run/plan", "run `sweep-1`"),
        ("UPDATE attempts SET log_end = 900 WHERE job = 3", "log/short", "log `worker-0.log`"),
        ("DELETE FROM run", "ledger/damaged", "ledger of run `sweep-1`"),
    ],
)
def test_what_is_inconsistent_is_named(whole: RunPaths, statement: str, code: str, subject: str) -> None:
    change(whole, statement)
    assert (code, subject) in {(finding.code, finding.subject) for finding in verify(whole)}


def test_a_ledger_that_is_gone_or_empty_is_a_finding(whole: RunPaths) -> None:
    whole.ledger.write_bytes(b"")
    assert any(code.startswith("ledger/") for code in codes(whole))
    whole.ledger.unlink()
    assert codes(whole) == {"ledger/absent"}


def test_every_truncated_or_flipped_ledger_is_a_finding(whole: RunPaths) -> None:
    sound = whole.ledger.read_bytes()
    chance = random.Random(5)
    for _ in range(40):
        place = chance.randrange(len(sound))
        damaged = bytearray(sound)
        damaged[place] ^= 1 << chance.randrange(8)
        for content in (bytes(damaged), sound[:place]):
            whole.ledger.write_bytes(content)
            found = verify(whole)
            assert any(finding.code.startswith("ledger/") for finding in found), place
    whole.ledger.write_bytes(sound)
    assert verify(whole) == []


def test_damage_without_a_checksum_is_never_a_traceback(whole: RunPaths) -> None:
    sound = whole.ledger.read_bytes()
    whole.checksum.unlink()
    chance = random.Random(6)
    for _ in range(60):
        damaged = bytearray(sound)
        for _ in range(chance.randrange(1, 50)):
            damaged[chance.randrange(len(sound))] = chance.randrange(256)
        whole.ledger.write_bytes(damaged)
        assert all(finding.code for finding in verify(whole))


def test_damaged_and_missing_objects_are_named_with_their_jobs(whole: RunPaths, home: Home) -> None:
    ((large,),) = ask(whole, "SELECT result_object FROM jobs WHERE number = 41")
    ((plot,),) = ask(whole, "SELECT digest FROM artifacts WHERE name = 'plot-2'")
    file = home.objects.path(large)
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    home.objects.path(plot).unlink()
    found = {finding.subject: finding.message for finding in verify(whole)}
    assert found == {
        f"object `{large}` (of `job-41`)": "is damaged: its content has another digest",
        f"object `{plot}` (of `job-2`)": "is gone",
    }


def test_a_log_that_was_cut_is_a_finding(whole: RunPaths) -> None:
    (whole.logs / "worker-0.log").write_bytes(b"short")
    (finding,) = verify(whole)
    assert str(finding) == "log `worker-0.log` has 5 bytes, attempts name 82"
