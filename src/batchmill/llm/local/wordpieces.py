"""Texts as the numbers that BERT's uncased models read. The vocabulary is in `vocabulary.txt`, see `NOTICE`.

Source: J. Devlin et al., BERT (2018), and the greedy longest match of Y. Wu et al., Google's Neural Machine
Translation System (2016), section 4.1. A text's tokens are those of Hugging Face's `BertTokenizer`, except that names
of special tokens in a text, such as `[SEP]`, are only text here, and that Python's version of Unicode decides.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

_UNKNOWN, _START, _END = 100, 101, 102
_LONGEST_WORD = 100  # characters; a longer one is one unknown token
_LONGEST_TEXT = 200_000  # characters that are looked at: far more than fill any model's window
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def tokens(text: str, most: int) -> list[int]:
    """The numbers of a text's tokens, its start and end marks with them; at most `most` (2 or more)."""
    pieces = (piece for word in _words(text[:_LONGEST_TEXT]) for piece in _pieces(word))
    return [_START, *islice(pieces, most - 2), _END]


def _words(text: str) -> Iterator[str]:
    """Lower-case words without accents; each punctuation mark and ideograph is a word."""
    plain = "".join(map(_clean, text))
    stripped = "".join(c for c in unicodedata.normalize("NFD", plain) if unicodedata.category(c) != "Mn")
    return iter("".join(map(_apart, stripped.lower())).split())


@lru_cache(maxsize=4096)
def _clean(character: str) -> str:
    """Nothing for a control character, a blank for any white space, ideographs between blanks."""
    code = ord(character)
    if character in "\t\n\r" or unicodedata.category(character) == "Zs":
        return " "
    if code == 0xFFFD or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs"):
        return ""
    return f" {character} " if any(low <= code <= high for low, high in _IDEOGRAPHS) else character


@lru_cache(maxsize=4096)
def _apart(character: str) -> str:
    """A punctuation mark between blanks; to BERT, every printable ASCII character that is no letter or digit is one."""
    symbol = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return f" {character} " if symbol or unicodedata.category(character)[0] == "P" else character


@lru_cache(maxsize=65536)
def _pieces(word: str) -> tuple[int, ...]:
    """The longest pieces of the vocabulary that make up the word, from its start on."""
    if len(word) > _LONGEST_WORD:
        return (_UNKNOWN,)
    vocabulary, found, start = _vocabulary(), [], 0
    while start < len(word):
        mark = "##" if start else ""
        candidates = ((vocabulary.get(mark + word[start:end]), end) for end in range(len(word), start, -1))
        number, start = next((hit for hit in candidates if hit[0] is not None), (None, len(word)))
        if number is None:
            return (_UNKNOWN,)
        found.append(number)
    return tuple(found)


@lru_cache(maxsize=1)
def _vocabulary() -> dict[str, int]:
    lines = Path(__file__).with_name("vocabulary.txt").read_text("utf-8").splitlines()
    return {piece: number for number, piece in enumerate(lines)}
