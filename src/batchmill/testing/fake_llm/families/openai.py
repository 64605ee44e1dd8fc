"""OpenAI's chat completions and embeddings, as also vLLM, llama.cpp, LM Studio and Groq speak them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from batchmill.testing.fake_llm.asked import Answer, Asked, Problem, pieces_of
from batchmill.testing.fake_llm.families.parts import content, embedding, turns, whole
from batchmill.testing.fake_llm.wire import HttpRequest

CREATED = 1_700_000_000  # no clock: equal requests have equal replies
_ERRORS: dict[str, tuple[int, str, str | None]] = {
    "requests": (429, "requests", "rate_limit_exceeded"),
    "tokens": (429, "tokens", "rate_limit_exceeded"),
    "concurrency": (429, "requests", "rate_limit_exceeded"),
    "rate_limited": (429, "requests", "rate_limit_exceeded"),
    "rate_limited_date": (429, "requests", "rate_limit_exceeded"),
    "day": (429, "requests", "rate_limit_exceeded"),
    "day_limit": (429, "requests", "rate_limit_exceeded"),
    "no_money": (429, "insufficient_quota", "insufficient_quota"),
    "auth": (401, "invalid_request_error", "invalid_api_key"),
    "server": (500, "server_error", None),
    "no_images": (500, "server_error", None),
    "unavailable": (503, "server_error", "service_unavailable"),
    "too_long": (400, "invalid_request_error", "context_length_exceeded"),
    "invalid_request": (400, "invalid_request_error", None),
    "not_found": (404, "invalid_request_error", None),
    "no_model": (404, "invalid_request_error", "model_not_found"),
}


class OpenAI:
    """POST /v1/chat/completions."""

    name = "openai"
    words: Mapping[str, str] = {}

    def read(self, request: HttpRequest, body: dict[str, Any]) -> Asked:
        """The question in a chat completion's body."""
        said = turns((m["role"], *content(m.get("content"))) for m in body["messages"])
        return Asked(
            self.name,
            str(body["model"]),
            said.prompt,
            said.text,
            images=said.images,
            max_tokens=whole(body.get("max_completion_tokens", body.get("max_tokens")), "max_tokens"),
            schema=_schema(body.get("response_format")),
            stream=body.get("stream") is True,
            body=body,
            tokens=said.tokens,
        )

    def reply(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """A `chat.completion`."""
        refused = answer.finish == "refusal"
        message = {"role": "assistant", "content": None if refused else answer.text}
        message["refusal"] = answer.text if refused else None
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
        return {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion",
            "created": CREATED,
            "model": asked.model,
            "choices": [choice],
            "usage": _usage(answer),
        }

    def events(self, asked: Asked, answer: Answer) -> tuple[str, tuple[bytes, ...]]:
        """The chunks of a stream, with the usage last where it was asked for."""
        return "text/event-stream", tuple(_events(asked, answer))

    def error(self, problem: Problem, asked: Asked | None) -> tuple[int, dict[str, Any]]:
        """OpenAI's error object."""
        status, kind, code = _ERRORS[problem.kind]
        return status, {"error": {"message": problem.message, "type": kind, "param": None, "code": code}}


class OpenAIEmbedding(OpenAI):
    """POST /v1/embeddings."""

    def read(self, request: HttpRequest, body: dict[str, Any]) -> Asked:
        """One text or a list of them."""
        given = body["input"]
        texts = [given] if isinstance(given, str) else given
        return embedding(self.name, str(body["model"]), texts, body, body.get("dimensions"))

    def reply(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """A list of vectors: of numbers, or of base64 where that is asked for."""
        as_base64 = asked.body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
            for index, vector in enumerate(answer.vectors)
        ]
        usage = {"prompt_tokens": answer.usage[0], "total_tokens": answer.usage[0]}
        return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _schema(form: Any) -> dict[str, Any] | None:
    if not form or form["type"] == "text":
        return None
    if form["type"] == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    schema = form["json_schema"]["schema"]
    return schema if isinstance(schema, dict) else {}


def _finish(answer: Answer) -> str:
    return "length" if answer.finish == "length" else "stop"


def _usage(answer: Answer) -> dict[str, Any]:
    prompt, completion = answer.usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _events(asked: Asked, answer: Answer) -> Iterator[bytes]:
    base = {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": asked.model,
    }
    name = "refusal" if answer.finish == "refusal" else "content"
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", name: ""}, None)]
    deltas += [({name: piece}, None) for piece in pieces_of(answer.text)]
    deltas.append(({}, _finish(answer)))
    for delta, finish in deltas:
        yield _event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        yield _event({**base, "choices": [], "usage": _usage(answer)})
    yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()
