"""What the engine offers to a running job, in every mode; and the hooks of a task."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import batchmill
from tests.integration import tasks
from tests.integration.harness import Project, wait_for

MODES = ["process", "async", "inline"]


def _run(project: Project, task: Any, count: int = 4, **values: Any) -> batchmill.Run:
    values = {"workers": 2, "matrix": {"axes": {"x": {"range": [count]}}, "name": "n{x}"}, **values}
    defaults = {"folder": str(project.folder), **values.pop("defaults", {})}
    return batchmill.run(task, home=project.home, progress=False, name="batch", defaults=defaults, **values)


def _task(mode: str) -> Any:
    function = tasks.everything_async if mode == "async" else tasks.everything
    return batchmill.task(function, name="everything", version="1", mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_job_gets_everything_in_every_mode(project: Project, mode: str) -> None:
    run = _run(project, _task(mode), timeout="30s", matrix={"axes": {"x": [3]}, "name": "job"})

    value = run.job("job").value

    assert value["one"] == value["again"] == {"value": 3}
    assert project.done() == ["step 3"]
    assert (value["attempt"], value["name"]) == (1, "job")
    assert len(value["idempotency_key"]) == 32
    assert value["has_deadline"]
    out = project.run_folder() / "out" / "1"
    assert (out / "note.txt").read_text() == "note 3"
    assert (out / "deep/er/sub.bin").read_bytes() == b"\x03"
    if mode != "inline":  # which leaves output to the terminal
        assert project.call("logs", "last/job").out == "printed 3\nlogged 3\n"
    steps = project.rows("SELECT name, json_extract(value, '$.value'), seconds >= 0 FROM steps")
    assert steps == [("first", 3, 1)]
    assert "first" in project.call("show", "last/job").out
    assert project.call("verify", "last").code == 0


def test_seeds_depend_on_the_job_alone(project: Project) -> None:
    values = {}
    for mode, workers in (("process", 1), ("process", 3), ("inline", 1)):
        home = project.folder / f"home-{mode}-{workers}"
        run = batchmill.run(
            _task(mode), matrix={"axes": {"x": {"range": [6]}}}, defaults={"folder": str(project.folder)},
            home=home, progress=False, workers=workers,
        )  # fmt: skip
        values[mode, workers] = [(o.value["seed"], o.value["random"]) for o in run.results()]

    assert len({tuple(drawn) for drawn in values.values()}) == 1
    assert len(set(values["process", 1])) == 6


@pytest.mark.parametrize("mode", ["process", "async"])
def test_finished_steps_survive_a_kill(project: Project, mode: str) -> None:
    script = SCRIPT.format(function="stepped_async" if mode == "async" else "stepped", mode=mode)
    path = project.write("steps.py", script)
    process = project.spawn(path, environment=_importable())
    assert wait_for(lambda: sum("waits" in line for line in project.done()) == 2 and len(_steps(project)) == 4)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert project.no_process_is_left()

    project.write("open", "")
    ended = project.end(project.spawn(path, environment=_importable()))

    assert ended.code == 0, ended
    told = Counter(line for line in project.done() if "step" in line)
    assert told == Counter({f"{x} step {n}": 1 for x in range(2) for n in range(3)})
    assert list(project.results("steps-1").values()) == [[0, 1, 2]] * 2


def _steps(project: Project) -> list[tuple[Any, ...]]:
    return project.rows("SELECT name FROM steps", "steps-1")


def _importable() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parents[2])}


SCRIPT = """
import batchmill
from tests.integration import tasks

task = batchmill.task(tasks.{function}, name="steps", version="1", mode="{mode}")

if __name__ == "__main__":
    defaults = {{"folder": ".", "gate": "open"}}
    run = batchmill.run(task, name="steps", matrix={{"axes": {{"x": [0, 1]}}}}, defaults=defaults, progress=False)
    assert run.counts["succeeded"] == 2, list(run.results())
"""


def test_with_money_for_five_calls_at_most_five_are_sent(project: Project) -> None:
    run = _run(project, batchmill.task(tasks.buy, name="buy", version="1"), 20, budget="0.05 USD")

    assert (run.state, run.reason, run.exit_code) == ("stopped", "budget spent", 3)
    assert run.counts["succeeded"] == 5
    assert run.counts["pending"] == 15
    assert len(project.done("requests.txt")) == 5
    assert project.rows("SELECT spent FROM run") == [(5_000_000,)]
    reply = project.run_folder() / "out" / str(project.rows("SELECT job FROM calls")[0][0]) / "replies" / "1"
    assert reply.read_text().startswith("reply to")

    run = _run(project, batchmill.task(tasks.buy, name="buy", version="1"), 20, budget="1 USD")
    assert run.counts["succeeded"] == 20
    assert len(project.done("requests.txt")) == 20


def test_a_kill_among_paid_calls_does_not_overspend(project: Project) -> None:
    path = project.write("buying.py", BUYING)
    for _ in range(2):
        _kill_at_the_next_request(project, project.spawn(path, environment=_importable()))
    assert project.no_process_is_left()

    project.end(project.spawn(path, environment=_importable()))

    requests = project.done("requests.txt")
    assert len(requests) <= 5
    keys = Counter(line.split()[0] for line in requests)
    assert len(set(requests)) == len(keys)  # a request that is repeated has the same key
    assert project.rows("SELECT sum(cost) <= 5000000 FROM calls", "buying-1") == [(1,)]


def _kill_at_the_next_request(project: Project, process: subprocess.Popen[str]) -> None:
    sent = len(project.done("requests.txt"))
    assert wait_for(lambda: len(project.done("requests.txt")) > sent or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(20)


BUYING = """
import batchmill
from tests.integration import tasks

task = batchmill.task(tasks.buy, name="buy", version="1")

if __name__ == "__main__":
    defaults = {"folder": ".", "seconds": 0.2}
    matrix = {"axes": {"x": {"range": [20]}}}
    limits = {"budget": "0.05 USD", "concurrency": 2}
    batchmill.run(task, name="buying", matrix=matrix, defaults=defaults, limits=limits, progress=False)
"""


def test_money_that_a_call_did_not_cost_pays_for_another(project: Project) -> None:
    run = _run(project, batchmill.task(tasks.buy_in_process, name="buy", version="1"), 20, budget="0.05 USD", workers=1)

    assert run.counts["succeeded"] == 9  # the tenth might have cost one cent, and half a cent is left
    assert len(project.done("requests.txt")) == 9


def test_calls_keep_to_the_limits_of_their_quota(project: Project) -> None:
    run = _run(project, batchmill.task(tasks.buy_slowly, name="buy", version="1"), 12)

    inside = most = 0
    for word in project.done():
        inside += 1 if word == "in" else -1
        most = max(most, inside)
    assert run.counts["succeeded"] == 12
    assert most <= 2
    reserved = [at for (at,) in project.rows("SELECT reserved FROM calls ORDER BY reserved")]
    assert reserved[-1] - reserved[0] >= 0.3  # five calls at once, then seven at twenty a second


def test_an_async_job_has_its_heavy_part_done_in_a_process(project: Project) -> None:
    run = _run(project, batchmill.task(tasks.offloads, name="offloads", version="1"), 6)

    values = [outcome.value for outcome in run.results()]
    assert [value["square"] for value in values] == [x * x for x in range(6)]
    assert all(value["pid"] != value["own"] for value in values)


def test_what_goes_wrong_in_an_offloaded_function_is_raised_in_the_job(project: Project) -> None:
    task = batchmill.task(tasks.offloads_badly, name="offloads", version="1", timeout="10s")
    run = batchmill.run(
        task, matrix={"axes": {"what": ["dies", "raises"]}}, home=project.home, progress=False, workers=2, name="batch"
    )

    dies, raises = (outcome.value for outcome in run.results())
    assert dies.startswith("JobFailed")
    assert "exit code 9" in dies
    assert raises.startswith("ValueError: invalid literal")


def test_a_coroutine_that_ignores_its_timeout_costs_only_itself(project: Project) -> None:
    task = batchmill.task(tasks.ignores_cancelling, name="ignores", version="1", timeout="400ms")
    run = batchmill.run(
        task,
        matrix={"axes": {"x": {"range": [4]}}},
        retry={"attempts": 1},
        home=project.home,
        progress=False,
        name="batch",
    )

    assert [outcome.state for outcome in run.results()] == ["failed", "succeeded", "succeeded", "succeeded"]
    assert run.job(1).error is not None
    assert run.job(1).error[0] == "timeout"  # type: ignore[index]
    assert project.no_process_is_left()


def test_hostile_coroutines_hurt_nobody_but_themselves(project: Project) -> None:
    hostile = {
        "stops the loop": "crashed",
        "exits in the background": "crashed",
        "dies": "crashed",
        "interrupts": "error",
        "cancels itself": "error",
    }
    names = [*(f"good {n}" for n in range(10)), *hostile, *(f"good {n}" for n in range(10, 20))]
    run = batchmill.run(
        batchmill.task(tasks.among_others, name="among", version="1"),
        jobs=[{"name": name, "params": {"what": name}} for name in names],
        retry={"attempts": 1},
        home=project.home,
        progress=False,
        name="batch",
    )

    assert {o.name: o.error[0] for o in run.results(state="failed") if o.error} == hostile
    assert run.counts["succeeded"] == 20


def test_the_hooks_of_a_task(project: Project) -> None:
    project.write("texts/one.txt", "the quick brown fox")
    project.write("texts/two.txt", "jumps over")
    project.write("texts/empty.txt", "")

    run = batchmill.run(
        tasks.words,
        files={"directory": str(project.folder / "texts"), "pattern": "*.txt"},
        home=project.home,
        progress=False,
        name="batch",
        workers=2,
    )

    assert run.counts["succeeded"] == 6
    assert run.counts["failed"] == 1
    (failed,) = run.results(state="failed")
    assert failed.error == ("invalid", "the file is empty")
    values = [outcome.value for outcome in run.results(state="succeeded")]
    assert all(value["known"] and value["set_up_by_parent"] for value in values)
    assert {(value["mapped"], value["total"]) for value in values} == {("memmap", 25)}
    assert [outcome.metrics for outcome in run.results(state="succeeded")][:2] == [{"length": 3}, {"length": 5}]
    summary = json.loads((project.run_folder() / "summary.json").read_text())
    assert "length" in json.dumps(summary["metrics"])
    hooks = dict(project.rows("SELECT hook, result FROM hooks"))
    assert json.loads(hooks["summarise"]) == {"letters": 25}
    assert "7 words" in (project.run_folder() / "report.md").read_text()
    totals = list((project.run_folder() / "out").rglob("total.txt"))
    assert [path.read_text() for path in totals] == ["25"]
