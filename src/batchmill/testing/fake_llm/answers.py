"""What the fake models say: made from the question alone, so that equal questions have equal answers."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from hashlib import blake2b, shake_128
from typing import Any

from batchmill.testing.fake_llm.asked import Answer, Asked, count_tokens
from batchmill.testing.fake_llm.schema import example

Answerer = Callable[[Asked], Any]
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "tr")
_RHYMES = ("a", "e", "i", "o", "an", "en", "in", "on", "ar", "er", "is", "os", "al", "el", "um", "ul")
_WORDS = [onset + rhyme for onset in _ONSETS for rhyme in _RHYMES]
_SAMPLING = ("temperature", "seed")


def words(asked: Asked) -> str:
    """A sentence of sixteen made-up words, which depend on the model, the text and the sampling."""
    digest = digest_of(asked)
    return " ".join([_WORDS[byte] for byte in digest]).capitalize() + "."


def echo(asked: Asked) -> str:
    """The last turn of the user."""
    return asked.prompt


def digest_of(asked: Asked) -> bytes:
    """16 bytes that depend on what would change the answer of a model, in whatever protocol it is asked."""
    options = asked.body.get("options")  # where Ollama has them
    given = [asked.body.get(name) for name in _SAMPLING] + [options.get(name) for name in _SAMPLING if options]
    text = f"{asked.model}\0{[value for value in given if value is not None]}\0{asked.text}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def say(asked: Asked, answerer: Answerer) -> str:
    """The whole answer as a text: JSON where the answerer gives no text, or where a schema is asked for."""
    if asked.schema is not None and answerer is words:
        return json.dumps(example(asked.schema, digest_of(asked)), ensure_ascii=False)
    said = answerer(asked)
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def vector(text: str, model: str, dimensions: int) -> list[float]:
    """A vector of length 1 that depends on the text and the model: unlike texts are about orthogonal."""
    data = shake_128(f"{model}\0{text}".encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    values = struct.unpack(f"<{dimensions}h", data)
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def embed(asked: Asked, dimensions: int) -> Answer:
    """The vectors that were asked for."""
    vectors = tuple(vector(text, asked.model, asked.dimensions or dimensions) for text in asked.inputs)
    return Answer("", "stop", asked.tokens, 0, (asked.tokens, 0), identity(asked), vectors)


def identity(asked: Asked) -> str:
    """The id of the reply: equal only for the same arrival of an equal request."""
    return f"{asked.digest:016x}{asked.nth:04x}"


def cut(asked: Asked, text: str, most: int | None) -> Answer:
    """The answer, no longer than `most` tokens."""
    tokens = count_tokens(text)
    finish: Any = "stop"
    if most is not None and tokens > most:
        text = text.encode("utf-8", "surrogatepass")[: 4 * most].decode("utf-8", "ignore")
        tokens, finish = count_tokens(text), "length"
    return Answer(text, finish, asked.tokens, tokens, (asked.tokens, tokens), identity(asked))
