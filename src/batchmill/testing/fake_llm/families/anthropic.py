"""Anthropic's messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from batchmill.testing.fake_llm.asked import Answer, Asked, BadRequest, Problem, pieces_of
from batchmill.testing.fake_llm.families.parts import content, turns, whole
from batchmill.testing.fake_llm.wire import HttpRequest

_RATE = (429, "rate_limit_error")
_ERRORS: dict[str, tuple[int, str]] = {
    "requests": _RATE,
    "tokens": _RATE,
    "concurrency": _RATE,
    "rate_limited": _RATE,
    "rate_limited_date": _RATE,
    "day": _RATE,
    "day_limit": _RATE,
    "no_money": (400, "invalid_request_error"),
    "auth": (401, "authentication_error"),
    "server": (500, "api_error"),
    "unavailable": (529, "overloaded_error"),
    "too_long": (400, "invalid_request_error"),
    "no_images": (400, "invalid_request_error"),
    "invalid_request": (400, "invalid_request_error"),
    "not_found": (404, "not_found_error"),
    "no_model": (404, "not_found_error"),
}
_MESSAGES = {
    "no_money": "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits.",
    "auth": "invalid x-api-key",
    "unavailable": "Overloaded",
    "too_long": "prompt is too long: {tokens} tokens > {context} maximum",
    "no_images": "messages: image input is not supported by this model",
}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}


class Anthropic:
    """POST /v1/messages."""

    name = "anthropic"
    words: Mapping[str, str] = _MESSAGES

    def read(self, request: HttpRequest, body: dict[str, Any]) -> Asked:
        """The question in a message's body."""
        if body.get("max_tokens") is None:
            raise BadRequest("max_tokens: Field required")
        if "anthropic-version" not in request.headers:
            raise BadRequest("anthropic-version: header is required")
        system = [("system", *content(body["system"]))] if body.get("system") else []
        said = turns([*system, *((m["role"], *content(m["content"])) for m in body["messages"])])
        return Asked(
            self.name,
            str(body["model"]),
            said.prompt,
            said.text,
            images=said.images,
            max_tokens=whole(body["max_tokens"], "max_tokens"),
            schema=_schema(body),
            stream=body.get("stream") is True,
            body=body,
            tokens=said.tokens,
        )

    def reply(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """A `message`."""
        blocks = [{"type": "text", "text": answer.text}] if answer.text else []
        return {**_message(asked, answer), "content": blocks, "stop_reason": _STOPS[answer.finish]}

    def events(self, asked: Asked, answer: Answer) -> tuple[str, tuple[bytes, ...]]:
        """The events of a stream."""
        return "text/event-stream", tuple(_events(asked, answer))

    def error(self, problem: Problem, asked: Asked | None) -> tuple[int, dict[str, Any]]:
        """Anthropic's error object."""
        status, kind = _ERRORS[problem.kind]
        return status, {"type": "error", "error": {"type": kind, "message": problem.message}}


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    return form["schema"] if form else None


def _message(asked: Asked, answer: Answer) -> dict[str, Any]:
    tokens_in, tokens_out = answer.usage
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": tokens_in,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": tokens_out,
        },
    }


def _events(asked: Asked, answer: Answer) -> Iterator[bytes]:
    start = _message(asked, answer)
    start["usage"]["output_tokens"] = 1
    yield _event("message_start", message=start)
    yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield _event("ping")
    for piece in pieces_of(answer.text):
        yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield _event("content_block_stop", index=0)
    stop = {"stop_reason": _STOPS[answer.finish], "stop_sequence": None}
    yield _event("message_delta", delta=stop, usage={"output_tokens": answer.usage[1]})
    yield _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()
