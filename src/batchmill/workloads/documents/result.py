"""What a documents job gives: the answer, how it was come by, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from batchmill import Metric

MICRO_CENTS_PER_USD = 100_000_000


class Usage(BaseModel):
    """Tokens of all requests of a job, and how many these were, replies of the cache included."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    requests: int = 0


class QuestionResult(BaseModel):
    """The answer to one of several questions."""

    question: str
    text: str
    data: Any = None


class DocumentResult(BaseModel):
    """`text` is the answer, `data` the same as structured data where a schema asks for it; of several `questions`,
    `answers` has each by its name. `parts` are the answers of the parts, where they were kept apart. `cost` is what
    the tokens cost at the list price, in US dollars, None where that is unknown: replies that came from the cache count
    too, so that the same answer has the same cost. What was really spent stands in the run's calls."""

    text: str = ""  # first: a live display shows how a result begins
    data: Any = None
    answers: dict[str, QuestionResult] | None = None
    parts: list[Any] | None = None
    file: str | None = None
    truncated: bool = False
    model: str = ""
    reader: str = ""
    bytes: int = 0
    pages: int | None = None
    images: int = 0
    chunks: int = 1
    usage: Usage = Usage()
    cost: float | None = None


METRICS = (
    Metric("tokens_in", unit="tokens", label="tokens in", better="lower"),
    Metric("tokens_out", unit="tokens", label="tokens out", better="lower"),
    Metric("cost", unit="USD", label="cost", better="lower"),
    Metric("requests", label="requests", better="lower"),
    Metric("chunks", label="chunks", better="lower"),
    Metric("bytes", unit="bytes", label="size"),
)


def metrics(result: DocumentResult) -> Mapping[str, Any]:
    """The numbers of a result."""
    usage = result.usage
    numbers = {
        "tokens_in": usage.input,
        "tokens_out": usage.output,
        "cost": result.cost,
        "requests": usage.requests,
        "chunks": result.chunks,
        "bytes": result.bytes,
    }
    return {name: value for name, value in numbers.items() if value is not None}
