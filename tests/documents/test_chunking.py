"""Long texts come in parts that lose nothing, fit, and end where a reader would pause."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from batchmill.workloads.documents.chunking import split, tokens

TEXT = (
    "The ferry leaves at eight. It is full, says Dr. Meyer, e.g. on Mondays! Is it? Yes.\n\n"
    "A second paragraph has 3.5 words per line. It ends here.\n"
)
_texts = st.text(st.sampled_from(list("ab é語。.!? \n")), max_size=600)


def test_a_short_text_is_one_part() -> None:
    assert split(TEXT, 1000, 10) == [TEXT]


def test_parts_end_with_sentences() -> None:
    parts = split(TEXT, 20)
    assert "".join(parts) == TEXT
    assert [part.strip() for part in parts] == [
        "The ferry leaves at eight.",
        "It is full, says Dr. Meyer, e.g. on Mondays! Is it? Yes.",
        "A second paragraph has 3.5 words per line. It ends here.",
    ]


def test_parts_have_sentences_in_common() -> None:
    text = "".join(f"Sentence number {n} is here. " for n in range(40))
    parts = split(text, 60, 20)
    for one, other in pairwise(parts):
        common = next(n for n in range(len(one), 0, -1) if other.startswith(one[-n:]))
        assert one[-common:].startswith("Sentence number")
        assert common >= 26


def test_every_part_of_a_table_begins_with_its_header() -> None:
    lines = [f"{n},some value. And more" for n in range(50)]
    parts = split("\n".join(["id,text", *lines]), 60, 20, "id,text", True)
    assert all(part.startswith("id,text\n") for part in parts)
    found = [line for part in parts for line in part.splitlines() if line != "id,text"]
    assert found == lines


@given(_texts, st.integers(1, 40))
def test_without_overlap_the_parts_are_the_text(text: str, size: int) -> None:
    parts = split(text, size)
    assert "".join(parts) == text
    assert all(tokens(part) <= max(size, 2) for part in parts)


@given(_texts, st.integers(4, 40), st.integers(0, 60))
def test_with_overlap_nothing_is_lost_and_parts_still_fit(text: str, size: int, overlap: int) -> None:
    parts = split(text, size, overlap)
    assert all(tokens(part) <= size for part in parts)
    rest = text
    for part in parts:
        shared = next((n for n in range(len(part) + 1) if rest.startswith(part[n:])), None)
        assert shared is not None
        rest = rest[len(part) - shared :]
    assert rest == ""


def test_one_word_of_a_megabyte_is_cut_too() -> None:
    parts = split("x" * 1_000_000, 1000)
    assert "".join(parts) == "x" * 1_000_000
    assert all(tokens(part) <= 1000 for part in parts)
