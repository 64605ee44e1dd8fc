"""The engine from Python: scripts, functions of scripts, closures, `map`, and what goes wrong in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

import batchmill
from tests.integration.harness import Project, wait_for


def test_the_functions_of_a_script_are_tasks(project: Project) -> None:
    ended = project.python("""
        import batchmill

        OFFSET = 100

        def shifted(x: int, y: float = 0.5, *, word: str = "w") -> dict:
            return {"sum": x + y + OFFSET, "name": __name__}

        if __name__ == "__main__":
            run = batchmill.run(shifted, matrix={"axes": {"x": [1, 2]}}, timeout=30, name="x", progress=False)
            assert run.counts["succeeded"] == 2
            print([outcome.value["sum"] for outcome in run.results()], run.state, run.name, run.id)
            print(run.job(1).value["name"], batchmill.open_run("last").id, batchmill.open_run("x").state)
        """)

    first, second = ended.out.splitlines()
    assert first == "[101.5, 102.5] finished x x-1"
    assert second.split()[1:] == ["x-1", "finished"]
    assert second.split()[0] != "__main__"


def test_a_script_without_a_main_guard_is_told_so(project: Project) -> None:
    ended = project.python("""
        import batchmill

        def square(x: int) -> int:
            return x * x

        batchmill.run(square, matrix={"axes": {"x": [1, 2]}}, progress=False)
        """, code=1)  # fmt: skip

    assert "TaskError" in ended.err
    assert "starts a batch whenever it is imported" in ended.err
    assert project.no_process_is_left()


@pytest.mark.parametrize("way", ["-c", "exec"])
def test_lambdas_and_closures_go_without_a_file(project: Project, way: str) -> None:
    text = """
import batchmill
def make(n):
    def add(x: int) -> int:
        return x + n
    return add
print(sorted(o.value for o in batchmill.map(make(10), [1, 2, 3], workers=2)))
print([o.value for o in batchmill.map(lambda x: x * 2, range(4), workers=2, ordered=True)])
run = batchmill.run(make(5), matrix={"axes": {"x": [1]}}, name="closure", progress=False)
again = batchmill.run(make(5), matrix={"axes": {"x": [1]}}, name="closure", progress=False)
other = batchmill.run(make(6), matrix={"axes": {"x": [1]}}, name="closure", progress=False)
print(run.id, again.id, other.id, [o.value for o in other.results()])
"""
    if way == "exec":
        text = f"exec({text!r}, {{'__name__': '__main__'}})"

    ended = project.end(project.spawn("-c", text))

    assert ended.code == 0, ended
    assert ended.out.splitlines() == ["[11, 12, 13]", "[0, 2, 4, 6]", "closure-1 closure-1 closure-2 [7]"]


def test_map_gives_outcomes_as_they_finish(project: Project) -> None:
    ended = project.python("""
        import os, time
        import batchmill

        def wait(x: int, seconds: float) -> int:
            time.sleep(seconds)
            if x == 3:
                raise ValueError("three")
            return x

        if __name__ == "__main__":
            items = [{"x": 1, "seconds": 0.8}, {"x": 2, "seconds": 0.0}, {"x": 3, "seconds": 0.0}]
            for outcome in batchmill.map(wait, items, workers=2, timeout=30):
                try:
                    print(outcome.value)
                except batchmill.JobFailed as error:
                    print(type(error).__name__, error.kind, "three" in str(error))
            print([o.state for o in batchmill.map(wait, items, workers=2, ordered=True)])
            print(os.path.exists(".batchmill"))
        """)

    assert ended.out.splitlines() == ["2", "JobFailed error True", "1", "['succeeded', 'succeeded', 'failed']", "False"]


def test_map_takes_items_of_any_form(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)

    def values(fn: Any, items: Any) -> list[Any]:
        return [outcome.value for outcome in batchmill.map(fn, items, ordered=True, workers=1)]

    assert values(lambda x: x, []) == values(lambda x: x, range(0)) == []
    assert values(lambda x: x, iter([1, 1, "a", None, [2], {"k": 3}])) == [1, 1, "a", None, [2], {"k": 3}]
    assert values(lambda x: x + 1, [{"x": 1}]) == [2]
    assert values(lambda x, y=10: x + y, [{"x": 1}, {"x": 2, "y": 3}]) == [11, 5]


def test_a_named_map_is_durable_and_can_be_left_early(project: Project) -> None:
    ended = project.python("""
        import batchmill
        from work import tell

        def square(x: int) -> int:
            tell(x)
            return x * x

        if __name__ == "__main__":
            for outcome in batchmill.map(square, range(200), workers=2, name="squares"):
                if outcome.value == 25:
                    break
            run = batchmill.open_run("squares")
            assert run.counts["succeeded"] >= 1, run.counts
            print(run.state)
            print(sum(o.value for o in batchmill.map(square, range(200), workers=2, name="squares")))
            print(sum(o.value for o in batchmill.map(square, range(200), workers=2, name="squares")))
        """)

    total = str(sum(x * x for x in range(200)))
    assert ended.out.splitlines()[1:] == [total, total]
    assert sorted(map(int, set(project.done()))) == list(range(200))
    assert len(project.done()) <= 200 + 64
    assert project.no_process_is_left()


def test_an_interrupted_script_stops_and_goes_on_later(project: Project) -> None:
    path = project.write("script.py", """
import batchmill
from work import gated

if __name__ == "__main__":
    matrix = {"axes": {"x": [1, 2, 3]}}
    run = batchmill.run(gated, matrix=matrix, defaults={"gate": "open"}, workers=1, name="g", progress=False)
    print(run.state, run.counts["succeeded"])
""")  # fmt: skip
    process = project.spawn(path)
    assert wait_for(lambda: project.done() == ["begin 1"])
    process.send_signal(2)
    project.write("open", "")
    first = project.end(process)

    assert "interrupted 1" in first.out, first
    assert project.end(project.spawn(path)).out == "finished 3\n"


@pytest.mark.parametrize(("signals", "done"), [(1, 1), (2, 0)])
def test_an_inline_run_is_interrupted_too(project: Project, signals: int, done: int) -> None:
    path = project.write(
        "script.py",
        """
import batchmill
from work import gated

if __name__ == "__main__":
    run = batchmill.run(gated, matrix={"axes": {"x": [1, 2]}}, defaults={"gate": "open"}, inline=True, progress=False)
    print(run.state, run.counts["succeeded"], run.counts["failed"])
""",
    )
    process = project.spawn(path)
    assert wait_for(lambda: project.done() == ["begin 1"])
    process.send_signal(2)
    if signals == 1:
        project.write("open", "")
    else:
        process.send_signal(15)  # a second SIGINT might melt into the first

    assert project.end(process).out == f"interrupted {done} 0\n"
    assert project.done() == ["begin 1", "end 1"][: 1 + done]


def test_a_frame_has_a_row_for_each_job(project: Project) -> None:
    pytest.importorskip("pandas")
    ended = project.python("""
        import batchmill

        def f(x: int, y: str) -> dict:
            if x == 2:
                raise ValueError("two")
            return {"z": x / 3, "nested": {"a": 1}, "nan": float("nan")}

        if __name__ == "__main__":
            run = batchmill.run(f, matrix={"axes": {"x": [1, 2], "y": ["a"]}}, progress=False)
            frame = run.to_frame()
            print(len(frame), list(frame["x"]), sorted(set(frame.columns) & {"name", "state", "x", "y", "z"}))
        """)

    assert ended.out.split("\n")[0] == "2 [1, 2] ['name', 'state', 'x', 'y', 'z']"


def test_all_that_a_manifest_takes(project: Project) -> None:
    project.write("table.csv", "name,x\nrow,7\n")
    ended = project.python("""
        import batchmill
        from batchmill import Job, Retry

        def f(x: int, factor: int = 1) -> int:
            return x * factor

        if __name__ == "__main__":
            one = Job({"x": 1}, name="one", priority=3, timeout=5.0, retry=Retry(attempts=2))
            run = batchmill.run(
                f, name="all", jobs=[one, {"params": {"x": 2}}],
                matrix={"axes": {"x": [10, 20]}, "exclude": [{"x": 10}], "name": "m{x}"}, table={"from": "table.csv"},
                defaults={"factor": 2}, limits={"workers": 1}, retry={"attempts": 2}, output="here", seed=3,
                order="plan", durability="process", report={"formats": ["json"]}, max_failures=5, deadline="1h",
                progress=False,
            )
            print({o.name: o.value for o in run.results()})
        """)  # fmt: skip

    assert "'one': 2" in ended.out
    assert "'row': 14" in ended.out
    assert "'m20': 40" in ended.out
    assert json.loads((project.folder / "here" / "all.json").read_text())["run"]["name"] == "all"


def test_an_installed_task_by_name(project: Project) -> None:
    run = batchmill.run(
        task="identifiability", jobs=[batchmill.Job({"model": "C2M"}, name="c2m")], home=project.home, progress=False
    )

    assert run.job("c2m").value["model"] == "C2M"
    assert run.name == "identifiability"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("batchmill.run(f, matrix={'axes': {'y': [1]}})", "ManifestError"),
        ("batchmill.run(f, matrix={'axes': {'x': []}})", "ManifestError"),
        ("batchmill.run(f, jobs=[{'parms': {}}])", "ManifestError"),
        ("batchmill.run(f, jobs=[{'params': {'x': 1}}], wrong=1)", "ManifestError"),
        ("batchmill.run(task='nothing', jobs=[{}])", "ManifestError"),
        ("batchmill.run('missing.yaml')", "ManifestError"),
        ("batchmill.run(print, jobs=[{}])", "TaskError"),
        ("batchmill.open_run('nothing')", "RunNotFound"),
        ("list(batchmill.map(lambda x, y: x, [1]))", "UsageError"),
        ("batchmill.run(f, jobs=[{'params': {'x': 1}}], limit=0)", "UsageError"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch, call: str, error: str
) -> None:
    monkeypatch.chdir(project.folder)

    def f(x: int) -> int:
        return x

    with pytest.raises(batchmill.BatchmillError) as raised:
        eval(call, {"batchmill": batchmill, "f": f})

    assert error in {kind.__name__ for kind in type(raised.value).__mro__}
    assert not project.home.exists()
