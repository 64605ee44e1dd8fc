"""Async tasks: many jobs in one worker, cancelled one by one; whoever takes the loop away is found."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from batchmill.executors.launcher import Launcher
from batchmill.executors.offload import run_packed
from batchmill.model.commands import Ack, Start, Stop
from batchmill.model.events import CallAsked, CallSettled, Died, Ended, Event, OffloadAsked, Ready, StepDone
from batchmill.model.jobs import Row
from batchmill.model.states import JobState, Mode
from tests.executors.harness import Rig, grant, until

Make = Callable[..., Rig]
ASYNC = (Mode.ASYNC,)


def test_many_jobs_run_at_once_and_each_has_its_own_output(rig: Make, tmp_path: Path) -> None:
    r = rig("async_gate", modes=ASYNC)
    marks, flags = [[tmp_path / f"{kind}{n}" for n in range(20)] for kind in ("mark", "flag")]
    jobs = [r.send("async_gate", mark=str(m), flag=str(f)) for m, f in zip(marks, flags, strict=True)]
    until(lambda: all(m.exists() for m in marks))
    for flag in reversed(flags):
        flag.touch()
    for n, job in enumerate(jobs):
        outcome = r.outcome(job)
        assert outcome.result == json.dumps(str(flags[n])).encode()
        assert outcome.log is not None
        text = (r.folder / "logs" / outcome.log.file).read_bytes()[outcome.log.start : outcome.log.end]
        assert text == f"waiting for flag{n}\nprinted\n".encode()


def test_one_job_is_cancelled_and_the_others_go_on(rig: Make, tmp_path: Path) -> None:
    r = rig("async_gate", modes=ASYNC)
    jobs = [r.send("async_gate", mark=str(tmp_path / f"m{n}"), flag=str(tmp_path / f"f{n}")) for n in range(3)]
    until(lambda: all((tmp_path / f"m{n}").exists() for n in range(3)))
    r.executor.stop([Stop(1, "cancel", jobs[1], grace=10)])
    assert r.outcome(jobs[1]).exceptions[0] == "CancelledError"
    for n in (0, 2):
        (tmp_path / f"f{n}").touch()
        assert r.outcome(jobs[n]).state is JobState.SUCCEEDED
    assert not r.of(Died)


def test_a_job_that_is_cancelled_before_it_is_read_ends_cancelled(rig: Make, tmp_path: Path) -> None:
    r = rig("async_gate", modes=ASYNC)
    job = r.send("async_gate", mark=str(tmp_path / "m"), flag=str(tmp_path / "never"))
    r.executor.stop([Stop(1, "cancel", job, grace=10)])
    assert r.outcome(job).state is JobState.CANCELLED


def test_a_job_that_ignores_its_cancellation_costs_the_worker(rig: Make, tmp_path: Path) -> None:
    r = rig("async_stubborn", modes=ASYNC, sample_interval=0.05)
    job = r.send("async_stubborn", mark=str(tmp_path / "m"))
    until((tmp_path / "m").exists)
    r.executor.stop([Stop(1, "cancel", job, grace=0.1)])
    died = r.wait(Died)
    assert (died.signal, died.job) == (signal.SIGKILL, 0)
    r.wait(Ready, lambda e: e.at > died.at)


def test_a_crash_names_the_job_whose_code_ran(rig: Make, tmp_path: Path) -> None:
    r = rig("async_gate", "async_crash", modes=ASYNC)
    r.send("async_gate", mark=str(tmp_path / "m"), flag=str(tmp_path / "never"))
    until((tmp_path / "m").exists)
    culprit = r.send("async_crash", mark=str(tmp_path / "c"))
    died = r.wait(Died)
    assert (died.signal, died.job) == (signal.SIGSEGV, culprit)


def test_steps_and_calls_are_awaited(rig: Make, tmp_path: Path) -> None:
    r = rig("async_steps", "async_metered", modes=ASYNC)
    r.answers = grant
    assert r.value("async_steps", folder=str(tmp_path)) == ["one", {"name": "b", "pair": [1, 2]}]
    assert sorted(e.step.name for e in r.of(StepDone)) == ["a", "b"]
    assert r.value("async_metered") == "done"
    assert r.wait(CallSettled).cost == r.wait(CallAsked).cost == 100_000_000


def test_a_call_cancelled_while_it_waits_is_released(rig: Make) -> None:
    r = rig("async_metered", modes=ASYNC)
    job = r.send("async_metered")
    asked = r.wait(CallAsked)
    r.executor.stop([Stop(1, "cancel", job, grace=10)])
    assert r.outcome(job).exceptions[0] == "CancelledError"
    settled = r.wait(CallSettled)
    assert (settled.ticket, settled.sent, settled.cost) == (asked.ticket, False, 0)


def test_an_offloaded_function_runs_in_a_process_worker(rig: Make) -> None:
    r = rig("async_offload", modes=(Mode.ASYNC, Mode.PROCESS))

    def forward(event: Event) -> Ack | None:
        if isinstance(event, OffloadAsked):
            row = Row(900, "", "async_offload", Mode.PROCESS, "1", "{}", None)
            r.executor.start([Start(2, row, 1, None, None, event.payload, "offload")])
            asked.append(event)
        elif isinstance(event, Ended) and event.slot == 2:
            return Ack(1, asked[-1].job, asked[-1].ticket, value=event.outcome.result)
        return None

    asked: list[OffloadAsked] = []
    r.answers = forward
    assert r.value("async_offload") is True
    outcome = r.run("async_offload", bad=True)
    assert outcome.exceptions[0] == "ValueError"
    assert "offloaded" in outcome.message


def test_an_offloaded_function_whose_process_died_fails_the_job(rig: Make) -> None:
    r = rig("async_offload", modes=ASYNC)
    r.answers = lambda e: Ack(1, e.job, e.ticket, "timeout: too long") if isinstance(e, OffloadAsked) else None
    outcome = r.run("async_offload")
    assert (outcome.exceptions[0], outcome.message) == ("JobFailed", "timeout: too long")


def test_the_packed_value_of_a_function_is_opaque_bytes() -> None:
    from batchmill.executors.offload import pack_function, unpack_value

    assert unpack_value(run_packed(pack_function(max, (1, 2))), "") == 2


def test_a_worker_that_leaves_ends_its_jobs_first(rig: Make, tmp_path: Path) -> None:
    r = rig("async_gate", modes=ASYNC)
    job = r.send("async_gate", mark=str(tmp_path / "m"), flag=str(tmp_path / "f"))
    until((tmp_path / "m").exists)
    r.executor.stop([Stop(1, "retire")])
    (tmp_path / "f").touch()
    assert r.outcome(job).state is JobState.SUCCEEDED
    assert r.wait(Died).exit_code == 0


def test_a_loop_without_a_beat_is_found(rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Launcher, "hung_after", 0.3)
    r = rig("hang_loop", modes=ASYNC, sample_interval=0.05)
    job = r.send("hang_loop")
    died = r.wait(Died)
    assert (died.signal, died.job) == (signal.SIGKILL, job)
    assert died.reason.startswith("blocked the event loop of all async jobs for 0.3 s")
