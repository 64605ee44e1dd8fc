"""Turns and their parts, as several families write them: texts, and images as the digest of what was sent."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

from batchmill.testing.fake_llm.asked import IMAGE_TOKENS, Asked, BadRequest, count_tokens

MOST_DIMENSIONS = 8192
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "model"})


class Turns(NamedTuple):
    """All texts, the last turn of the user, the number of images, and the tokens of everything."""

    text: str
    prompt: str
    images: int
    tokens: int


def image(data: str) -> str:
    """What stands for an image in a text: equal for equal data."""
    return f"[image {blake2b(data.encode(), digest_size=6).hexdigest()}]"


def turns(said: Iterable[tuple[str, str, int]]) -> Turns:
    """From (role, text, images) of each turn. Raises BadRequest where there is none."""
    texts, prompt, images, tokens = [], "", 0, 3
    for role, text, pictures in said:
        if role not in ROLES:
            raise BadRequest(f"Invalid value for `role`: '{str(role)[:40]}'")
        texts.append(f"{role}: {text}")
        prompt = text if role == "user" else prompt
        images += pictures
        tokens += 4 + count_tokens(text) + IMAGE_TOKENS * pictures
    if not texts:
        raise BadRequest("there must be at least one message")
    return Turns("\n".join(texts), prompt, images, tokens)


def content(parts: Any) -> tuple[str, int]:
    """The text and the number of images of a `content`: a text, or a list of parts. Raises BadRequest."""
    if isinstance(parts, str):
        return parts, 0
    texts, images = [], 0
    for part in parts or ():
        kind = part["type"]
        if kind == "text":
            texts.append(part["text"])
        elif kind == "image_url":
            texts.append(image(part["image_url"]["url"]))
            images += 1
        elif kind == "image":
            source = part["source"]
            texts.append(image(source.get("data") or source.get("url") or ""))
            images += 1
        else:
            raise BadRequest(f"content of type '{str(kind)[:40]}' is not supported")
    return "\n".join(texts), images


def embedding(family: str, model: str, texts: Any, body: dict[str, Any], dimensions: int | None) -> Asked:
    """A question for the vectors of texts. Raises BadRequest."""
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("the input must be a text, or a list of texts that is not empty")
    tokens = sum(map(count_tokens, texts))
    joined = "\n".join(texts)
    size = whole(dimensions, "dimensions")
    if size is not None and size > MOST_DIMENSIONS:
        raise BadRequest(f"`dimensions` must be at most {MOST_DIMENSIONS}")
    return Asked(family, model, texts[-1], joined, body=body, tokens=tokens, inputs=tuple(texts), dimensions=size)


def whole(value: Any, name: str) -> int | None:
    """A positive whole number or None. Raises BadRequest."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequest(f"`{name}` must be an integer of at least 1")
    return value
