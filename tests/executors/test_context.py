"""The Context in real workers: steps, calls, prepared files, hooks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from batchmill.model.commands import Ack
from batchmill.model.events import CallAsked, CallSettled, Ended, LimitSeen, StepDone, WaitBegan, WaitEnded
from batchmill.model.jobs import SavedStep
from batchmill.model.states import FailureKind, JobState, Mode
from batchmill.model.tasks import TaskSource
from tests.executors.harness import Rig, grant

Make = Callable[..., Rig]


def test_a_step_returns_only_after_its_acknowledgement(rig: Make, tmp_path: Path) -> None:
    r = rig("steps")
    job = r.send("steps", folder=str(tmp_path))
    done = r.wait(StepDone)
    assert (done.job, done.step.name, done.seconds >= 0) == (job, "first", True)
    r.turn(0.05)
    assert [e.step.name for e in r.of(StepDone)] == ["first"]
    r.answers = grant
    r.executor.ack([Ack(1, job, done.ticket)])
    outcome = r.outcome(job)
    assert outcome.result == b'[{"name":"first","pair":[1,2]},"NaN",{"name":"first","pair":[1,2]}]'
    assert [e.step.name for e in r.of(StepDone)] == ["first", "second"]


def test_saved_steps_do_not_run_again_and_read_back_the_same(rig: Make, tmp_path: Path) -> None:
    r = rig("steps")
    r.answers = grant
    first = r.run("steps", folder=str(tmp_path), stop=True, key="k")
    assert first.message == "RuntimeError: stopped"
    saved = tuple(e.step for e in r.of(StepDone))
    assert r.value("steps", folder=str(tmp_path), key="k", attempt=2, steps=saved)[0] == {
        "name": "first",
        "pair": [1, 2],
    }
    assert (tmp_path / "first").read_text() == "x"
    assert math.isnan(json.loads(saved[1].value))


def test_a_step_name_with_other_arguments_is_an_error(rig: Make, tmp_path: Path) -> None:
    r = rig("clashing_steps", "steps")
    r.answers = grant
    assert "step `a` is saved with other arguments" in r.run("clashing_steps", folder=str(tmp_path)).message
    other = SavedStep("first", "another digest", b"1")
    outcome = r.run("steps", folder=str(tmp_path), steps=(other,))
    assert (outcome.kind, outcome.exceptions[0]) == (FailureKind.ERROR, "TaskError")


def test_a_call_is_reserved_then_settled(rig: Make) -> None:
    r = rig("metered")
    r.answers = grant
    outcome = r.run("metered")
    asked, settled = r.wait(CallAsked), r.wait(CallSettled)
    assert (asked.quota, asked.key, asked.tokens, asked.cost) == ("toy", "k", 100, 2_000_000)
    assert (settled.ticket, settled.tokens, settled.cost, settled.sent) == (asked.ticket, 5, 1_000_000, True)
    assert json.loads(settled.usage)["input"] == 3
    reply = outcome.artifacts[0]
    assert reply.name == "replies/1"
    assert json.loads(settled.usage)["reply"] == reply.blob.digest
    seen = r.wait(LimitSeen)
    assert seen.pause_until > asked.at
    assert r.value("metered", key="key-1", attempt=2) == json.loads(outcome.result or b"")


def test_a_call_left_unsettled_costs_its_maximum(rig: Make) -> None:
    r = rig("metered")
    r.answers = grant
    r.run("metered", settle=False)
    settled = r.wait(CallSettled)
    assert (settled.tokens, settled.cost, settled.sent) == (100, 2_000_000, True)


def test_a_refused_call_fails_the_job_for_good(rig: Make) -> None:
    r = rig("metered")
    r.answers = lambda e: Ack(e.slot, e.job, e.ticket, "the budget is spent") if isinstance(e, CallAsked) else None
    outcome = r.run("metered")
    assert (outcome.permanent, outcome.message) == (True, "the budget is spent")
    assert not [e for e in r.of(CallSettled) if e.sent]


@pytest.mark.parametrize(("task", "mode"), [("naps", Mode.PROCESS), ("async_naps", Mode.ASYNC)])
def test_a_wait_of_the_jobs_own_will_is_told_and_moves_its_deadline(rig: Make, task: str, mode: Mode) -> None:
    r = rig(task, modes=(mode,))
    assert r.value(task, seconds=0.05, timeout=9.0) is True
    began, ended = r.wait(WaitBegan), r.wait(WaitEnded)
    assert (began.slot, began.job, began.ticket) == (ended.slot, ended.job, ended.ticket)


def test_a_call_of_unknown_price_says_so(rig: Make) -> None:
    r = rig("unpriced")
    r.answers = grant
    assert r.value("unpriced") == "sent"
    asked = r.wait(CallAsked)
    assert (asked.cost, asked.unpriced, r.wait(CallSettled).cost) == (0, True, 0)


def test_prepared_arrays_are_mapped(rig: Make, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    numpy.save(tmp_path / "n.npy", numpy.arange(5.0))
    r = rig("prepared_sum", "echo")
    r.executor.set_prepared({"prepared_sum": {"numbers": str(tmp_path / "n.npy")}})
    assert r.value("prepared_sum") == 10.0
    r.kill()
    assert r.value("prepared_sum") == 10.0


def test_hooks_run_in_a_worker(tmp_path: Path) -> None:
    (tmp_path / "hooked_task.py").write_text(
        "from batchmill.plugins import make_task\n"
        "def prepare(jobs, ctx):\n"
        "    ctx.artifact('index', str(len(list(jobs))).encode())\n"
        "def summarise(results, ctx):\n"
        "    return {'sum': sum(results), 'job': ctx.job}\n"
        "def report(results):\n"
        "    return f'{max(results)} at most'\n"
        "def run(x: int) -> int:\n"
        "    return x\n"
        "run = make_task(run, prepare=prepare, summarise=summarise, report=report)\n"
    )
    source = TaskSource("module", "hooked_task", "run", search_path=(str(tmp_path),))
    with Rig(tmp_path, "echo", more={"run": source}) as r:
        r.ready()
        index = r.run("run", hook="prepare").artifacts[0]
        assert (r.folder / "tmp" / index.blob.waiting).read_bytes() == b"2"
        assert r.value("run", hook="summarise", job=77) == {"sum": 60, "job": 77}
        assert r.value("run", hook="report") == "30 at most"
        assert r.run("echo", hook="report").kind is FailureKind.INVALID


def test_an_unknown_task_is_a_failed_attempt(rig: Make) -> None:
    r = rig("echo")
    assert r.run("no_such").state is JobState.FAILED
    assert len(r.of(Ended)) == 1
