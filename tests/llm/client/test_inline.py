"""Inline runs: calls leave without waiting for the ledger, and what they came to is in it all the same."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import batchmill
from batchmill.cli.app import run as command
from batchmill.testing import FakeLLM
from tests.llm.client import tasks
from tests.llm.client.test_in_a_run import fake, run

__all__ = ["fake"]  # a fixture
MANY = {"Question 1": ["server"], "Question 2": ["too_long"]}


def bill(done: batchmill.Run) -> Any:
    """The sums of a run, which its ledger, its summary and its commands must agree on."""
    told = done.summary()["calls"]
    folder = done.folder
    assert json.loads((folder / "summary.json").read_text())["calls"] == told
    with closing(sqlite3.connect(folder / "ledger.db")) as ledger:
        row = "SELECT count(*), sum(cost), sum(tokens_in), sum(tokens_out) FROM calls WHERE state = 'settled'"
        expected = (told["answered"], round(told["cost"] * 1e8), told["tokens_in"], told["tokens_out"])
        assert ledger.execute(row).fetchone() == expected
        assert ledger.execute("SELECT count(*) FROM calls WHERE state = 'reserved'").fetchone() == (0,)
    return told


@pytest.mark.parametrize("function", [tasks.ask, tasks.ask_plainly, tasks.ask_several])
@pytest.mark.parametrize("fake", [{"by_text": MANY}], indirect=True)
def test_the_sums_are_what_the_service_billed(tmp_path: Path, fake: FakeLLM, function: Any) -> None:
    done = run(tmp_path, function, count=6, inline=True)

    told, counts = bill(done), fake.counts
    assert (told["requests"], told["possibly_billed"]) == (counts.requests, 0)
    assert (round(told["cost"] * 1e8), told["tokens_in"]) == (counts.cost, counts.tokens_in)
    assert told["tokens_out"] == counts.tokens_out
    assert told["failures"] == counts.requests - counts.answered


def test_limits_and_budgets_do_not_hide_what_was_billed(
    tmp_path: Path, fake: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"openai": {"requests": "60/min", "concurrency": 1}}
    monkeypatch.setenv("BATCHMILL_LIMITS", json.dumps(limits))
    done = run(tmp_path, tasks.ask_several, count=5, inline=True, budget="0.0005 USD")

    told = bill(done)
    assert (told["requests"], round(told["cost"] * 1e8)) == (fake.counts.requests, fake.counts.cost)
    assert told["requests"] == 20


def test_a_price_that_nobody_knows_is_no_reason_to_hide_a_request(
    tmp_path: Path, fake: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHMILL_PRICES", "{}")
    done = run(tmp_path, tasks.ask, count=2, inline=True, budget="1 USD")
    assert bill(done)["requests"] == fake.counts.requests == 2


def test_a_job_of_hundreds_of_requests_is_counted_whole(tmp_path: Path, fake: FakeLLM) -> None:
    done = run(tmp_path, tasks.ask_many, count=1, inline=True)
    assert bill(done)["requests"] == fake.counts.requests == 150


@pytest.mark.parametrize("fake", [{"by_text": {"Question 3": ["reset"]}}], indirect=True)
def test_a_request_whose_connection_broke_is_possibly_billed(
    tmp_path: Path, fake: FakeLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(tmp_path, tasks.ask, count=4, inline=True)
    assert bill(done)["possibly_billed_requests"] == 1
    for words in (["calls", "list"], ["show"]):
        assert command([*words, done.id, "--home", str(tmp_path), "--output", "json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told.get("calls", told)["possibly_billed_requests"] == 1
