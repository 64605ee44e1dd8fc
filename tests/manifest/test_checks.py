"""What a manifest must satisfy beyond its structure."""

from __future__ import annotations

import pytest

from tests.manifest.conftest import Problems, Read, pick, place


def test_all_kinds_of_mistakes_are_reported_at_once(problems: Problems) -> None:
    found = problems(
        "task: identifiabilty\n"
        "limits: {workers: two}\n"
        "jobs:\n"
        "  - name: strict\n"
        "    prams: {leaf: 50}\n"
        "  - name: strict\n"
        "matrix:\n"
        "  axes: {a: [1, 2], b: []}\n"
        "  name: m\n"
    )
    assert [(problem.code, *place(problem)) for problem in found] == [
        ("manifest/unknown-task", 1, 7),
        ("manifest/type", 2, 19),
        ("manifest/unknown-key", 5, 5),
        ("manifest/duplicate-job", 6, 11),
        ("manifest/empty-axis", 8, 24),
        ("manifest/template", 9, 9),
    ]
    assert found[0].hint == "did you mean `identifiability`?"
    assert found[3].note == "the first is on line 4"


@pytest.mark.parametrize(
    ("axes", "column", "code", "message"),
    [
        ("{a: []}", 13, "manifest/empty-axis", "the axis `a` has no values"),
        ("{a: {range: [3, 3]}}", 21, "manifest/empty-axis", "the range of `a` is empty: from 3 to below 3 by 1"),
        ("{a: {range: [0]}}", 21, "manifest/empty-axis", "the range of `a` is empty: from 0 to below 0 by 1"),
        ("{a: {range: [5, 0]}}", 21, "manifest/empty-axis", "the range of `a` is empty: from 5 to below 0 by 1"),
        ("{a: {range: [0, 5, 0]}}", 28, "manifest/range", "the range of `a` has a step of 0"),
    ],
)
def test_an_axis_has_values(problems: Problems, axes: str, column: int, code: str, message: str) -> None:
    (found,) = problems(f"task: count\nmatrix:\n  axes: {axes}\n")
    assert (found.code, found.message, place(found)) == (code, message, (3, column))


def test_a_range_may_run_down_or_in_fractions(read_text: Read) -> None:
    matrix = read_text(
        "task: count\nmatrix: {axes: {a: {range: [3, 0, -1]}, b: {range: [0, 0.3, 0.1]}}}"
    ).manifest.matrix
    assert matrix is not None
    down, fractions = matrix.axes["a"], matrix.axes["b"]
    assert not isinstance(down, list)
    assert not isinstance(fractions, list)
    assert [down.at(i) for i in range(down.count)] == [3, 2, 1]
    assert [fractions.at(i) for i in range(fractions.count)] == [0.0, 0.1, 0.2]


def test_paired_axes_are_equally_long_and_not_axes_too(problems: Problems) -> None:
    found = problems("task: count\nmatrix:\n  axes: {b: [1]}\n  paired: {a: [1, 2], b: {range: [0, 3]}}\n")
    assert [problem.message for problem in found] == [
        "paired axes need equally many values: `a` has 2, `b` has 3",
        "`b` is both in `axes` and in `paired`",
    ]
    assert {place(problem) for problem in found} == {(4, 23)}


@pytest.mark.parametrize("section", ["include", "exclude"])
def test_combinations_name_axes(problems: Problems, section: str) -> None:
    (found,) = problems(f"task: count\nmatrix:\n  axes: {{depth: [1, 2]}}\n  {section}: [{{depht: 1}}]\n")
    assert (found.message, place(found)) == (f"`depht` in `{section}` is no axis", (4, 14))
    assert found.hint == "did you mean `depth`?"


def test_include_alone_lists_combinations_of_its_own(read_text: Read) -> None:
    assert read_text("task: count\nmatrix: {include: [{a: 1}, {b: 2}]}").manifest.matrix is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m_{a}", "the name template lacks the axis `b`: jobs would share names"),
        ("m_{a}_{b}", "the name template lacks the paired axes `p` and `q`: jobs would share names"),
        ("m_{a}_{b}_{q}_{c}", None),
        ("{a}{b}{p}{one}", None),
        ("{a}{b}{p}{zz}", "the template names `{zz}`, which is no axis or parameter"),
        ("{a}{b:.1f}{p}", None),
        ("{a:.1f}{b}{p}", 'in `{a:.1f}`, `.1f` does not fit the value `"x"`'),
        ("{a}{b:99999d}{p}", "`name`: `99999d` is not a number or text format: write for example `{b:.2f}`"),
        ("{a}{b}{p}{", "`name`: a lone `{`: write `{name}`, or `{{` for the brace itself"),
        ("{a}{b}{p}{a.__class__}", "the template names `{a.__class__}`, which is no axis or parameter"),
    ],
)
def test_a_name_template_has_every_varying_axis(
    problems: Problems, read_text: Read, name: str, message: str | None
) -> None:
    text = (
        "task: count\ndefaults: {c: 1}\nmatrix:\n"
        "  axes: {a: [x, y], b: {range: [2]}, one: [1]}\n"
        f"  paired: {{p: [1, 2], q: [3, 4]}}\n  name: '{name}'\n"
    )
    if message is None:
        assert read_text(text).manifest.matrix is not None
    else:
        assert message in [problem.message for problem in problems(text) if place(problem) == (6, 9)]


def test_a_group_template_of_files_names_their_parts(read_text: Read, problems: Problems) -> None:
    text = "task: count\nfiles: {directory: d, as: model, group: '%s'}\n"
    assert read_text(text % "{folder}-{stem}-{model}-{path}").manifest.files is not None
    (found,) = problems(text % "{fold}")
    assert found.hint == "did you mean `folder`?"


@pytest.mark.parametrize(
    "text", ["task: count", "task: count\njobs: []", "task: count\nmatrix: {axes: {}}", "task: count\nfiles:\n"]
)
def test_a_manifest_without_jobs_is_wrong(problems: Problems, text: str) -> None:
    assert "there are no jobs" in [problem.message for problem in problems(text)]


def test_a_manifest_without_a_task_is_wrong(problems: Problems) -> None:
    found = pick(problems("jobs: [{name: a}]"), "manifest/no-task")
    assert "`identifiability`" in found.hint
    assert place(found) == (1, 1)


def test_jobs_and_rows_may_name_their_own_tasks(read_text: Read) -> None:
    assert read_text("jobs: [{task: count}, {task: identifiability}]").manifest.task is None
    assert read_text("table: {from: rows.csv}").manifest.task is None


def test_the_task_of_a_job_is_checked_too(problems: Problems) -> None:
    (found,) = problems("task: count\njobs:\n  - {task: cuont}\n")
    assert (found.message, place(found), found.hint) == ("there is no task `cuont`", (3, 12), "did you mean `count`?")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("task: python\njobs:\n  - {name: a}\n", 3),
        ("task: python\nmatrix:\n  axes: {x: [1, 2]}\n", 2),
        ("task: shell\nfiles: {directory: d}\n", 2),
        ("task: count\njobs:\n  - {}\n  - {task: shell, params: {x: 1}}\n", 4),
    ],
)
def test_python_and_shell_need_what_they_run(problems: Problems, text: str, line: int) -> None:
    found = pick(problems(text), "manifest/missing-parameter")
    assert found.line == line


@pytest.mark.parametrize(
    "text",
    [
        "task: python\ndefaults: {function: 'm:f'}\njobs: [{}]",
        "task: python\njobs: [{params: {function: 'pkg.mod:Class.method'}}]",
        "task: python\nmatrix: {axes: {function: ['m:f', 'm:g']}}",
        "task: shell\nmatrix: {base_params: {command: echo hello}, axes: {x: [1, 2]}}",
        "task: python\ntable: {from: rows.csv}",
    ],
)
def test_what_python_and_shell_run_may_stand_anywhere(read_text: Read, text: str) -> None:
    assert read_text(text)


@pytest.mark.parametrize("function", ["analyse", "m:", ":f", "a b:c", "[1]", "3"])
def test_a_function_is_a_module_and_a_name(problems: Problems, function: str) -> None:
    found = problems(f"task: python\ndefaults: {{function: '{function}'}}\njobs: [{{}}]")
    assert [(problem.message, place(problem)) for problem in found] == [
        (f"`function` must be `module:name`, not `{function}`", (2, 22))
    ]


def test_a_misspelt_failure_kind_is_noticed(problems: Problems, read_text: Read) -> None:
    (found,) = problems("task: count\njobs: [{}]\nretry: {on: [timeout, timeouts]}")
    assert (found.hint, place(found)) == ("did you mean `timeout`?", (3, 23))
    assert read_text("task: count\njobs: [{}]\nretry: {on: [TimeoutError, socket.gaierror]}")
