"""Messages: their exact shape, and that no text of a user reaches the terminal as a command to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import ManifestError, Problem
from batchmill.manifest.document import read
from batchmill.manifest.messages import render

TEXT = """\
task: count
defaults:
  depth: 3
jobs:
  - name: strict
    priority: 1
    prams: {leaf: 50}
  - {name: loose, priority: high}
"""


def test_the_shape_of_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("experiments.yaml").write_text(TEXT)
    with pytest.raises(ManifestError) as caught:
        read("experiments.yaml", known_tasks=["count"])
    assert render(caught.value) == (
        "error[manifest/unknown-key]: unknown key `prams` in job `strict`\n"
        "  --> experiments.yaml:7:5\n"
        "   |\n"
        " 7 |     prams: {leaf: 50}\n"
        "   |     ^^^^^ not a job key\n"
        "   |\n"
        "hint: did you mean `params`?\n"
        "\n"
        "error[manifest/type]: `priority` must be a whole number, not `high`\n"
        "  --> experiments.yaml:8:29\n"
        "   |\n"
        " 8 |   - {name: loose, priority: high}\n"
        "   |                             ^^^^\n"
        "   |\n"
        "found 2 errors in experiments.yaml; nothing was run"
    )


def _render(problem: Problem, colour: bool = False) -> str:
    return render(ManifestError("x", problems=(problem,)), colour=colour)


def test_colour_adds_nothing_but_colour() -> None:
    problem = Problem("c/d", "wrong", "f.yaml", 1, 4, 2, "a: bc", "a note", "a hint")
    coloured = _render(problem, colour=True)
    assert "\x1b[31m^^\x1b[0m" in coloured
    for code in ("31", "34", "36", "1", "0"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == _render(problem)


def test_the_caret_stands_below_wide_and_combining_characters() -> None:
    lines = _render(Problem("c", "m", "f", 1, 9, 2, "{日本: 'é\u0301', xy")).splitlines()
    wide = _render(Problem("c", "m", "f", 1, 6, 1, "日本語: x")).splitlines()
    assert wide[4].index("^") == wide[3].index("x") + 3
    assert lines[4].count("^") == 2


def test_a_long_line_is_cut_around_the_caret() -> None:
    text = "a" * 5000 + "BAD" + "c" * 5000
    source, caret = _render(Problem("c", "m", "f", 1, 5001, 3, text)).splitlines()[3:5]
    assert len(source) < 120
    assert source[caret.index("^") : caret.rindex("^") + 1] == "BAD"


def test_a_message_without_a_place_names_the_value() -> None:
    assert _render(Problem("c", "wrong", source="jobs[1].name", note="the first is `jobs[0].name`")) == (
        "error[c]: wrong\n  --> `jobs[1].name`\nnote: the first is `jobs[0].name`\nfound 1 error; nothing was run"
    )


def test_an_error_without_problems_is_its_message() -> None:
    error = ManifestError("cannot read `x`: no such file", hint="check the path", code="manifest/unreadable")
    assert render(error) == "error[manifest/unreadable]: cannot read `x`: no such file\nhint: check the path"


def test_many_errors_are_counted_but_not_all_shown() -> None:
    problems = tuple(Problem("c", f"m{n}", "f", n + 1, 1, 1, "x") for n in range(250))
    text = render(ManifestError("x", problems=problems))
    assert text.count("error[c]") == 100
    assert text.endswith("found 250 errors in f (150 not shown); nothing was run")


@given(st.text(max_size=60), st.integers(1, 70), st.integers(1, 80), st.text(max_size=20))
def test_nothing_of_a_user_controls_the_terminal(text: str, column: int, length: int, words: str) -> None:
    rendered = _render(Problem("c", words, words, 3, column, length, text + "\x1b[2J\x9b1m", words, words))
    assert not any((ord(char) < 32 and char != "\n") or 0x7F <= ord(char) < 0xA0 for char in rendered)
