"""What hooks iterate over."""

from __future__ import annotations

import json

import pytest

from batchmill.ledger import worker_reading
from batchmill.ledger.worker_reading import PlannedRecord, ResultRecord, read_jobs, read_results
from tests.ledger.conftest import Written, ending, failure, planned, success


def test_jobs_and_results_come_in_plan_order(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_reading, "_PAGE", 2)
    large = json.dumps({"x": "y" * 70_000})
    written.plan(*[planned(n, group="g") for n in range(1, 6)], planned(6, params=large), planned(7, invalid="no"))
    written.write(*ending(6, success(large.encode())), *ending(2, failure()), *ending(1), *ending(4))
    jobs = list(read_jobs(written.paths.folder))
    assert [job.number for job in jobs] == [1, 2, 3, 4, 5, 6]
    assert jobs[0] == PlannedRecord(1, "job-1", "noop", {"x": 1}, "g")
    results = list(read_results(written.paths.folder))
    assert [(r.number, r.state) for r in results] == [
        (1, "succeeded"),
        (2, "failed"),
        (4, "succeeded"),
        (6, "succeeded"),
        (7, "failed"),
    ]
    assert results[0] == ResultRecord(1, "job-1", "noop", {"x": 1}, "g", "succeeded", {"value": 1}, {"m": 1})
    assert results[1].result is None
    assert results[3].params == results[3].result == json.loads(large)
