"""JSON as the ledger stores it, read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.report.encode import json_text
from batchmill.report.records import decode, decode_all

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(st.none() | values.map(json_text)))
def test_many_texts_are_decoded_as_each_alone(texts: list[str | None]) -> None:
    assert decode_all(texts) == [None if text is None else decode(text) for text in texts]


def test_numbers_that_python_will_not_read_do_not_spoil_their_neighbours() -> None:
    huge = "7" * 10_000
    assert decode_all(["1", huge, '{"a": NaN}', None]) == [1, huge, {"a": "NaN"}, None]


def test_damaged_texts_are_not_taken_for_others() -> None:
    with pytest.raises(ValueError, match="Extra data"):
        decode_all(["1,2", "3"])
