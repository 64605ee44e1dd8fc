"""Anthropic messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from batchmill.llm import headers
from batchmill.llm.messages import Finish, Image, Message, Reply, Request, Usage
from batchmill.llm.providers import reading
from batchmill.llm.providers.base import Endpoint, Malformed, Seen
from batchmill.llm.transport import HttpReply, HttpRequest

VERSION = "2023-06-01"
_LEFT = "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-tokens-remaining"
_FINISHES: Mapping[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


@dataclass(frozen=True, slots=True)
class Anthropic:
    """`POST /v1/messages`. It knows no seed; `options` are members of the body, such as `thinking`.

    The option `cache_prefix: true` is ours: all parts of the last message but its last one, and what comes before,
    are kept in the provider's prompt cache.
    """

    family: ClassVar[str] = "anthropic"
    native_schema: ClassVar[bool] = True
    sees: ClassVar[bool] = True

    def encode(self, request: Request, endpoint: Endpoint, *, stream: bool = False) -> HttpRequest:
        """The request as the provider wants it."""
        sent = {"anthropic-version": VERSION}
        if endpoint.key:
            sent["x-api-key"] = endpoint.key
        url = f"{endpoint.url.removesuffix('/v1')}/v1/messages"
        return reading.post(url, self.body(request, stream=stream), endpoint, sent)

    def body(self, request: Request, *, stream: bool = False) -> dict[str, Any]:
        """The JSON of the request: also the `params` of a line of a message batch."""
        body: dict[str, Any] = {
            "model": request.model.partition("/")[2],
            "max_tokens": request.max_tokens,
            "messages": [{"role": m.role, "content": _content(m)} for m in request.messages if m.role != "system"],
        }
        if system := "\n\n".join(m.text for m in request.messages if m.role == "system"):
            body["system"] = system
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        if request.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
        if stream:
            body["stream"] = True
        body.update(request.options)
        if body.pop("cache_prefix", False):
            _mark_prefix(body)
        return body

    def decode(self, body: bytes) -> Reply:
        """The answer in a reply of status 200. Raises Malformed."""
        answer = reading.parse(body)
        if not isinstance(answer.get("content"), list):
            raise Malformed("the reply has no `content`")
        told = reading.mapping(answer.get("usage"))
        return Reply(
            reading.texts(answer["content"]),
            _FINISHES.get(str(answer.get("stop_reason") or "end_turn"), "other"),
            _usage(told),
            reading.text(answer.get("model")),
            reading.text(answer.get("id")),
        )

    def seen(self, reply: HttpReply, now: float) -> Seen:
        """What a reply of any status tells of limits."""
        limit = headers.anthropic_limits(reply.headers)
        pause = headers.pause_of(reply, now)
        if limit is None:
            return Seen(None, pause) if pause else headers.NOTHING
        return Seen(limit, pause, *headers.left(limit, reply.headers, *_LEFT))

    def absorb(self, whole: dict[str, Any], event: dict[str, Any]) -> str:
        """Add a stream event; the new text."""
        kind = event.get("type")
        if kind == "message_start":
            whole.update(reading.mapping(event.get("message")))
            whole["content"] = [{"type": "text", "text": ""}]
        elif kind == "content_block_delta":
            new = reading.text(reading.mapping(event.get("delta")).get("text"))
            whole.setdefault("content", [{"type": "text", "text": ""}])[0]["text"] += new
            return new
        elif kind == "message_delta":
            whole["stop_reason"] = reading.mapping(event.get("delta")).get("stop_reason")
            whole["usage"] = {**reading.mapping(whole.get("usage")), **reading.mapping(event.get("usage"))}
        elif kind == "error":
            whole["error"] = event.get("error")
        return ""

    def ended(self, whole: Mapping[str, Any]) -> bool:
        """Whether a reason to stop came."""
        return bool(whole.get("stop_reason"))


def _usage(told: Mapping[str, Any]) -> Usage | None:
    """Anthropic counts apart what was read from its cache and what was written there; all is input."""
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    fresh, cached, written = (reading.count(told.get(name) or 0) for name in names)
    tokens_out = reading.count(told.get("output_tokens"))
    if "input_tokens" not in told or fresh is None or cached is None or written is None or tokens_out is None:
        return None
    return Usage(fresh + cached + written, tokens_out, cached, written)


def _content(message: Message) -> str | list[dict[str, Any]]:
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    return [_image(part) if isinstance(part, Image) else {"type": "text", "text": part} for part in parts]


def _image(image: Image) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.base64}}


def _mark_prefix(body: dict[str, Any]) -> None:
    """Put the mark that ends a cached prefix on the last part but one, else on the system prompt."""
    mark = {"cache_control": {"type": "ephemeral"}}
    content = body["messages"][-1]["content"] if body["messages"] else ""
    if isinstance(content, list) and len(content) > 1:
        content[-2] |= mark
    elif "system" in body:
        body["system"] = [{"type": "text", "text": body["system"], **mark}]
