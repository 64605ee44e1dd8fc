"""What a run may use: time, memory, attempts, pace, failures; and the order in which jobs start."""

from __future__ import annotations

import itertools

import pytest

from tests.integration.harness import Project, wait_for

QUICK = {"backoff": {"base": "10ms", "max": "20ms"}}


def test_a_job_that_fails_at_first_is_tried_again_with_the_same_idempotency_key(project: Project) -> None:
    jobs = [{"name": "late", "params": {"x": 1, "good_from": 3}}, {"name": "never", "params": {"x": 2, "good_from": 9}}]
    project.manifest("flaky", jobs=jobs, retry={"attempts": 3, "on": ["ConnectionError"], **QUICK})

    project.run(code=1)

    assert project.states() == {"late": "succeeded", "never": "error"}
    assert project.results()["late"] == {"attempt": 3}
    told = [line.split() for line in project.done()]
    assert sorted((x, attempt) for x, _, attempt, _, _ in told) == sorted(itertools.product("12", "123"))
    assert len({key for x, *_, key in told if x == "1"}) == 1
    assert len({key for *_, key in told}) == 2
    attempts = project.rows("SELECT number, state, kind FROM attempts WHERE job = 1 ORDER BY number")
    assert attempts == [(1, "failed", "error"), (2, "failed", "error"), (3, "succeeded", None)]
    assert project.rows("SELECT n FROM counts WHERE state = 'retried'") == [(2,)]
    assert project.log().count("attempt 2 in") == 2


def test_what_retry_does_not_name_is_not_tried_again(project: Project) -> None:
    project.manifest("flaky", jobs=[{"params": {"x": 1, "good_from": 3}}], retry={"attempts": 3, "on": ["timeout"]})

    project.run(code=1)

    assert len(project.done()) == 1


def test_a_job_has_limits_of_its_own(project: Project) -> None:
    jobs = [
        {"name": "slow", "params": {"kind": "sleep"}, "timeout": "300ms"},
        {"name": "large", "params": {"kind": "memory"}, "memory": "200MB"},
        {"name": "tried", "params": {"kind": "raise"}, "retry": {"attempts": 2, **QUICK}},
        {"name": "once", "params": {"kind": "raise", "n": 1}},
    ]
    project.manifest("mixed", jobs=jobs, limits={"workers": 2, "timeout": "20s"}, retry={"attempts": 1})

    project.run(code=1)

    assert project.states() == {"slow": "timeout", "large": "memory", "tried": "error", "once": "error"}
    assert dict(project.rows("SELECT name, total_attempts FROM jobs")) == {"slow": 1, "large": 1, "tried": 2, "once": 1}
    assert project.no_process_is_left()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "xlsx"])
def test_a_row_of_a_table_is_a_job_with_limits_of_its_own(project: Project, kind: str) -> None:
    columns = ["name", "kind", "n", "timeout", "priority", "group"]
    rows = [
        ["a", "good", 1, None, 5, "left"],
        ["b", "sleep", 2, "300ms", None, "right"],
        ["c", "good", 3, None, 9, "left"],
    ]
    _write_table(project, kind, columns, rows)
    project.manifest("mixed", table={"from": f"jobs.{kind}"}, retry={"attempts": 1}, limits={"workers": 1})

    project.run(code=1)

    assert project.states() == {"a": "succeeded", "b": "timeout", "c": "succeeded"}
    assert dict(project.rows("SELECT name, grp FROM jobs")) == {"a": "left", "b": "right", "c": "left"}
    started = [name for (name,) in project.rows("SELECT name FROM jobs ORDER BY started")]
    assert started == ["c", "a", "b"]
    assert project.results()["a"]["n"] == 1


def _write_table(project: Project, kind: str, columns: list[str], rows: list[list[object]]) -> None:
    if kind == "csv":
        lines = [columns, *rows]
        project.write("jobs.csv", "\n".join(",".join("" if v is None else str(v) for v in row) for row in lines))
    elif kind == "jsonl":
        import json

        given = [{c: v for c, v in zip(columns, row, strict=True) if v is not None} for row in rows]
        project.write("jobs.jsonl", "\n".join(map(json.dumps, given)))
    else:
        import openpyxl

        book = openpyxl.Workbook()
        for row in [columns, *rows]:
            book.active.append(row)
        book.save(project.folder / "jobs.xlsx")


def test_a_group_has_a_concurrency_of_its_own(project: Project) -> None:
    jobs = [{"name": f"{g}{x}", "group": g, "params": {"x": f"{g}{x}"}} for x in range(4) for g in ("one", "free")]
    defaults = {"x": ""}
    project.manifest("in_and_out", jobs=jobs, defaults=defaults, limits={"workers": 4, "concurrency": {"one": 1}})

    project.run()

    inside = most = 0
    for word, name in (line.split() for line in project.done()):
        if name.startswith("one"):
            inside += 1 if word == "in" else -1
            most = max(most, inside)
    assert most == 1
    assert project.counts() == {"succeeded": 8}


def test_starts_keep_to_the_rate(project: Project) -> None:
    project.manifest("square", matrix={"axes": {"x": {"range": [6]}}}, limits={"workers": 2, "rate": "10/s"})

    project.run()

    starts = sorted(at for (at,) in project.rows("SELECT started FROM attempts"))
    assert starts[-1] - starts[0] >= 0.45
    assert project.counts() == {"succeeded": 6}


def test_a_deadline_stops_the_run_and_raising_it_continues(project: Project) -> None:
    jobs = [{"name": f"n{x}", "params": {"x": x, "gate": "open" if x > 1 else ""}} for x in range(6)]
    project.manifest("gated", jobs=jobs, limits={"workers": 1})

    project.run("batch.yaml", "--deadline", "2s", code=3)

    assert project.counts() == {"succeeded": 2, "pending": 4}
    assert project.run_state() == ("stopped", "deadline of 2 s")
    assert project.rows("SELECT sum(attempts) FROM jobs") == [(2,)]  # who was stopped is not charged
    project.write("open", "")
    project.run()
    assert project.counts() == {"succeeded": 6}


def test_failures_stop_the_run_where_they_are_too_many(project: Project) -> None:
    project.manifest(
        "unless_file", matrix={"axes": {"x": {"range": [30]}}}, defaults={"name": "now"}, limits={"workers": 1}
    )

    project.run("batch.yaml", "--max-failures", "3", code=3)
    counts = project.counts()
    assert 3 <= counts["failed"] <= 6
    assert "limit is 3" in project.run_state()[1]

    project.write("now", "")
    project.run("batch.yaml", "--max-failures", "10%")
    assert project.counts() == {"succeeded": 30}


def test_a_share_of_failures_counts_from_twenty_jobs_on(project: Project) -> None:
    jobs = [{"name": f"n{x}", "params": {"x": x, "name": "no" if x < 19 else "batch.yaml"}} for x in range(40)]
    project.manifest("unless_file", jobs=jobs, limits={"workers": 1, "max_failures": "96%"})

    project.run(code=1)  # 19 of the first 20 are 95 %

    assert project.counts() == {"failed": 19, "succeeded": 21}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--only", "a?"), ["a0", "a1", "a2"]),
        (("--group", "right"), ["b0", "b1", "b2"]),
        (("--limit", "2"), ["a0", "a1"]),
        (("--only", "b*", "--limit", "1"), ["b0"]),
    ],
    ids=str,
)
def test_a_selection_runs_first_and_the_rest_later(
    project: Project, options: tuple[str, ...], names: list[str]
) -> None:
    jobs = [{"name": f"a{x}", "params": {"x": x}, "group": "left"} for x in range(3)]
    jobs += [{"name": f"b{x}", "params": {"x": 10 + x}, "group": "right"} for x in range(3)]
    project.manifest("square", jobs=jobs)

    project.run("batch.yaml", *options)

    assert [name for name, state in project.states().items() if state == "succeeded"] == names
    assert project.run_state() == ("stopped", "selection")
    project.run()
    assert project.counts() == {"succeeded": 6}
    assert len(project.done()) == 6


def test_a_sample_runs_a_few_and_the_next_sample_a_few_more(project: Project) -> None:
    project.manifest("square", matrix={"axes": {"x": {"range": [40]}}})

    project.run("batch.yaml", "--sample", "5")
    first = set(project.done())
    project.run("batch.yaml", "--sample", "5")

    assert len(first) == 5
    assert len(project.done()) == len(set(project.done())) == 10
    assert project.counts() == {"succeeded": 10, "pending": 30}


def test_priority_and_group_decide_the_order(project: Project) -> None:
    jobs = [{"name": n, "group": g, "priority": p, "params": {"x": i}} for i, (n, g, p) in enumerate(
        [("a", "g1", 0), ("b", "g2", 5), ("c", "g1", 3), ("d", "g2", 0), ("e", "g1", 0)])]  # fmt: skip
    project.manifest("square", name="by-plan", jobs=jobs, limits={"workers": 1}, reuse="never")
    project.run()
    project.manifest("square", name="by-group", jobs=jobs, limits={"workers": 1}, reuse="never", order="group")
    project.run()

    assert "".join("abcde"[int(x)] for x in project.done()) == "bcade" + "caebd"


def test_a_group_ends_before_the_next_begins(project: Project) -> None:
    jobs = [{"name": f"{g}{x}", "group": g, "params": {"x": f"{g}{x}"}} for x in range(4) for g in ("a", "b")]
    project.manifest("in_and_out", jobs=jobs, limits={"workers": 2}, order="group")

    project.run()

    words = [line.split() for line in project.done()]
    assert [name[0] for _, name in words] == ["a"] * 8 + ["b"] * 8
    assert project.counts() == {"succeeded": 8}


def test_workers_are_replaced_after_their_share(project: Project) -> None:
    project.manifest("own_pid", matrix={"axes": {"x": {"range": [12]}}}, limits={"workers": 1, "jobs_per_worker": 4})

    project.run()

    pids = [result["pid"] for result in project.results().values()]
    assert [len(list(group)) for _, group in itertools.groupby(pids)] == [4, 4, 4]


def test_a_worker_that_grew_is_replaced(project: Project) -> None:
    matrix = {"axes": {"x": {"range": [6]}}}
    project.manifest("grow", matrix=matrix, limits={"workers": 1, "worker_growth": "50MB"})

    project.run()

    assert (
        len({result["pid"] for result in project.results().values()}) == 2
    )  # of its first job nobody knows the growth


def test_a_memory_limit_that_no_worker_can_keep_is_refused(project: Project) -> None:
    project.manifest("square", jobs=[{"params": {"x": 1}}], limits={"workers": 1, "memory": "1MB"})

    ended = project.run(code=2)

    assert "the memory limit of 1 MB is too low: a worker takes " in ended.err
    assert project.counts() == {"pending": 1}


def test_little_memory_for_all_lets_fewer_run_at_once(project: Project) -> None:
    jobs = [{"name": f"m{x}", "params": {"x": x, "megabytes": 150}} for x in range(4)]
    project.manifest("hold", jobs=jobs, limits={"workers": 4, "total_memory": "350MB", "memory": "300MB"})

    project.run()

    inside = most = 0
    for line in project.done():
        inside += 1 if line.startswith("in") else -1
        most = max(most, inside)
    assert project.counts() == {"succeeded": 4}
    assert most <= 2


def test_a_run_of_no_jobs_has_nothing_to_do(project: Project) -> None:
    project.write("none.jsonl", "")
    project.manifest("square", table={"from": "none.jsonl"})

    ended = project.run(code=None)

    assert ended.code in (0, 2)
    assert "Traceback" not in ended.err
    assert wait_for(lambda: not project.processes())


def test_parameters_reach_a_function_as_what_they_are(project: Project) -> None:
    values = {"nan": float("nan"), "inf": float("-inf"), "large": 2**80, "text": "NaN", "nested": {"a": [1, None, "é"]}}
    project.manifest("kind_of", jobs=[{"name": name, "params": {"value": value}} for name, value in values.items()])

    project.run()

    assert project.results() == {name: {"repr": repr(value)} for name, value in values.items()}


def test_a_coroutine_function_of_the_python_task_awaits_its_steps(project: Project) -> None:
    project.manifest("later", jobs=[{"name": "one", "params": {"x": 4}}])

    project.run()

    assert project.results() == {"one": {"step": 4, "x": 4}}
    assert project.rows("SELECT name FROM steps") == [("double",)]
