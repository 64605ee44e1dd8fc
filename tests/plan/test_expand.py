"""Combinations by index: the same as nested loops, from any start, in flat memory."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.manifest import template
from batchmill.model.manifest import MatrixSection, RangeAxis
from batchmill.model.tasks import ShortName
from batchmill.plan.expand import Matrix, Piece, Product, axis_values, job_name, value_text


def matrix(**section: Any) -> Matrix:
    return Matrix(MatrixSection.model_validate(section))


AXES = st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=3)
PATTERNS = st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3), min_size=1, max_size=2), max_size=3)


@given(
    AXES, PATTERNS, st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers()), max_size=2), st.integers(0, 70)
)
def test_rows_are_the_product_without_the_excluded_and_with_the_included(
    axes: dict[str, list[int]], exclude: list[dict[str, int]], include: list[dict[str, int]], start: int
) -> None:
    made = matrix(axes=axes, exclude=exclude, include=include)
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    product = [] if include and not axes else product
    expected = [row for row in product if not any(e.items() <= row.items() for e in exclude)] + include
    assert list(made.rows()) == expected
    assert list(made.rows(start)) == expected[start:]
    assert made.count() == len(expected)


@given(AXES, st.lists(st.integers(), min_size=1, max_size=3), st.integers(0, 200))
def test_paired_axes_are_one_further_axis(axes: dict[str, list[int]], left: list[int], start: int) -> None:
    right = [-value for value in left]
    made = matrix(axes=axes, paired={"x": left, "y": right})
    pairs = list(zip(left, right, strict=True))
    expected = [
        {**dict(zip(axes, values, strict=False)), "x": values[-1][0], "y": values[-1][1]}
        for values in itertools.product(*axes.values(), pairs)
    ]
    assert list(made.rows(start)) == expected[start:]


@given(AXES, st.integers(0, 5), st.integers(0, 100))
def test_skipping_jobs_of_files_times_matrix_is_slicing(axes: dict[str, list[int]], files: int, start: int) -> None:
    product = Product(matrix(axes=axes), {"shared": 1}, {})
    pieces = [Piece({"path": f"f{number}"}, f"f{number}") for number in range(files)]
    assert list(product.drafts(pieces, start)) == list(product.drafts(pieces))[start:]


@pytest.mark.parametrize(
    ("bounds", "values"),
    [
        ([3], [0, 1, 2]),
        ([1, 3], [1, 2]),
        ([5, 0, -2], [5, 3, 1]),
        ([0, 1, 0.25], [0.0, 0.25, 0.5, 0.75]),
        ([0, 0.5, 0.1], [0.0, 0.1, 0.2, 0.3, 0.4]),
        ([1, 2.5], [1, 2]),
    ],
)
def test_ranges_are_half_open_and_exact(bounds: list[float], values: list[float]) -> None:
    found = axis_values(RangeAxis(range=bounds))
    assert [repr(value) for value in found] == list(map(repr, values))
    assert len(found) == len(values)
    assert found[-1] == values[-1]
    assert list(found[1:]) == values[1:]
    with pytest.raises(IndexError):
        found[len(values)]


def test_a_huge_matrix_takes_no_memory_and_is_entered_anywhere() -> None:
    made = matrix(axes={"a": {"range": [0, 10**9]}, "b": {"range": [0, 1, 0.001]}})
    assert made.count() == 10**12
    assert next(made.rows(10**12 - 1)) == {"a": 10**9 - 1, "b": 0.999}
    assert sys.getsizeof(made.axes[0].values[0]) < 100


def test_true_is_not_one_when_excluding() -> None:
    assert [r["a"] for r in matrix(axes={"a": [1, True, 1.0]}, exclude=[{"a": True}]).rows()] == [1, 1.0]


def names(product: Product, *pieces: Piece) -> list[str]:
    return [draft.name for draft in product.drafts(pieces or [Piece({})])]


def test_default_names_show_what_varies_by_its_short_name() -> None:
    made = matrix(axes={"min_leaf_size": [50, 100], "semantic_threshold": [0.1], "deep": [True]})
    short = {
        "min_leaf_size": ShortName("leaf"),
        "semantic_threshold": ShortName("thresh", lambda value: f"{value:.2f}"),
    }
    assert names(Product(made, {}, short)) == ["matrix_leaf50", "matrix_leaf100"]
    single = matrix(axes={"min_leaf_size": [50], "semantic_threshold": [0.1]})
    assert names(Product(single, {}, short)) == ["matrix_leaf50_thresh0.10"]


def test_files_name_their_jobs() -> None:
    piece = Piece({"path": "models/sub/a.yaml"}, "sub/a")
    assert names(Product(None, {}, {}), piece) == ["sub/a"]
    assert names(Product(matrix(axes={"k": [0, 1]}), {}, {}), piece) == ["sub/a_k0", "sub/a_k1"]


def test_templates_name_and_group() -> None:
    fields = {"path": "m/a.yaml", "stem": "a", "folder": "m"}
    made = matrix(axes={"k": [0.25, 0.5]}, include=[{"other": 1}])
    product = Product(made, {"n": 7}, {}, template.parse("{stem}_{k:.1f}_{n}"), template.parse("{folder}-{k}"))
    found = [(d.name, d.group) for d in product.drafts([Piece({"path": "m/a.yaml"}, "a", fields)])]
    # an included combination without the axis falls back to the default name and no group
    assert found == [("a_0.2_7", "m-0.25"), ("a_0.5_7", "m-0.5"), ("a_other1", None)]


@pytest.mark.parametrize(
    ("value", "text"), [("a b", "a b"), (True, "true"), (None, "null"), (0.1, "0.1"), ([1, "x"], '[1,"x"]')]
)
def test_values_in_names(value: Any, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [("plain", "plain"), ("a\x1b[31mb\nc", "ab c"), ("\x00", "job"), ("", "job"), ("x" * 300, "x" * 200), ("ä", "ä")],
)
def test_names_are_one_clean_line_of_at_most_200_characters(text: str, name: str) -> None:
    assert job_name(text) == name
