"""Long texts in parts that overlap a little, cut at the ends of paragraphs, sentences, lines or words.

How long a part is, is measured in tokens; these are estimated, not counted: no tokenizer is needed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

BYTES_PER_TOKEN = 3  # of UTF-8: English has 4 to 4.5, code and other scripts about 3

# ends of sentences, but not after an initial or a common abbreviation; in scripts without blanks none follows
_ABBREVIATED = re.compile(
    r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nr|vs|etc|cf|al|Fig|Eq|Sec|approx|ca|bzw|z\.B|d\.h|e\.g|i\.e|p|pp))\.$"
)
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[」』”’）]*")
_LINE = re.compile(r"\n")
_WORD = re.compile(r"\s+")


def tokens(text: str) -> int:
    """About how many tokens a text has; for most texts a little more than it really has."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def split(text: str, size: int, overlap: int = 0, header: str = "", by_line: bool = False) -> list[str]:
    """The text in parts of at most `size` tokens, each beginning with up to `overlap` tokens of the one before.

    Cut where it hurts least: `by_line` only between lines (of a table, whose `header` then begins every part), unless
    a line alone is too long. A text that is short enough is returned as it is.
    """
    if tokens(text) <= size:
        return [text]
    extra = tokens(header + "\n") if header else 0
    room = max(1, size - min(extra, size // 2))
    overlap = 0 if by_line else min(overlap, room // 2)
    parts = _packed(_pieces(text, max(1, room - overlap), by_line=by_line), room, overlap)
    return [part if number == 0 or not header else f"{header}\n{part}" for number, part in enumerate(parts)]


def _packed(pieces: Iterable[str], size: int, overlap: int) -> list[str]:
    """As many pieces a part as fit, the next beginning with the last pieces of the one before."""
    parts: list[str] = []
    current: list[tuple[str, int]] = []
    used, fresh = 0, False  # bytes of `current`, and whether it holds what no part has yet
    for piece in pieces:
        cost = _bytes(piece)
        if fresh and used + cost > size * BYTES_PER_TOKEN:
            parts.append("".join(p for p, _ in current))
            current = _tail(current, min(overlap * BYTES_PER_TOKEN, size * BYTES_PER_TOKEN - cost))
            used = sum(c for _, c in current)
        current.append((piece, cost))
        used, fresh = used + cost, True
    if fresh:
        parts.append("".join(p for p, _ in current))
    return parts


def _tail(pieces: Sequence[tuple[str, int]], left: int) -> list[tuple[str, int]]:
    """The last pieces, of at most `left` bytes."""
    kept: list[tuple[str, int]] = []
    for piece, cost in reversed(pieces):
        if cost > left:
            break
        left -= cost
        kept.append((piece, cost))
    return kept[::-1]


def _pieces(text: str, size: int, *, by_line: bool) -> Iterator[str]:
    """Sentences (or lines) that join to the text; those longer than `size` are cut at lines, then words, then
    anywhere."""
    for piece in _cut(text, _line_ends(text) if by_line else _sentence_ends(text)):
        yield from _shorter(piece, size, (_LINE, _WORD))


def _shorter(piece: str, size: int, patterns: Sequence[re.Pattern[str]]) -> Iterator[str]:
    if _bytes(piece) <= size * BYTES_PER_TOKEN:
        yield piece
    elif patterns:
        for part in _cut(piece, [found.end() for found in patterns[0].finditer(piece)]):
            yield from _shorter(part, size, patterns[1:])
    else:
        step = max(1, size * BYTES_PER_TOKEN // 4)  # a character has at most four bytes
        for start in range(0, len(piece), step):
            yield piece[start : start + step]


def _sentence_ends(text: str) -> list[int]:
    ends = {found.end() for found in _PARAGRAPH.finditer(text)}
    for found in _SENTENCE.finditer(text):
        before = text[max(0, found.start() - 8) : found.start() + 1]
        if not _ABBREVIATED.search(before):
            ends.add(found.end())
    return sorted(ends)


def _line_ends(text: str) -> list[int]:
    return [found.end() for found in _LINE.finditer(text)]


def _cut(text: str, ends: Sequence[int]) -> Iterator[str]:
    start = 0
    for end in ends[: bisect_right(ends, len(text) - 1)]:
        if end > start:
            yield text[start:end]
            start = end
    if start < len(text):
        yield text[start:]


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
