"""Whole runs against a fake service: the ledger, the budget, the cache and the failures of jobs."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import batchmill
from batchmill.llm import client
from batchmill.testing import FakeLLM
from tests.llm.client import tasks

PRICE = {"openai/*": {"input": 1, "output": 4}}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[FakeLLM]:
    """A fake service that the environment points to."""
    with FakeLLM(**getattr(request, "param", {})) as fake:
        monkeypatch.setenv("BATCHMILL_ENDPOINTS", json.dumps({"openai": fake.openai_url}))
        monkeypatch.setenv("BATCHMILL_PRICES", json.dumps(PRICE))
        monkeypatch.setattr(client, "_kept", threading.local())  # its loop knows the service of another test
        yield fake


def run(home: Path, function: Any, mode: str = "async", count: int = 10, **options: Any) -> batchmill.Run:
    """A run of `count` jobs."""
    task = batchmill.task(function, name=function.__name__, version="1", mode=mode)
    axes = {"axes": {"n": {"range": [count]}}, "name": "q{n}"}
    return batchmill.run(task, matrix=axes, home=home, name="asking", progress=False, workers=2, **options)


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the run's ledger."""
    with sqlite3.connect(next(home.glob("runs/*/ledger.db"))) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("function", "mode"),
    [(tasks.ask, "async"), (tasks.ask, "process"), (tasks.ask_plainly, "process"), (tasks.ask_plainly, "inline")],
)
def test_models_are_asked_in_every_mode(tmp_path: Path, fake: FakeLLM, function: Any, mode: str) -> None:
    done = run(tmp_path, function, mode, count=6)

    assert done.counts["succeeded"] == 6
    counts = fake.counts
    assert counts.requests == 6
    told = "SELECT count(*), sum(cost), sum(tokens_in), sum(tokens_out) FROM calls WHERE state = 'settled'"
    assert rows(tmp_path, told) == [(6, counts.cost, counts.tokens_in, counts.tokens_out)]
    cached = 6 if function is tasks.ask_plainly else 0
    assert rows(tmp_path, "SELECT count(*) FROM calls WHERE state = 'cached'") == [(cached,)]


def test_a_second_run_pays_for_what_is_new(tmp_path: Path, fake: FakeLLM) -> None:
    run(tmp_path / "one", tasks.ask, count=5)
    done = run(tmp_path / "two", tasks.ask, "process", count=6)

    assert done.counts["succeeded"] == 6
    assert fake.counts.requests == 6


def test_what_answers_without_a_model_takes_no_tokens_and_no_money(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    done = run(tmp_path, tasks.ask_without_a_model, count=2, budget="0.000001 USD")

    assert done.counts["succeeded"] == 2, list(done.results())
    told = done.summary()["calls"]
    assert (told["answered"], told["tokens_in"], told["tokens_out"], told["cost"]) == (2, 0, 0, 0)
    assert set(told["models"]) == {"describe/basic", "extractive/lead"}


@pytest.mark.parametrize("mode", ["async", "process"])
@pytest.mark.parametrize("fake", [{"concurrency": 1, "latency": "5ms"}], indirect=True)
def test_several_questions_of_a_job_may_be_on_their_way_within_its_limits(
    tmp_path: Path, fake: FakeLLM, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("BATCHMILL_LIMITS", json.dumps({"openai": {"concurrency": 1}}))

    done = run(tmp_path, tasks.ask_several, mode, count=3, timeout="30s")

    assert done.counts["succeeded"] == 3
    assert (fake.counts.requests, fake.counts.refused) == (12, 0)


def test_money_for_some_calls_is_never_overspent(tmp_path: Path, fake: FakeLLM) -> None:
    done = run(tmp_path, tasks.ask, count=40, budget="0.002 USD")

    assert done.reason == "budget spent"
    counts = fake.counts
    assert 0 < counts.requests < 40
    assert counts.cost <= 200_000


def test_an_unknown_price_and_a_budget_are_an_error(
    tmp_path: Path, fake: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHMILL_PRICES", "{}")

    done = run(tmp_path, tasks.ask, count=2, budget="1 USD")

    assert done.counts["failed"] == 2
    assert fake.counts.requests == 0
    assert all("price" in outcome.error[1] for outcome in done.results() if outcome.error)


FAULTS = {"Question 1": ["server"] * 9, "Question 2": ["too_long"], "Question 3": ["reset"]}


@pytest.mark.parametrize("fake", [{"by_text": FAULTS}], indirect=True)
def test_a_failure_is_the_jobs_own_and_says_what_it_was(tmp_path: Path, fake: FakeLLM) -> None:
    done = run(tmp_path, tasks.ask, count=4)

    errors = {outcome.name: outcome.error for outcome in done.results() if outcome.error}
    assert set(errors) == {"q1", "q2"}
    assert "the server failed" in errors["q1"][1]
    assert "too long" in errors["q2"][1]
    failed = rows(tmp_path, "SELECT job, failure, state FROM calls WHERE failure IS NOT NULL ORDER BY job")
    assert failed == [*[(2, "server", "settled")] * 4, (3, "too_long", "settled"), (4, "reset", "unknown")]


@pytest.mark.parametrize("fake", [{"answer": "words"}], indirect=True)
def test_an_answer_that_never_fits_its_schema_makes_the_job_invalid(tmp_path: Path, fake: FakeLLM) -> None:
    fake.script(*["invalid"] * 4)
    done = run(tmp_path, tasks.ask_for_json, count=1)

    (outcome,) = done.results()
    assert outcome.error is not None
    assert outcome.error[0] == "invalid"
    assert rows(tmp_path, "SELECT json_extract(usage, '$.rung') FROM calls") == [("invalid",)] * 2


@pytest.mark.parametrize("fake", [{"script": ["rate_limited", "server"]}], indirect=True)
def test_waiting_does_not_count_against_the_time_of_a_job(tmp_path: Path, fake: FakeLLM) -> None:
    done = run(tmp_path, tasks.ask, count=1, timeout="900ms")  # and the service asks for a second

    assert done.counts["succeeded"] == 1, list(done.results())


@pytest.mark.parametrize("fake", [{"script": ["hang"]}], indirect=True)
def test_a_request_that_was_cut_off_by_the_time_limit_may_be_billed(tmp_path: Path, fake: FakeLLM) -> None:
    done = run(tmp_path, tasks.ask, count=1, timeout="1500ms", retry={"attempts": 1})

    assert done.counts["failed"] == 1
    assert rows(tmp_path, "SELECT state FROM calls") == [("unknown",)]
