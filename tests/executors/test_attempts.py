"""What attempts come to in real workers: results, failures, measures, output, state between jobs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batchmill.model.events import Ended, Progress
from batchmill.model.jobs import FileIdentity
from batchmill.model.states import FailureKind, JobState
from tests.executors.harness import Rig, alive, until

Make = Callable[..., Rig]


def test_a_result_comes_back_as_json_with_times(rig: Make) -> None:
    outcome = rig("echo").run("echo", value={"a": [1, 10**30]})
    assert outcome.state is JobState.SUCCEEDED
    assert outcome.result == b'{"a":[1,1000000000000000000000000000000]}'
    assert outcome.usage.started <= outcome.usage.ended
    assert outcome.usage.cpu > 0
    assert outcome.usage.peak_rss > 10**6
    assert outcome.resting_rss > 10**6
    assert outcome.log is None


def test_parameters_over_64_kb_arrive_whole(rig: Make) -> None:
    assert rig("length").value("length", text="é" * 3_000_000) == 3_000_000


def test_nan_and_infinity_become_strings(rig: Make) -> None:
    assert rig("not_finite").value("not_finite") == ["NaN", "Infinity", "-Infinity"]


def test_a_result_over_64_kb_waits_in_a_file(rig: Make) -> None:
    r = rig("large")
    blob = r.run("large", size=5_000_000).result_blob
    assert blob is not None
    content = (r.folder / "tmp" / blob.waiting).read_bytes()
    assert len(content) == blob.size == 5_000_002
    assert hashlib.sha256(content).hexdigest() == blob.digest


def test_results_are_checked_against_their_annotation(rig: Make) -> None:
    r = rig("point", "wrong_point", "numpy_count", "numpy_result")
    assert r.value("point", x=1) == {"x": 1, "y": 2.0}
    assert r.run("wrong_point").kind is FailureKind.INVALID
    assert r.value("numpy_count") == 3
    assert r.value("numpy_result") == {"n": 3, "a": [0, 1, 2], "f": 0.5}


def test_a_result_without_json_form_is_invalid(rig: Make) -> None:
    outcome = rig("unwritable").run("unwritable")
    assert outcome.kind is FailureKind.INVALID
    assert "`object` has no JSON form" in outcome.message


def test_wrong_parameters_are_invalid(rig: Make) -> None:
    outcome = rig("length").run("length", text=[1])
    assert outcome.kind is FailureKind.INVALID
    assert "`text`" in outcome.message


def test_an_exception_keeps_class_message_and_own_frames(rig: Make) -> None:
    outcome = rig("fail").run("fail", text="x" * 50_000)
    assert (outcome.state, outcome.kind) == (JobState.FAILED, FailureKind.ERROR)
    assert outcome.exceptions == ("ValueError", "Exception", "BaseException")
    assert outcome.message.startswith("ValueError: \\ud800x")
    assert len(outcome.message) < 11_000
    assert "in fail" in outcome.traceback
    assert "batchmill/executors" not in outcome.traceback


@pytest.mark.parametrize(
    ("what", "state", "kind"),
    [
        ("later", JobState.FAILED, FailureKind.ERROR),
        ("permanent", JobState.FAILED, FailureKind.ERROR),
        ("skip", JobState.SKIPPED, None),
        ("memory", JobState.FAILED, FailureKind.MEMORY),
        ("manifest", JobState.FAILED, FailureKind.INVALID),
        ("interrupt", JobState.FAILED, FailureKind.ERROR),  # the task's own: the engine interrupts nobody like that
    ],
)
def test_what_a_task_raises_tells_the_engine_what_to_do(
    rig: Make, what: str, state: JobState, kind: FailureKind | None
) -> None:
    outcome = rig("signal_engine").run("signal_engine", what=what)
    assert (outcome.state, outcome.kind) == (state, kind)
    assert outcome.retry_after == (7.5 if what == "later" else None)
    assert outcome.permanent == (what == "permanent")


def test_sys_exit_is_an_error_of_the_task(rig: Make) -> None:
    outcome = rig("sys_exit").run("sys_exit")
    assert outcome.kind is FailureKind.ERROR
    assert "exit('enough')" in outcome.message


def test_peak_memory_is_that_of_the_attempt_alone(rig: Make) -> None:
    r = rig("allocate")
    big = r.run("allocate", size=200_000_000).usage.peak_rss
    small = r.run("allocate", size=1_000_000).usage.peak_rss
    assert big > 200_000_000
    assert small < 100_000_000


def test_an_allocation_far_over_the_memory_limit_fails_cleanly(rig: Make) -> None:
    r = rig("allocate")
    assert r.run("allocate", size=400_000_000, memory=50_000_000).kind is FailureKind.MEMORY
    assert r.run("allocate", size=400_000_000).state is JobState.SUCCEEDED


def test_output_is_cut_into_a_slice_per_job(rig: Make) -> None:
    r = rig("say", "noop")
    first, silent, second = r.run("say", text="one"), r.run("noop"), r.run("say", text="two")
    assert silent.log is None
    for outcome, word in ((first, b"one"), (second, b"two")):
        assert outcome.log is not None
        content = (r.folder / "logs" / outcome.log.file).read_bytes()
        assert content[outcome.log.start : outcome.log.end] == word + b"\nand to stderr\n"


def test_log_lines_stand_among_the_output(rig: Make) -> None:
    r = rig("log_lines")
    log = r.run("log_lines", text="via ctx").log
    assert log is not None
    assert (r.folder / "logs" / log.file).read_bytes()[log.start : log.end] == b"printed\nvia ctx\n"


def test_endless_output_keeps_its_ends_and_frees_the_disk(rig: Make) -> None:
    r = rig("print_much", "say", sample_interval=0.02)
    log = r.run("print_much", megabytes=64).log
    path = r.folder / "logs" / "worker-1.log"
    assert log is not None
    content = path.read_bytes()[log.start : log.end]
    assert 2 * 2**20 < len(content) < 2 * 2**20 + 100
    assert content.startswith(b"the beginning\n")
    assert content.endswith(b"the end\n")
    assert b"bytes left out" in content
    after = r.run("say", text="after").log
    assert after is not None
    assert path.read_bytes()[after.start : after.end].startswith(b"after\n")


def test_a_worker_is_clean_again_for_the_next_job(rig: Make, tmp_path: Path) -> None:
    r = rig("spoil", "state")
    before = r.value("state")
    assert r.run("spoil").state is JobState.SUCCEEDED
    last = r.run("state")
    assert last.result is not None
    assert json.loads(last.result) == before
    assert before["cwd"] == str(tmp_path)
    assert last.log is not None  # it can print again


def test_a_job_that_leaves_children_loses_them(rig: Make, tmp_path: Path) -> None:
    r, file = rig("leave_child"), tmp_path / "pid"
    r.run("leave_child", pid_file=str(file))
    child = int(file.read_text())
    until(lambda: not alive(child), "the child's end")
    assert not alive(child)


def test_random_numbers_depend_on_seed_and_key_alone(rig: Make) -> None:
    r = rig("draw", "seeds")
    first, second = r.value("draw", key="a"), r.value("draw", key="a", attempt=2)
    assert first == second != r.value("draw", key="b")
    seed, own = r.value("seeds", key="a")
    assert [seed, own] == r.value("seeds", key="a", attempt=2)
    assert 0 <= seed < 2**63


def test_an_input_file_that_changes_while_it_is_read_makes_the_job_invalid(rig: Make, tmp_path: Path) -> None:
    path = tmp_path / "input.txt"
    path.write_text("one")
    found = os.stat(path)
    identity = FileIdentity(str(path), found.st_size, found.st_mtime_ns, found.st_ino)
    outcome = rig("touch_input").run("touch_input", path=str(path), inputs=(identity,))
    assert outcome.kind is FailureKind.INVALID
    assert outcome.message == f"`{path}` changed while it was read"


def test_artifacts_wait_in_tmp_and_the_scratch_folder_goes(rig: Make) -> None:
    r = rig("with_artifact", "bad_artifact")
    outcome = r.run("with_artifact")
    assert [a.name for a in outcome.artifacts] == ["a/note.txt", "copy.txt"]
    assert (r.folder / "tmp" / outcome.artifacts[0].blob.waiting).read_bytes() == b"hello"
    assert outcome.result is not None
    assert not Path(json.loads(outcome.result)).exists()
    assert "../escape" in r.run("bad_artifact").message


def test_progress_is_told(rig: Make) -> None:
    r = rig("tell_progress")
    job = r.send("tell_progress")
    assert r.wait(Progress)[2:] == (job, 1.0, 3, "reading")
    assert r.wait(Ended).job == job
