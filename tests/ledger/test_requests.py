"""Requests to a live driver."""

from __future__ import annotations

import pytest

from batchmill.errors import LedgerError
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.requests import Request, clear_requests, send_request, take_requests


def test_requests_are_taken_once_in_order(paths: RunPaths) -> None:
    for job in range(1, 13):
        send_request(paths, "retry", job)
    send_request(paths, "drain")
    assert take_requests(paths) == [*[Request("retry", job) for job in range(1, 13)], Request("drain", 0)]
    assert take_requests(paths) == []


def test_what_is_no_request_is_dropped(paths: RunPaths) -> None:
    for number, text in enumerate(['{"what": "explode", "job": 1}', "{", "[]", '{"what": "stop"}', "\xff"]):
        (paths.requests / f"{number}.json").write_text(text)
    send_request(paths, "cancel", 3)
    assert take_requests(paths) == [Request("cancel", 3)]
    assert list(paths.requests.iterdir()) == []


def test_old_requests_are_forgotten(paths: RunPaths) -> None:
    send_request(paths, "stop")
    clear_requests(paths)
    assert take_requests(paths) == []


def test_a_request_that_cannot_be_left_is_told(paths: RunPaths) -> None:
    paths.requests.rmdir()
    with pytest.raises(LedgerError, match="cannot be asked to stop"):
        send_request(paths, "stop")
