"""What the metered requests of a run come to, in every report alike."""

from __future__ import annotations

import json

from batchmill.report.billing import add_up, record, rows
from batchmill.report.query import RunView
from batchmill.report.screen import run_page, summary_page
from batchmill.report.summary import gather, rewrite_reports, summarise, write_reports
from tests.report.conftest import NOON, Ledger, MakeLedger

CENT = 1_000_000


def bill(ledger: Ledger) -> None:
    one, two = ledger.job("a", grp="red"), ledger.job("b", grp="blue")
    said = [
        (one, "settled", 2 * CENT, {"model": "p/small", "stage": "first", "input": 30, "output": 5}),
        (one, "settled", CENT, {"model": "p/small", "stage": "first", "input": 30, "failure": "server"}),
        (one, "settled", 4 * CENT, {"model": "p/large", "stage": "second", "input": 10, "output": 20}),
        (two, "cached", 0, {"model": "p/small"}),
        (two, "released", 0, {}),
        (two, "unknown", 3 * CENT, {}),
    ]
    for number, (job, state, cost, usage) in enumerate(said, 1):
        fields = {"id": number, "job": job, "state": state, "cost": cost, "usage": json.dumps(usage), "tokens": 50}
        ledger.insert("calls", quota="p/q", key="k", reserved=NOON, **fields)


def test_requests_are_summed_by_model_group_and_stage(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    bill(ledger)
    view = RunView(ledger.close())
    calls = summarise(view)["calls"]
    assert {name: calls[name] for name in ("requests", "answered", "failures", "cache_hits", "tokens_in")} == {
        "requests": 4,
        "answered": 3,
        "failures": 1,
        "cache_hits": 1,
        "tokens_in": 70,
    }
    assert calls["cost"] == 0.07
    assert (calls["possibly_billed_requests"], calls["possibly_billed"]) == (1, 0.03)
    assert {name: part["requests"] for name, part in calls["models"].items()} == {"p/large": 1, "p/small": 2, "p/q": 1}
    assert {name: part["cost"] for name, part in calls["groups"].items()} == {"red": 0.07, "blue": 0.0}
    assert calls["stages"]["second"]["tokens_out"] == 20
    assert calls["tokens_per_second"] == (70 + 25) / 60.5


def test_what_is_possibly_billed_counts_as_spent_and_is_named(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    bill(ledger)
    view = RunView(ledger.close())
    facts = gather(view)
    assert facts.spent == 10 * CENT
    for page in (run_page(view, facts), summary_page(view, facts)):
        assert "0.1 USD, 0.03 USD of it possibly billed: 1 request without an answer" in str(page)
        assert "p/large" in str(page)


def test_report_and_summary_say_the_same_and_are_written_again(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    bill(ledger)
    view = RunView(ledger.close())
    written = write_reports(view, ("json", "md"))
    first = [path.read_text() for path in written]
    assert "| all | 4 | 1 | 1 | 70 | 25 | 0.07 USD | 0.03 USD (1) |" in first[1]
    rewrite_reports(view)
    assert [path.read_text() for path in written] == first


def test_a_run_without_requests_has_no_bill(small_run: RunView) -> None:
    assert add_up([], 1.0) is None
    assert record(None) is None
    billing = gather(RunView(small_run)).billing
    assert billing is None or rows(billing)


def test_requests_without_an_answer_are_their_model_s_though_only_their_quota_is_known(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    job = ledger.job("a")
    for number, (state, usage) in enumerate([("settled", {"model": "p/m"}), ("unknown", {})], 1):
        fields = {"id": number, "state": state, "cost": CENT, "usage": json.dumps(usage), "tokens": 5}
        ledger.insert("calls", job=job, quota="p/m/0123abcd", key="k", reserved=NOON, **fields)
    calls = summarise(RunView(ledger.close()))["calls"]
    assert {name: part["requests"] for name, part in calls["models"].items()} == {"p/m": 2}


def test_answers_of_models_without_a_known_price_are_not_said_to_be_free(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    job = ledger.job("a")
    for number, usage in enumerate([{"model": "p/new", "input": 3}, {"model": "p/old", "price": "1"}], 1):
        fields = {"id": number, "job": job, "state": "settled", "cost": 0, "usage": json.dumps(usage), "tokens": 5}
        ledger.insert("calls", quota="p/q", key="k", reserved=NOON, **fields)
    view = RunView(ledger.close())
    models = summarise(view)["calls"]["models"]
    assert {name: part["unpriced_requests"] for name, part in models.items()} == {"p/new": 1, "p/old": 0}
    assert "1 at an unknown price" in str(summary_page(view, gather(view)))
