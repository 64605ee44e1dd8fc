"""What a batch will cost, before it is paid for: `plan` and `run --pilot`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from batchmill.api.forecasting import Forecast, Interval, Reservoir, _total
from tests.cli.conftest import Call

MODULE = """
from batchmill import Context, Estimate, task

def cost_of(params):
    return Estimate(tokens=(params.x * 100, params.x * 200), cost=(0.01, 0.02) if params.priced else None)

@task(name="priced", version="1", estimate=cost_of)
def priced(x: int, ctx: Context, priced: bool = True, fail: bool = False) -> dict:
    if fail:
        raise ValueError("no")
    with ctx.call(quota="oracle", tokens=100, cost="0.02") as call:
        call.settle({"model": "oracle", "input": 100, "output": 10}, tokens=110, cost="0.01")
    return {"x": x}
"""
MANIFEST = """\
name: asking
task: python
defaults: {function: "asking:priced"}
matrix: {axes: {x: {range: [1, 9]}}}
limits: {workers: 1}
"""


@pytest.fixture
def asking(tmp_path: Path) -> Path:
    (tmp_path / "asking.py").write_text(MODULE)
    (tmp_path / "asking.yaml").write_text(MANIFEST)
    return tmp_path / "asking.yaml"


def test_a_pilot_runs_a_few_jobs_and_tells_what_the_others_will_cost(call: Call, asking: Path) -> None:
    said = call("run", asking, "--pilot", "3", "--yes")
    assert said.code == 0
    assert "pilot: 3 succeeded, 0 failed, 0 skipped" in said.err
    assert "the other 5 jobs: 550 tokens, 0.05 USD, " in said.err
    assert call("show", "last", "--output", "json").json["success_count"] == 8


def test_a_pilot_asks_and_without_anyone_to_ask_it_runs_nothing(
    call: Call, asking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = call("run", asking, "--pilot", "3")
    assert said.code == 2
    assert "hint: `--yes` goes on without asking" in said.err
    monkeypatch.setattr("batchmill.cli.pilot.refuse_unanswerable", lambda yes: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert "go on? [y/N]" in call("run", asking, "--pilot", "3").err
    assert call("show", "last", "--output", "json").json["pending_count"] == 0
    assert call("show", "last", "--output", "json").json["success_count"] == 3
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert call("run", asking, "--pilot", "1").code == 0
    assert call("show", "last", "--output", "json").json["success_count"] == 8


def test_a_pilot_that_fails_leaves_the_others(call: Call, asking: Path) -> None:
    said = call("run", asking, "--pilot", "2", "--yes", "--set", "defaults.fail=true")
    assert said.code == 1
    assert "no job of the pilot succeeded: the others are left" in said.err
    assert call("run", asking, "--pilot", "2", "--limit", "2").code == 2


def test_a_forecast_is_an_interval_that_narrows_with_the_sample() -> None:
    values = [(float(n % 7), float(n % 7)) for n in range(100)]
    few, many, all_of_them = _total(values[:5], 100), _total(values[:50], 100), _total(values, 100)
    true = sum(low for low, _ in values)
    assert few.low <= true <= few.high
    assert many.high - many.low < few.high - few.low
    assert all_of_them == Interval(true, true)
    assert Forecast(5, 2, Interval(10, 20.4), None, Interval(60, 90)).words() == (
        "10 to 20 tokens, cost unknown, 1 min to 1 min 30 s"
    )


def test_a_reservoir_is_the_same_sample_each_time() -> None:
    one, two = Reservoir(5), Reservoir(5)
    for number in range(100):
        one.add(number)  # type: ignore[arg-type]
        two.add(number)  # type: ignore[arg-type]
    assert one.items == two.items
    assert len(set(one.items)) == 5
    assert max(one.items) > 10  # type: ignore[type-var]
