"""Ollama's own chat and embed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from batchmill.testing.fake_llm.asked import Answer, Asked, Problem, pieces_of
from batchmill.testing.fake_llm.families.parts import embedding, image, turns
from batchmill.testing.fake_llm.wire import HttpRequest

CREATED = "2024-05-17T12:00:00Z"  # no clock: equal requests have equal replies
_STATUSES = {
    "no_money": 402,
    "auth": 401,
    "server": 500,
    "no_images": 500,
    "unavailable": 503,
    "too_long": 400,
    "invalid_request": 400,
    "not_found": 404,
    "no_model": 404,
}


class Ollama:
    """POST /api/chat, which streams unless it is told not to."""

    name = "ollama"
    words: Mapping[str, str] = {
        "no_model": "model not found, try pulling it first",
        "unavailable": "server busy, please try again.  maximum pending requests exceeded",
    }

    def read(self, request: HttpRequest, body: dict[str, Any]) -> Asked:
        """The question in a body."""
        options = body.get("options") or {}
        said = turns((m["role"], *_content(m)) for m in body["messages"])
        most = options.get("num_predict")
        return Asked(
            self.name,
            str(body["model"]),
            said.prompt,
            said.text,
            images=said.images,
            max_tokens=most if isinstance(most, int) and most > 0 else None,
            schema=_schema(body.get("format")),
            stream=body.get("stream") is not False,
            body=body,
            tokens=said.tokens,
        )

    def reply(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """The whole answer and its numbers."""
        return _line(asked, answer.text) | _last(answer)

    def events(self, asked: Asked, answer: Answer) -> tuple[str, tuple[bytes, ...]]:
        """JSON lines, the numbers in the last."""
        lines = [_line(asked, piece) | {"done": False} for piece in pieces_of(answer.text)]
        lines.append(_line(asked, "") | _last(answer))
        return "application/x-ndjson", tuple(json.dumps(line).encode() + b"\n" for line in lines)

    def error(self, problem: Problem, asked: Asked | None) -> tuple[int, dict[str, Any]]:
        """A status and a sentence."""
        return _STATUSES.get(problem.kind, 429), {"error": problem.message}


class OllamaEmbedding(Ollama):
    """POST /api/embed."""

    def read(self, request: HttpRequest, body: dict[str, Any]) -> Asked:
        """One text or a list of them."""
        given = body["input"]
        return embedding(self.name, str(body["model"]), [given] if isinstance(given, str) else given, body, None)

    def reply(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """The vectors."""
        return {"model": asked.model, "embeddings": answer.vectors, "prompt_eval_count": answer.usage[0]}


def _content(message: dict[str, Any]) -> tuple[str, int]:
    images = [image(data) for data in message.get("images") or ()]
    return "\n".join([message.get("content") or "", *images]), len(images)


def _schema(form: Any) -> dict[str, Any] | None:
    if form == "json":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    return form if isinstance(form, dict) else None


def _line(asked: Asked, text: str) -> dict[str, Any]:
    return {"model": asked.model, "created_at": CREATED, "message": {"role": "assistant", "content": text}}


def _last(answer: Answer) -> dict[str, Any]:
    prompt, completion = answer.usage
    return {
        "done": True,
        "done_reason": "length" if answer.finish == "length" else "stop",
        "total_duration": 1_000_000,
        "load_duration": 0,
        "prompt_eval_count": prompt,
        "prompt_eval_duration": 1_000_000,
        "eval_count": completion,
        "eval_duration": 1_000_000,
    }
