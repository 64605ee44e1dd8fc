"""Prompts are templates in a sandbox: wrong ones are told with their line before anything runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.workloads.documents.conversation import file_facts
from batchmill.workloads.documents.prompts import PromptError, check, names_in, render


def test_a_prompt_without_variables_stays_as_it_is() -> None:
    for prompt in ("Summarise.", "Use {braces} and {this: that}", "100 %\n\n  indented\n"):
        assert render(prompt, {}) == prompt
        assert names_in(prompt).names == frozenset()


def test_variables_are_filled_in() -> None:
    values = {"text": "Hi {{ name }}", "file": file_facts("docs/a.b.txt"), "name": "Ann", "tags": ["x", "y"]}
    template = "{{ file.name }}|{{ file.stem }}|{{ file.suffix }}|{{ file.folder }}: {{ text }} {{ tags | join('+') }}"
    assert render(template, values) == "a.b.txt|a.b|.txt|docs: Hi {{ name }} x+y"
    assert render("{% for tag in tags %}{{ loop.index }}{{ tag }}{% endfor %}", values) == "1x2y"


def test_names_are_those_that_the_template_does_not_make() -> None:
    template = "{% set a = b %}{% for c in d %}{{ a }}{{ c }}{{ loop.index }}{{ file.stem }}{% endfor %}{{ range(2) }}"
    assert names_in(template) == (frozenset({"b", "d", "file"}), frozenset({"stem"}))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("one\ntwo {{ text\n", "line 2"),
        ("{% if x %}", "line 1"),
        ("{{ text | nothing }}", "line 1: there is no filter `nothing`"),
        ("{% include 'a' %}", "cannot include"),
        ("{{ txt }}", "`{{ txt }}` is not known here"),
        ("{{ file.nme }}", "`{{ file.nme }}` is not known"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "nested too deep"),
    ],
)
def test_a_wrong_prompt_is_refused_when_it_is_checked(template: str, message: str) -> None:
    with pytest.raises(PromptError) as told:
        check(template, ["text", "file"])
    assert message in str(told.value)


def test_the_known_names_are_told() -> None:
    with pytest.raises(PromptError) as told:
        check("{{ txt }}", ["text", "file"])
    assert told.value.hint == "known names: `file`, `text`"


@pytest.mark.parametrize(
    "template",
    ["{{ 'a' * 10**10 }}", "{{ 10 ** 10 ** 10 }}", "{{ 'x' | center(10**12) }}", "{{ [1] * 10**12 }}"],
)
def test_checking_computes_nothing(template: str) -> None:
    assert check(template, []).names == frozenset()  # computed, each would take all memory


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ text.format.__globals__ }}",
        "{{ file.__init__.__globals__ }}",
        "{{ 'a' * 10000000000 }}",
        "{{ 10 ** 100000 }}",
        "{% for n in range(10000000) %}x{% endfor %}",
        "{{ missing }}",
        "{{ text.missing }}",
        "{{ 1 / 0 }}",
    ],
)
def test_the_sandbox_refuses(template: str) -> None:
    with pytest.raises(PromptError, match="cannot be filled in"):
        render(template, {"text": "t", "file": file_facts("a.txt")})


@given(st.text())
def test_a_document_is_never_a_template(text: str) -> None:
    assert render("<{{ text }}>", {"text": text}) == f"<{text}>"
