from __future__ import annotations

import pytest

from batchmill.model.text import counted, duration_text, money_text, number_text, one_line, percent_text, size_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1.0, "0 ms"),
        (0.0005, "0.5 ms"),
        (0.25, "250 ms"),
        (0.9999, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (4325, "1 h 12 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_read_aloud(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((None, "-"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1234, "1.23 kB"), (999_600, "1 MB")),
        *((123_456_789, "123 MB"), (5 * 10**9, "5 GB"), (10**15, "1e+03 TB")),
    ],
)
def test_sizes_are_decimal(size: int | None, text: str) -> None:
    assert size_text(size) == text


def test_money_numbers_and_shares() -> None:
    assert [money_text(value) for value in (0, 420_000, 1_230_000_000)] == ["0.00 USD", "0.0042 USD", "12.30 USD"]
    assert [number_text(value) for value in (None, 3, 1234567, 0.123456, 12345.6, 1e20)] == [
        *("-", "3", "1,234,567", "0.1235", "12,346", "1e+20"),
    ]
    assert [percent_text(share) for share in (None, 0, 0.0001, 0.5, 0.9999, 1)] == [
        *("-", "0%", "<0.1%", "50%", ">99.9%", "100%"),
    ]


def test_one_line_is_cut_with_an_ellipsis() -> None:
    assert one_line("a\n b\t c") == "a b c"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("x" * 10**6, 4) == "xxx…"


def test_one_is_not_counted_in_the_plural() -> None:
    assert [counted(number, "job") for number in (0, 1, 2, 1200)] == ["0 jobs", "1 job", "2 jobs", "1,200 jobs"]
