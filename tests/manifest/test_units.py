"""Units as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.model import units
from batchmill.model.limits import Failures, Rate

READERS = [
    units.duration,
    units.grace,
    units.size,
    units.money,
    units.rate,
    units.failures,
    units.number,
]


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (units.duration, "300s", 300.0),
        (units.duration, "1h30m", 5400.0),
        (units.duration, "2 days", 172800.0),
        (units.duration, "250ms", 0.25),
        (units.duration, 1.5, 1.5),
        (units.duration, "12", 12.0),
        (units.grace, 0, 0.0),
        (units.grace, "5s", 5.0),
        (units.size, "2GB", 2 * 10**9),
        (units.size, "1.5 GiB", 3 * 2**29),
        (units.size, 4096, 4096),
        (units.money, "5 USD", 500_000_000),
        (units.money, "$0.000001", 100),
        (units.money, 0.1, 10_000_000),
        (units.rate, "30/min", Rate(30, 60)),
        (units.rate, "5 / 10s", Rate(5, 10)),
        (units.failures, "10%", Failures(fraction=0.1)),
        (units.failures, "3", Failures(number=3)),
        (units.failures, 0, Failures(number=0)),
        (units.number, -2, -2),
    ],
)
def test_a_unit_is_read(read: Callable[[Any], Any], text: object, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (units.duration, "5 parsecs"),
        (units.duration, "1h30"),
        (units.duration, 0),
        (units.duration, True),
        (units.duration, float("inf")),
        (units.duration, 10**400),
        (units.size, "2 GBs"),
        (units.size, -1),
        (units.money, "5 EUR"),
        (units.money, -1),
        (units.rate, "30"),
        (units.rate, "0/min"),
        (units.failures, "110%"),
        (units.failures, "²"),
        (units.failures, 1.5),
        (units.number, float("nan")),
        (units.number, "1"),
    ],
)
def test_what_is_no_unit_is_refused(read: Callable[[Any], Any], text: object) -> None:
    with pytest.raises(ValueError, match=r"must be above zero|is not a|rate's time"):
        read(text)


@given(
    st.sampled_from(READERS),
    st.text("0123456789.smhdGBiUSD$/% ", max_size=120) | st.floats() | st.integers() | st.lists(st.none()),
)
def test_anything_is_a_unit_or_a_value_error(read: Callable[[Any], Any], value: object) -> None:
    try:
        read(value)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    assert "invalid literal" not in message
    assert len(message) < 300
