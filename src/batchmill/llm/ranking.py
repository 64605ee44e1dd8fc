"""Sentences of a text, and which of them say most of it. Pure, deterministic, in any language with sentences.

Source of the ranking: D. R. Radev, H. Jing, M. Styś, D. Tam, Centroid-based summarization of multiple documents,
Information Processing & Management 40 (2004), the scores of MEAD (centroid, position, overlap with the first
sentence; redundancy by common words), with words weighed by tf-isf (J. L. Neto et al., 2000), so that no list of stop
words is needed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

_MOST = 5_000  # sentences that are looked at
_LONGEST = 500  # characters of a sentence: what goes on longer without a full stop is a table, or data
_SHORTEST, _MOST_WORDS = 4, 60  # words: less is a heading, more a table; taken only where there is nothing else
_ABBREVIATED = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|No|Nr|Nos|vs|cf|al|Fig|Figs|Eq|Sec|Vol|approx|ca|Inc|Ltd|Co|Corp|e\.g|i\.e|bzw"
    r"|z\.B|d\.h|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec)|(?:^|[\s(])(?:[A-Z]\.)*[A-Z])\.$"
)
_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[」』”’）]*")
_BLOCK = re.compile(r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*•#>|]|\d+[.)])\s)|(?<=[-=_*#]{3})\n|\n(?=[-=_*#]{3})")
_MARKUP = re.compile(r"^(?:[-*•>#|]+|\d+[.)])\s+|\*\*|`|^[-=_*#|\s]+$")
_CODE = re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def sentences(text: str) -> list[str]:
    """The sentences of a text in their order, each on one line, without code and the marks of lists and headings."""
    found: list[str] = []
    for block in _BLOCK.split(_CODE.sub("\n\n", text)):
        line = _MARKUP.sub("", " ".join(block.split()))
        found += (one for one in _split(line) if len(one) <= _LONGEST and _WORD.search(one))
        if len(found) >= _MOST:
            break
    return found[:_MOST]


def _split(line: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(line):
        follows = line[end.end() : end.end() + 2].strip()
        if _ABBREVIATED.search(line[max(0, end.end() - 12) : end.end()]) or follows[:1].islower():
            continue
        yield line[start : end.end()].strip()
        start = end.end()
    yield line[start:].strip()


def best(candidates: Sequence[str], count: int) -> list[str]:
    """The `count` sentences that say most of the text, in their order; fewer where there are fewer."""
    words = [tuple(word.lower() for word in _WORD.findall(sentence)) for sentence in candidates]
    usable = [n for n, said in enumerate(words) if _SHORTEST <= len(said) <= _MOST_WORDS] or list(range(len(words)))
    scores = _scores([words[n] for n in usable])
    chosen = _chosen(scores, [frozenset(words[n]) for n in usable], count)
    return [candidates[usable[n]] for n in sorted(chosen)]


def _scores(words: Sequence[Sequence[str]]) -> list[float]:
    """How much each sentence says: like the whole, early, like the first. Each part is at most 1."""
    within = Counter(word for said in words for word in set(said))
    total = Counter(word for said in words for word in said)
    weights = {word: total[word] * math.log((1 + len(words)) / within[word]) for word in total}
    centroid = _scaled([_weight(said, weights) for said in words])
    first = _scaled([_weight(frozenset(said) & frozenset(words[0]), weights) for said in words])
    return [c + (1 - n / len(words)) + f for n, (c, f) in enumerate(zip(centroid, first, strict=True))]


def _weight(said: Sequence[str] | frozenset[str], weights: Mapping[str, float]) -> float:
    """The weight of the distinct words; long sentences have more of them, so their number counts by its root."""
    distinct = sorted(set(said))  # a sum of floats depends on its order
    return math.fsum(weights[word] for word in distinct) / math.sqrt(max(1, len(distinct)))


def _scaled(values: Sequence[float]) -> list[float]:
    most = max(values, default=0.0)
    return [value / most if most else 0.0 for value in values]


def _chosen(scores: Sequence[float], words: Sequence[frozenset[str]], count: int) -> list[int]:
    """The best sentence again and again; those that repeat a chosen one lose by it. Of equals the first is best."""
    left = dict(enumerate(scores))
    chosen: list[int] = []
    repeated = dict.fromkeys(left, 0.0)
    while left and len(chosen) < count:
        pick = max(left, key=lambda n: left[n] - 3 * repeated[n])
        chosen.append(pick)
        del left[pick]
        for n in left:
            common = len(words[n] & words[pick])
            repeated[n] = max(repeated[n], 2 * common / (len(words[n]) + len(words[pick]) or 1))
    return chosen
