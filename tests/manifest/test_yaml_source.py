"""YAML: the values, the place of each, and clean refusals of everything else."""

from __future__ import annotations

import functools
import json
import math
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.errors import ManifestError
from batchmill.manifest import yaml_source
from batchmill.manifest.yaml_source import Located, parse_yaml, read_yaml

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=0xFFFD, exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN, inner, max_size=4), max_leaves=20
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("1e-3", 0.001),
        ("012", 12),
        ("0o17", 15),
        ("0x1f", 31),
        ("-.inf", -math.inf),
        ("~", None),
        ("null", None),
        ("''", ""),
        ("'null'", "null"),
        ("True", True),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-31", "2024-01-31"),
        ("+7", 7),
        (".5", 0.5),
        ("1.", 1.0),
        ("-", [None]),
        ("<<", "<<"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(f"{text}\n").value == value


def test_not_a_number_is_read() -> None:
    assert math.isnan(parse_yaml(".nan").value)


def test_keys_are_text() -> None:
    assert parse_yaml("{1: a, no: b, true: c, null: d}").value == {"1": "a", "no": "b", "true": "c", "null": "d"}


def test_an_empty_text_is_null_at_the_first_place() -> None:
    assert parse_yaml("# nothing\n").value is None
    assert parse_yaml("").locate(("a",)) == (1, 1, 1)


def test_every_key_and_value_knows_its_place() -> None:
    located = parse_yaml("a: {b: 'c', d: [1, 22, [3]]}\ne:\n  - f: text\n    g: h\n")
    assert located.locate(("a",)) == (1, 4, 25)
    assert located.locate(("a", "b")) == (1, 8, 3)
    assert located.locate(("a", "d"), key=True) == (1, 13, 1)
    assert located.locate(("a", "d", 1)) == (1, 20, 2)
    assert located.locate(("a", "d", 2, 0)) == (1, 25, 1)
    assert located.locate(("e", 0, "g")) == (4, 8, 1)
    assert located.locate(("e", 0)) == (3, 5, 7)


def test_a_path_that_leads_nowhere_is_placed_at_its_last_part() -> None:
    located = parse_yaml("a:\n  b: 1\n")
    assert located.locate(("a", "x", 3)) == (1, 1, 1)
    assert located.has(("a", "b"))
    assert not located.has(("a", "b", "c"))


@pytest.mark.parametrize(
    ("text", "place", "code", "words"),
    [
        ("a: 1\na: 2", (2, 1), "yaml/duplicate-key", "`a` is given twice"),
        ("a: {1: x, '1': y}", (1, 11), "yaml/duplicate-key", "`1` is given twice"),
        ("a: &x 1", (1, 4), "yaml/anchor", "`&x` is not allowed"),
        ("a: *x", (1, 4), "yaml/alias", "`*x` is not allowed"),
        ("a: !!python/object:os.system x", (1, 4), "yaml/tag", "tags"),
        ("--- 1\n--- 2", (2, 1), "yaml/documents", "second document"),
        ("? [a]\n: b", (1, 3), "yaml/key", "must be text"),
        ("a:\n\t- b", (2, 1), "yaml/syntax", "a tab cannot indent"),
        ("a: b: c", (1, 5), "yaml/syntax", "a `:` is not allowed here"),
        ("a: [1, 2", (1, 4), "yaml/syntax", "never closed"),
        ("a: 'x", (1, 4), "yaml/syntax", "never closed"),
        ("a: @x", (1, 4), "yaml/syntax", "cannot start with `@`"),
        ("a: \x00", (1, 4), "yaml/character", "U+0000"),
        ("a: b\r\nc: \x1b[31m", (2, 4), "yaml/character", "U+001B"),
        ("a: \ud800", (1, 4), "yaml/character", "U+D800"),
        ('a: "\\0"', (1, 4), "yaml/character", "NUL"),
        ("a: 1e999", (1, 4), "yaml/number", "too large"),
        ("a: " + "1" * 5000, (1, 4), "yaml/number", "at most 1000 digits"),
        ("[" * 100_000, (1, 65), "yaml/too-deep", "64 levels"),
        ("- " * 100_000, (1, 129), "yaml/too-deep", "64 levels"),
    ],
)
def test_what_is_not_allowed_is_refused_at_its_place(text: str, place: tuple[int, int], code: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_yaml(text, "f.yaml")
    (problem,) = caught.value.problems
    assert ((problem.line, problem.column), problem.code) == (place, code)
    assert words in problem.message
    assert str(caught.value).startswith(f"f.yaml:{place[0]}:{place[1]}: ")


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("a: ü".encode("utf-16"), (1, 1)),
        ("a: ü".encode("utf-16-le"), (1, 1)),
        (b"a: 1\nb: \xff", (2, 4)),
        (b"\xef\xbb\xbfa: \xc3", (1, 4)),
    ],
)
def test_other_encodings_are_refused_at_their_place(tmp_path: Path, data: bytes, place: tuple[int, int]) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(ManifestError, match="not UTF-8") as caught:
        read_yaml(path)
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == place


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path).value == {"a": 1}
    assert read_yaml(path).locate(("a",)) == (1, 4, 1)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.yaml", Path("nul\0byte")):
        with pytest.raises(ManifestError, match="cannot read"):
            read_yaml(path)


def test_large_files_and_many_values_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(65_000_000)  # sparse: nothing is written
    with pytest.raises(ManifestError, match="larger than 64 MB"):
        read_yaml(path)
    monkeypatch.setattr(yaml_source, "MAX_NODES", 100)
    with pytest.raises(ManifestError, match="more than 100 values"):
        parse_yaml("[" + "1," * 200 + "]")


def test_an_error_far_into_a_long_text_has_its_line() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_yaml("[\n" * 60 + "1,\n" * 100_000 + "@")
    assert caught.value.problems[0].line == 100_061


def _attempt(text: str) -> Located | ManifestError:
    try:
        return parse_yaml(text, "f")
    except ManifestError as error:
        return error


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_json_is_read_as_yaml(value: Any) -> None:
    text = json.dumps(value)
    located = _attempt(text)
    if isinstance(located, ManifestError):  # what JSON allows and we do not: NUL and surrogates, by escapes
        assert "\\u0000" in text or "\\ud" in text
        return
    assert located.value == value
    for path in _paths(value):
        line, column, length = located.locate(path)
        assert line == 1
        assert json.loads(text[column - 1 : column - 1 + length]) == _follow(value, path)


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    if isinstance(value, dict | list):
        for step in value if isinstance(value, dict) else range(len(value)):
            yield from ((step, *rest) for rest in _paths(value[step]))


def _follow(value: Any, path: tuple[Any, ...]) -> Any:
    return functools.reduce(operator.getitem, path, value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text(" \t\n-:?[]{}\"'&*!|>@%#,ab1.~<", max_size=60).map(str.encode))
def test_random_bytes_are_a_value_or_a_clean_error(data: bytes) -> None:
    try:
        outcome = _attempt(yaml_source.yaml_text.decode(data, "f"))
    except ManifestError as error:
        outcome = error
    problems = outcome.problems if isinstance(outcome, ManifestError) else ()
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)


@settings(max_examples=100, deadline=None)
@given(st.text(" \n-:[]{}\"'ab1,", max_size=40))
def test_the_pure_parser_reads_the_same(text: str) -> None:
    fast = _attempt(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_source, "_LOADER", yaml.SafeLoader)
        pure = _attempt(text)
    if isinstance(fast, Located) and isinstance(pure, Located):  # they differ in what they tolerate, not in values
        assert fast.value == pure.value
