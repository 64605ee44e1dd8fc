"""What is said to a model and what it answers, in the words of no provider. No transport, no metering here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pydantic_core

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "refusal", "other"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as a file's bytes: `media_type` is `image/png`, `image/jpeg`, `image/webp` or `image/gif`."""

    data: bytes
    media_type: str = "image/png"

    @property
    def base64(self) -> str:
        """The bytes as standard base64."""
        return base64.b64encode(self.data).decode("ascii")


Part = str | Image


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: texts and images, in order."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The texts of the turn, without its images."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model, complete: whatever can change the answer is in it, and nothing else."""

    model: str  # provider/model
    messages: tuple[Message, ...]
    max_tokens: int = 1024
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None  # JSON Schema of the answer
    options: Mapping[str, Any] = field(default_factory=dict)  # the provider's own, such as `num_ctx`

    @property
    def provider(self) -> str:
        """The part of the model's name before the first slash."""
        return self.model.partition("/")[0]

    def canonical(self) -> bytes:
        """The request as canonical JSON, images by their SHA-256: equal requests, and only they, have equal bytes."""
        messages = [
            (m.role, [p if isinstance(p, str) else _canonical_image(p) for p in m.parts]) for m in self.messages
        ]
        settings = (self.max_tokens, self.temperature, self.seed, self.stop)
        return pydantic_core.to_json((self.model, messages, settings, _sorted(self.schema), _sorted(self.options)))

    @property
    def images(self) -> tuple[Image, ...]:
        """All images of the messages, in order."""
        return tuple(p for m in self.messages for p in m.parts if isinstance(p, Image))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them. Of the `input` tokens, `cached` were read from its prompt cache, and
    `written` were put there, where that has a price of its own."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a model."""

    text: str
    finish: Finish = "stop"
    usage: Usage | None = None  # None: the provider did not say
    model: str = ""  # as the provider names it
    request_id: str = ""


def _canonical_image(image: Image) -> Any:
    return {"image": hashlib.sha256(image.data).hexdigest(), "type": image.media_type}


def _sorted(value: Any) -> Any:
    """Mappings with sorted keys, at every depth."""
    if not value:
        return value
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
