"""`extractive/lead`: a summary without a model, of sentences of the document itself. The same text, the same summary.

How a prompt is read stands here; which sentences matter, in `ranking`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from batchmill import UsageError
from batchmill.llm.messages import Reply, Request, Usage
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.ranking import best, sentences

if TYPE_CHECKING:
    from batchmill.llm.settings import Settings

NAME = "lead"
VERSION = "2"  # another one whenever the same text may get another summary
_USUAL = 3  # sentences, when the prompt does not say
_CHARACTERS_A_TOKEN = 4
_LINE = 200  # characters of a line that is shown of a text without sentences
_INSTRUCTION = 80  # words: a longer paragraph is no instruction
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = rf"(\d{{1,3}}|{'|'.join(_NUMBERS)}|an?|a single)"
_UP_TO = rf"(?:{_NUMBER}\s*(?:-|–|to|or)\s*)?{_NUMBER}"
_SENTENCES = re.compile(rf"\b{_UP_TO}[- ](?:\w+ ){{0,3}}?sentences?\b", re.IGNORECASE)
_POINTS = re.compile(rf"\b{_UP_TO}[- ](?:\w+ ){{0,2}}?(?:bullets?(?: points?)?|points)\b", re.IGNORECASE)
_WORDS = re.compile(rf"\b{_UP_TO}[- ]words?\b", re.IGNORECASE)
_ASKS = re.compile(
    r"\b(?:summar|abstract|tl;?dr|key points|main points|gist|condense|shorten|in brief|describe|sentences?|explain)",
    re.IGNORECASE,
)


class Wanted(NamedTuple):
    """How long a summary is to be: sentences, as a list or as text, and words at most."""

    sentences: int = _USUAL
    listed: bool = False
    words: int | None = None


def endpoints(model: str, settings: Settings) -> Sequence[Endpoint]:
    """The one place of `extractive/lead`: this process. Raises UsageError for another name."""
    if model != NAME:
        raise UsageError(f"there is no model `extractive/{model}`", hint=f"there is `extractive/{NAME}`")
    return [Endpoint("python:batchmill.llm.extractive:answer")]


def answer(request: Request) -> Reply:
    """The sentences of the document that say most of it, in their order, as many as the prompt asks for (else 3).

    Of a text without sentences, such as a table, these are its first lines. Of several texts the longest that does not
    ask is the document; of one alone, what stands beside what asks.
    Raises ValueError for what sentences cannot answer: images, a schema.
    """
    if request.images or request.schema is not None:
        raise ValueError(f"`extractive/{NAME}` picks sentences: it takes no images, and fits no schema")
    instruction, document = _divided(request)
    wanted = read_wish(instruction)
    chosen = best(sentences(document), wanted.sentences)
    kept, between = _within(chosen, wanted.words), " "
    if not kept:
        kept, between = _first_lines(document, wanted.sentences), "\n"
    text = "\n".join(f"- {sentence}" for sentence in kept) if wanted.listed else between.join(kept)
    most = request.max_tokens * _CHARACTERS_A_TOKEN
    return Reply(text[:most], "stop" if len(text) <= most else "length", Usage(), f"extractive/{NAME}")


def _first_lines(document: str, number: int) -> list[str]:
    lines = (line.strip() for line in document.splitlines())
    first = islice(filter(None, lines), number)
    return [line if len(line) <= _LINE else f"{line[:_LINE].rstrip()} …" for line in first]


def read_wish(instruction: str) -> Wanted:
    """How long a summary the instruction wants, of ranges the upper end."""
    words = _count(_WORDS, instruction)
    points, said = _count(_POINTS, instruction), _count(_SENTENCES, instruction)
    return Wanted(points or said or (_USUAL if words is None else words), points is not None, words)


def _divided(request: Request) -> tuple[str, str]:
    """What is asked, and the text that it is asked about."""
    texts = [(message.role, part) for message in request.messages for part in message.parts if isinstance(part, str)]
    users = [text for role, text in texts if role != "system" and text.strip()]
    if not users:
        raise ValueError("there is no text to summarise")
    document = max((text for text in users if not _is_instruction(text)), default="", key=len) or max(users, key=len)
    others = [text for _, text in texts if text is not document]
    if any(map(_is_instruction, others)):
        return "\n".join(others), document
    first, rest = _peeled(document)
    return "\n".join([*others, first]), rest


def _is_instruction(text: str) -> bool:
    return bool(_ASKS.search(text)) and len(text.split()) <= _INSTRUCTION


def _peeled(text: str) -> tuple[str, str]:
    """The first or last paragraph, if it asks for something, and what is left."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    for number in (0, -1):
        if len(paragraphs) > 1 and _is_instruction(paragraphs[number]):
            instruction = paragraphs.pop(number)
            return instruction, "\n\n".join(paragraphs)
    start, colon, rest = text.partition(":")
    if colon and rest.strip() and _is_instruction(start):
        return start, rest
    return "", text


def _count(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    if found is None:
        return None
    word = found[2].lower()
    number = int(word) if word.isdecimal() else _NUMBERS.index(word) + 1 if word in _NUMBERS else 1
    return max(1, number)


def _within(chosen: Sequence[str], words: int | None) -> list[str]:
    """As many of the sentences as have so many words together, and one in any case."""
    if words is None:
        return list(chosen)
    kept: list[str] = []
    left = words
    for sentence in chosen:
        left -= len(sentence.split())
        if left < 0 and kept:
            break
        kept.append(sentence)
    return kept
