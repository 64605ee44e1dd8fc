"""The inline executor: the same contract in the driver's own process."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from batchmill.executors.inline import InlineExecutor
from batchmill.model.commands import Ack, Recall
from batchmill.model.events import Broken, CallSettled, Ended, Recalled, StepDone
from batchmill.model.states import FailureKind, JobState, Mode
from batchmill.model.tasks import TaskSource
from tests.executors.harness import Rig

Make = Callable[..., Rig]
INLINE = (Mode.INLINE,)


def test_an_attempt_runs_in_this_process_and_leaves_it_as_it_was(rig: Make) -> None:
    r = rig("pid", "fail", "draw", modes=INLINE)
    random.seed(1)
    expected = random.Random(1).random()
    cwd = os.getcwd()
    assert r.value("pid") == os.getpid()
    assert r.run("fail", text="x").kind is FailureKind.ERROR
    assert r.value("draw", key="k") == r.value("draw", key="k")
    assert random.random() == expected
    assert os.getcwd() == cwd


def test_the_same_numbers_are_drawn_inline_and_in_a_worker(rig: Make) -> None:
    r = rig("draw", modes=(Mode.INLINE, Mode.PROCESS))
    assert r.value("draw", 1, key="k") == r.value("draw", 2, key="k")


def test_it_says_which_limits_it_does_not_enforce(rig: Make) -> None:
    r = rig("noop", modes=INLINE)
    assert {"timeout", "memory", "budget"} <= set(r.executor.limits_not_enforced)


def test_steps_and_calls_go_through_without_a_turn_of_the_loop(rig: Make, tmp_path: Path) -> None:
    r = rig("steps", "metered", "log_lines", modes=INLINE)
    assert r.run("steps", folder=str(tmp_path)).state is JobState.SUCCEEDED
    assert [e.step.name for e in r.of(StepDone)] == ["first", "second"]
    r.run("metered")
    assert r.wait(CallSettled).cost == 1_000_000
    log = r.run("log_lines", text="hello").log
    assert log is not None
    assert (r.folder / "logs" / log.file).read_bytes() == b"hello\n"


def test_a_driver_that_turns_its_loop_is_waited_for(tmp_path: Path) -> None:
    with Rig(tmp_path, "steps", modes=INLINE, executor=InlineExecutor) as r:
        r.ready()
        turned: list[StepDone] = []

        def turn() -> None:
            for event in r.executor.receive(0.0, 10):
                assert isinstance(event, StepDone)
                turned.append(event)
                r.executor.ack([Ack(1, event.job, event.ticket)])

        r.executor.turn = turn
        r.run("steps", folder=str(tmp_path))
        assert [e.step.name for e in turned] == ["first", "second"]


def test_async_tasks_run_inline_too(rig: Make, tmp_path: Path) -> None:
    r = rig("async_echo", "async_steps", "async_metered", "async_offload", modes=INLINE)
    assert r.value("async_echo", value=3) == 3
    assert r.value("async_steps", folder=str(tmp_path))[0] == "one"
    assert r.value("async_metered") == "done"
    assert r.value("async_offload") is False


def test_what_has_not_begun_is_recalled(rig: Make) -> None:
    r = rig("noop", modes=INLINE)
    jobs = [r.send("noop") for _ in range(3)]
    r.executor.recall([Recall(1)])
    assert r.wait(Recalled).jobs == tuple(jobs)
    assert not r.of(Ended)


def test_a_task_that_does_not_import_breaks_it(tmp_path: Path) -> None:
    source = TaskSource("module", "no_such_module_at_all", "run")
    with Rig(tmp_path, more={"bad": source}, modes=INLINE) as r:
        assert "no_such_module_at_all" in r.wait(Broken).message
