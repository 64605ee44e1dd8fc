"""Texts become the numbers that the embedding model was trained on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.llm.local import wordpieces
from batchmill.llm.local.wordpieces import tokens


@pytest.mark.parametrize(
    ("text", "expected"),  # as Hugging Face's tokenizer of all-MiniLM-L6-v2 has them
    [
        ("", []),
        ("Hello, World!", [7592, 1010, 2088, 999]),
        ("naïve café résumé", [15743, 7668, 13746]),
        ("unaffable embeddings", [14477, 20961, 3468, 7861, 8270, 4667, 2015]),
        ("你好 world", [100, 100, 2088]),
        ("zero\u200bwidth\x00nul\u3000space", [5717, 9148, 11927, 7295, 5313, 2686]),
        ("a" * 101, [100]),
        ("e=mc² [x]", [1041, 1027, 11338, 10701, 1031, 1060, 1033]),
    ],
)
def test_texts_are_cut_as_the_model_learned_them(text: str, expected: list[int]) -> None:
    assert tokens(text, 256) == [101, *expected, 102]


def test_names_of_special_tokens_are_only_text() -> None:
    assert not {101, 102, 103} & set(tokens("[CLS] [SEP] [MASK]", 64)[1:-1])


def test_a_long_text_is_cut() -> None:
    assert tokens("word " * 1000, 16) == [101, *[2773] * 14, 102]


@given(st.text(), st.integers(2, 40))
def test_any_text_has_tokens_of_the_vocabulary(text: str, most: int) -> None:
    found = tokens(text, most)
    assert (found[0], found[-1]) == (101, 102)
    assert len(found) <= most
    assert all(0 <= token < 30522 for token in found)


def test_the_vocabulary_is_the_published_one() -> None:
    content = Path(wordpieces.__file__).with_name("vocabulary.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
