"""Reading a manifest: validation in plain words, overrides, values from Python, and no traceback ever."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.errors import ManifestError
from batchmill.manifest.document import Document, from_values, read
from batchmill.manifest.explain import explain
from batchmill.manifest.messages import render
from batchmill.model.jobs import Job
from batchmill.model.limits import Failures, Rate, Retry
from batchmill.model.manifest import RangeAxis
from tests.manifest.conftest import DATA, Problems, Read, pick, place

GOOD = """\
# yaml-language-server: $schema=manifest.schema.json
name: oi-sweep
task: count
defaults: {check: true}
limits: {workers: 4, timeout: 300s, memory: 2GB, total_memory: 8GB, budget: 5 USD, max_failures: 10%, deadline: 2h,
         rate: 30/min, concurrency: {simple: 2}, kill_grace: 0, quotas: {api: {rate: 600/min, concurrency: 4}}}
retry: {attempts: 3, on: [timeout, crashed, ConnectionError],
        backoff: {base: 1s, factor: 2, max: 60s, jitter: full}, max_elapsed: 1h}
files: {directory: models, pattern: "*.yaml", as: model, recursive: true, exclude: ["old_*"], max_size: 1MB}
jobs:
  - {name: baseline, params: {model: C2M}, priority: 10, timeout: 60s, group: simple}
matrix:
  axes: {derivatives: [0, 1, 2], repeat: {range: [0, 2]}}
  paired: {a: [1, 2], b: [10, 20]}
  exclude: [{derivatives: 0, repeat: 1}]
  name: "bolie_d{derivatives}_r{repeat}_{b:03d}"
table: {from: settings.csv}
output: results
report: {formats: [json, csv, md]}
"""


def test_the_whole_manifest_is_read(read_text: Read) -> None:
    found = read_text(GOOD)
    limits = found.manifest.limits
    assert (found.name, found.foreign, found.parts) == ("oi-sweep", "", (found,))
    assert (limits.workers, limits.timeout, limits.memory, limits.deadline) == (4, 300, 2 * 10**9, 7200)
    assert (limits.budget, limits.max_failures, limits.rate) == (500_000_000, Failures(fraction=0.1), Rate(30, 60))
    assert limits.concurrency == {"simple": 2}
    assert found.manifest.retry.backoff.max == 60
    assert found.manifest.matrix is not None
    assert found.manifest.matrix.axes["repeat"] == RangeAxis(range=[0, 2])
    assert found.text == GOOD


def test_folder_and_name_come_from_the_path(tmp_path: Path) -> None:
    (tmp_path / "night.run.yaml").write_text("task: count\njobs: [{}]\n")
    found = read(tmp_path / "night.run.yaml", known_tasks=["count"])
    assert (found.name, found.folder, found.path) == ("night.run", tmp_path, tmp_path / "night.run.yaml")


def test_a_problem_found_later_has_its_place(read_text: Read) -> None:
    found = read_text(GOOD).problem(("files", "directory"), "plan/missing-folder", "there is no folder `models`")
    assert (place(found), found.text.split(",")[0]) == ((9, 20), "files: {directory: models")


WRONG = """\
task: count
limits: {workers: two, timeout: 5 parsecs, memory: [1]}
jobs:
  - name: strict
    prams: {leaf: 50}
  - {priority: "3", name: 2024}
files: {recursive: yes, pattern: 3}
order: grup
retry: {attempts: 5000, backoff: {factor: 0.5}}
table: {sheet: x}
defaults:
matrix: {axes: {a: 5, b: {rang: [1]}, c: {range: [x]}}}
"""


@pytest.mark.parametrize(
    ("where", "message", "hint"),
    [
        ((2, 19), "`workers` must be a whole number above zero, not `two`", ""),
        ((2, 33), "`timeout`: `parsecs` is not a unit of time: use ms, s, min, h or days", ""),
        ((2, 52), "`memory`: `[...]` is not a size: write it as `500MB` or `2GiB`", ""),
        ((5, 5), "unknown key `prams` in job `strict`", "did you mean `params`?"),
        ((6, 16), "`priority` must be a whole number, not the text `3`", "remove the quotes"),
        ((6, 27), "`name` must be text, not `2024`", 'quote it: `"2024"`'),
        ((7, 20), "`recursive` must be `true` or `false`, not `yes`", "write `true`"),
        ((7, 34), "`pattern` must be text or a list of texts, not `3`", ""),
        ((8, 8), "`order` must be `plan` or `group`, not `grup`", "did you mean `group`?"),
        ((9, 19), "`attempts` must be a whole number up to 1000, not `5000`", ""),
        ((9, 43), "`factor` must be a number, 1 or more, not `0.5`", ""),
        ((10, 1), "`table` needs `from`", "add `from:`, text"),
        ((11, 10), "`defaults` is empty", "give a mapping, or remove the key"),
        ((12, 20), "`a` must be a list or a mapping with `range`, not `5`", ""),
        ((12, 27), "unknown key `rang` in `b`", "did you mean `range`?"),
        ((12, 51), "`range[0]`: `x` is not a number", ""),
    ],
)
def test_wrong_values_are_told_in_plain_words(
    problems: Problems, where: tuple[int, int], message: str, hint: str
) -> None:
    found = problems(WRONG)
    assert (message, hint) in [(problem.message, problem.hint) for problem in found if place(problem) == where]


def test_all_problems_come_in_the_order_of_the_text(problems: Problems) -> None:
    found = problems(WRONG)
    assert list(map(place, found)) == sorted(map(place, found))
    assert len(found) == 18
    assert not any(re.search("pydantic|Input should|Field required|Extra inputs", str(p)) for p in found)


def test_a_key_of_another_section_is_sent_there(problems: Problems) -> None:
    (found,) = problems("task: count\njobs: [{}]\nbackoff: {base: 1s}\n")
    assert (found.hint, found.note) == ("`backoff` belongs in `retry`", "not a manifest key")


@pytest.mark.parametrize("text", ["", "# only a comment", "- a", "just text", "42"])
def test_what_is_no_mapping_is_no_manifest(problems: Problems, text: str) -> None:
    (found,) = problems(text)
    assert place(found) == (1, 1)


# --- overrides ---------------------------------------------------------------------------------------------------


def test_overrides_replace_and_add_values(read_text: Read) -> None:
    sets = ["limits.workers=2", "matrix.axes.derivatives=[5]", "jobs[0].params.x=3", 'defaults."a.b"=no', "name="]
    found = read_text(GOOD.replace("_{b:03d}", "_{b}"), sets)
    assert found.manifest.limits.workers == 2
    assert found.manifest.matrix is not None
    assert found.manifest.matrix.axes["derivatives"] == [5]
    assert found.manifest.jobs[0].params == {"model": "C2M", "x": 3}
    assert found.manifest.defaults == {"check": True, "a.b": "no"}
    assert found.name == "batch"


@pytest.mark.parametrize(
    ("override", "column", "message"),
    [
        ("limits.workers=two", 16, "`workers` must be a whole number above zero, not `two`"),
        ("limts.workers=2", 1, "unknown key `limts`"),
        ("limits.wokers=2", 8, "unknown key `wokers` in `limits`"),
        ("matrix.axes.a=[]", 15, "the axis `a` has no values"),
        ("jobs[9].params.x=3", 6, "`jobs` has only 1 items; the first is `[0]`"),
        ("name.first=x", 6, "`name` is not a mapping in this manifest"),
        ("jobs.first=x", 6, "`jobs` is not a mapping in this manifest"),
        ("limits.workers", 15, "this is not `path=value`"),
        ("=3", 1, "this is not `path=value`"),
        ("name='x", 6, "this quote is never closed"),
        ("name=a: b: c", 10, "a `:` is not allowed here"),
    ],
)
def test_what_is_wrong_in_an_override_points_at_it(
    problems: Problems, override: str, column: int, message: str
) -> None:
    (found,) = problems("task: count\nname: x\njobs: [{}]\nmatrix: {axes: {b: [1]}}", [override])
    assert (found.source, found.line, found.column, found.text) == ("--set", 1, column, override)
    assert found.message == message


def test_an_override_can_mend_what_the_file_has_wrong(read_text: Read) -> None:
    assert read_text("task: cuont\njobs: [{}]", ["task=count"]).manifest.task == "count"


# --- from Python -------------------------------------------------------------------------------------------------


def test_values_of_python_are_taken(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "task": "count",
        "matrix": {"axes": {"a": range(2, 1_000_000, 3), "b": (1, 2)}, "base_params": {"where": tmp_path}},
        "jobs": [Job({"x": 1}, name="one", retry=Retry(attempts=2, on=("timeout",))), {"params": {"x": {2}}}],
        "limits": {"timeout": 30, "rate": Rate(30, 60), "max_failures": Failures(fraction=0.5)},
    }
    found = from_values(values, folder=tmp_path, name="sweep", known_tasks=["count"])
    assert found.manifest.matrix is not None
    assert found.manifest.matrix.axes == {"a": RangeAxis(range=[2, 1_000_000, 3]), "b": [1, 2]}
    assert found.manifest.matrix.base_params == {"where": str(tmp_path)}
    retry = found.manifest.jobs[0].retry
    assert retry is not None
    assert (retry.attempts, retry.on) == (2, ["timeout"])
    assert found.manifest.jobs[1].params == {"x": [2]}
    assert (found.manifest.limits.rate, found.manifest.limits.max_failures) == (Rate(30, 60), Failures(fraction=0.5))
    assert (found.name, found.folder) == ("sweep", tmp_path)
    (tmp_path / "kept.yaml").write_text(found.text)
    assert read(tmp_path / "kept.yaml", known_tasks=["count"]).manifest == found.manifest


def test_problems_of_python_values_are_named_instead_of_placed() -> None:
    with pytest.raises(ManifestError) as caught:
        from_values({"task": "count", "jobs": [{"name": "a"}, {"name": "a", "priority": "x"}]}, known_tasks=["count"])
    twice = pick(caught.value.problems, "manifest/duplicate-job")
    assert (twice.source, twice.line, twice.note) == ("jobs[1].name", 0, "the first is `jobs[0].name`")
    assert "`jobs[1].priority`" in render(caught.value)


# --- explained defaults ------------------------------------------------------------------------------------------


def test_every_default_is_explained(read_text: Read) -> None:
    found = dict(explain(read_text("task: count\njobs: [{}]")))
    assert found["workers"].endswith("(usable cores)")
    assert found["timeout"] == "none, or the task's own"
    assert found["attempts"] == "1 for `error` and `invalid`, 3 for `timeout` and `crashed`"
    assert found["back-off"] == "1 s x 2 up to 60 s, full jitter"
    assert found["total_memory"] == "80% of the machine or cgroup"
    assert found["memory"] == "not limited"


def test_what_is_given_is_explained(read_text: Read) -> None:
    found = dict(explain(read_text(GOOD)))
    assert (found["workers"], found["memory"], found["max_failures"]) == ("4", "2 GB per attempt", "10%")
    assert (found["rate"], found["concurrency"], found["budget"]) == ("30/min", "simple: 2", "5.00 USD")
    assert found["retried"] == "timeout, crashed, ConnectionError"


# --- never a traceback -------------------------------------------------------------------------------------------

SAMPLES = [GOOD, WRONG, *(path.read_text() for path in sorted(DATA.glob("*.yaml")))]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A good manifest with a few pieces of it cut, doubled, moved or replaced."""
    data = draw(st.sampled_from(SAMPLES)).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 30)))
        filling = draw(
            st.binary(max_size=3)
            | st.sampled_from(
                [b"[]", b"{}", b"null", b"-1", b"1e308", b"'", b": ", b"\n  ", b"{range: [0, 1e300, 1e-300]}"]
            )
            | st.just(data[end : end + 20])
        )
        data = data[:start] + filling + data[end:]
    return data


@settings(max_examples=400, deadline=None)
@given(mutations())
def test_a_mutated_manifest_is_read_or_refused_with_places(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(data)
    outcome = _attempt(path)
    if isinstance(outcome, Document):
        assert explain(outcome)
    else:
        assert all(problem.line >= 1 and problem.column >= 1 for problem in outcome.problems)
        assert "nothing was run" in render(outcome)


def _attempt(path: Path) -> Document | ManifestError:
    try:
        return read(path, known_tasks=["count", "identifiability"])
    except ManifestError as error:
        return error
