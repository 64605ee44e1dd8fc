"""Name templates: what they take, what they refuse, and that no text makes them do anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.manifest.template import TemplateError, escape, parse


@pytest.mark.parametrize(
    ("text", "values", "rendered"),
    [
        ("plain", {}, "plain"),
        ("m_{a}_{b:.2f}", {"a": 1, "b": 0.5}, "m_1_0.50"),
        ("{a:03d}{b:>5}{c:,}", {"a": 7, "b": "x", "c": 12345}, "007    x12,345"),
        ("{{{a}}}", {"a": 1}, "{1}"),
        ("{a}{a}", {"a": "x"}, "xx"),
        ("{a} {b} {c} {d}", {"a": True, "b": None, "c": 0.1, "d": [1, "y"]}, 'true null 0.1 [1,"y"]'),
        ("{a:>6}", {"a": True}, "  true"),
        ("{a b.c-d}", {"a b.c-d": 1}, "1"),
        ("{a}", {"a": float("inf")}, "inf"),
        ("{a:%}", {"a": 0.5}, "50.000000%"),
    ],
)
def test_a_template_renders(text: str, values: dict[str, Any], rendered: str) -> None:
    assert parse(text).render(values) == rendered


def test_fields_come_in_order_each_once() -> None:
    assert parse("{b}{a:d}{{c}}{b:x}").fields == ("b", "a")


@pytest.mark.parametrize(
    "text", ["{", "}", "{}", "{a", "a}", "{a:{b}}", "{:d}", "{a!r}{", "{a:1000d}", "{a:.999f}", "{a:q}"]
)
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        parse(text)


@pytest.mark.parametrize("text", ["{x.__class__}", "{x[0]}", "{x!r}"])
def test_a_field_is_a_name_and_nothing_more(text: str) -> None:
    with pytest.raises(TemplateError, match="no value for"):
        parse(text).render({"x": object()})


@pytest.mark.parametrize(("text", "value"), [("{a:d}", "x"), ("{a:d}", 1.5), ("{a:s}", 1), ("{a:c}", 1)])
def test_a_format_that_does_not_fit_is_refused(text: str, value: Any) -> None:
    with pytest.raises(TemplateError):
        parse(text).render({"a": value})


@given(st.text(max_size=30))
def test_an_escaped_text_renders_to_itself(text: str) -> None:
    assert parse(escape(text)).render({}) == text


@given(st.text("{}:a.bd012_<>%,+ ", max_size=20), st.integers() | st.floats() | st.text(max_size=3) | st.none())
def test_any_text_is_a_short_name_or_refused(text: str, value: Any) -> None:
    try:
        template = parse(text)
        rendered = template.render(dict.fromkeys(template.fields, value))
    except TemplateError:
        return
    assert len(rendered) <= (len(text) + 1) * 500
