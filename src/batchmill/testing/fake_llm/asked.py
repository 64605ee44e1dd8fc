"""What was asked of the fake service and what it answers, in the words of no protocol family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from batchmill.testing.fake_llm.wire import HttpRequest

Finish = Literal["stop", "length", "refusal"]
IMAGE_TOKENS = 85


def count_tokens(text: str) -> int:
    """How many tokens the fake models make of a text: one for each four bytes, rounded up."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


@dataclass(slots=True)
class Asked:
    """One question: `prompt` is the last turn of the user, `text` all turns, images as `[image ...]` in both."""

    family: str
    model: str
    prompt: str
    text: str
    images: int = 0
    max_tokens: int | None = None
    schema: Mapping[str, Any] | None = None
    stream: bool = False
    body: dict[str, Any] = field(default_factory=dict)  # the request as it came
    key: str = field(default="", repr=False)
    idempotency_key: str = ""
    tokens: int = 0  # of the input
    inputs: tuple[str, ...] = ()  # texts whose vectors are asked for, instead of an answer
    dimensions: int | None = None  # of the vectors
    digest: int = 0  # equal for equal requests
    nth: int = 0  # how many equal requests came before


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says. `usage` is what the reply tells of tokens in and out; the counts hold the true ones."""

    text: str
    finish: Finish
    tokens_in: int
    tokens_out: int
    usage: tuple[int, int]
    id: str
    vectors: tuple[list[float], ...] = ()


class Problem(NamedTuple):
    """An error reply: a fault's name or a limit's, in the words of the service; `wait` is in seconds."""

    kind: str
    message: str
    wait: float | None = None
    limit: float | None = None  # that was violated


class BadRequest(Exception):
    """A body that its family does not take."""


class Family(Protocol):
    """One protocol: how questions are read from its JSON and answers written in it. Without state."""

    name: str
    words: Mapping[str, str]  # messages of problems, where they are its own; `{tokens}` and `{context}` are filled in

    def read(self, request: HttpRequest, body: dict[str, Any]) -> Asked:
        """The question. Raises BadRequest, and KeyError, TypeError, ValueError, AttributeError for wrong shapes."""
        ...

    def reply(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """The whole reply."""
        ...

    def events(self, asked: Asked, answer: Answer) -> tuple[str, tuple[bytes, ...]]:
        """The content type and the pieces of a streamed reply."""
        ...

    def error(self, problem: Problem, asked: Asked | None) -> tuple[int, dict[str, Any]]:
        """The status and the body of an error."""
        ...


def pieces_of(text: str, size: int = 12) -> list[str]:
    """The text in the pieces in which it is streamed."""
    return [text[start : start + size] for start in range(0, len(text), size)]
