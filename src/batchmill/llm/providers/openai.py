"""OpenAI chat completions, and the many servers that speak it: vLLM, llama.cpp, LM Studio, Groq and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from batchmill.llm import headers
from batchmill.llm.messages import Finish, Image, Message, Reply, Request
from batchmill.llm.providers import reading
from batchmill.llm.providers.base import Endpoint, Malformed, Seen
from batchmill.llm.transport import HttpReply, HttpRequest

_FINISHES: Mapping[str, Finish] = {"stop": "stop", "length": "length", "content_filter": "refusal"}


@dataclass(frozen=True, slots=True)
class OpenAI:
    """`tokens_field` is `max_completion_tokens` at OpenAI itself, whose newer models know no other. `requests_per`:
    the seconds that `x-ratelimit-limit-requests` is for, where its reset does not tell."""

    family: ClassVar[str] = "openai"
    native_schema: ClassVar[bool] = True
    sees: ClassVar[bool] = True
    tokens_field: str = "max_tokens"
    requests_per: float = headers.MINUTE

    def encode(self, request: Request, endpoint: Endpoint, *, stream: bool = False) -> HttpRequest:
        """The request as the provider wants it."""
        body = self.body(request, stream=stream)
        return reading.post(f"{endpoint.url}/chat/completions", body, endpoint, reading.bearer(endpoint))

    def body(self, request: Request, *, stream: bool = False) -> dict[str, Any]:
        """The JSON of the request: also what a line of a batch file holds."""
        body: dict[str, Any] = {
            "model": request.model.partition("/")[2],
            "messages": [{"role": m.role, "content": _content(m)} for m in request.messages],
            self.tokens_field: request.max_tokens,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.seed is not None:
            body["seed"] = request.seed
        if request.stop:
            body["stop"] = list(request.stop)
        if request.schema is not None:
            body["response_format"] = _response_format(request.schema)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        body.update(request.options)
        return body

    def decode(self, body: bytes) -> Reply:
        """The answer in a reply of status 200. Raises Malformed."""
        answer = reading.parse(body)
        choices = reading.objects(answer.get("choices"))
        if not choices or not isinstance(choices[0].get("message"), dict):
            raise Malformed("the reply has no `choices` with a `message`")
        message = choices[0]["message"]
        refusal = reading.text(message.get("refusal"))
        finish = "refusal" if refusal else _FINISHES.get(str(choices[0].get("finish_reason") or "stop"), "other")
        told = reading.mapping(answer.get("usage"))
        details = reading.mapping(told.get("prompt_tokens_details"))
        cached = details.get("cached_tokens") or told.get("prompt_cache_hit_tokens")
        return Reply(
            reading.texts(message.get("content")) or refusal,
            finish,
            reading.usage(told.get("prompt_tokens"), told.get("completion_tokens"), cached),
            reading.text(answer.get("model")),
            reading.text(answer.get("id")),
        )

    def seen(self, reply: HttpReply, now: float) -> Seen:
        """What a reply of any status tells of limits."""
        limit = headers.openai_limits(reply.headers, self.requests_per)
        pause = headers.pause_of(reply, now)
        if limit is None:
            return Seen(None, pause) if pause else headers.NOTHING
        return Seen(
            limit, pause, *headers.left(limit, reply.headers, headers.REMAINING_REQUESTS, headers.REMAINING_TOKENS)
        )

    def absorb(self, whole: dict[str, Any], event: dict[str, Any]) -> str:
        """Add a `chat.completion.chunk`; the new text."""
        for name in ("id", "model", "usage", "error"):
            if event.get(name):
                whole[name] = event[name]
        new = ""
        for choice in reading.objects(event.get("choices"))[:1]:
            kept = whole.setdefault("choices", [{"message": {"content": ""}, "finish_reason": None}])[0]
            delta = reading.mapping(choice.get("delta"))
            new = reading.texts(delta.get("content"))
            kept["message"]["content"] += new
            if refusal := reading.text(delta.get("refusal")):
                kept["message"]["refusal"] = kept["message"].get("refusal", "") + refusal
            kept["finish_reason"] = choice.get("finish_reason") or kept["finish_reason"]
        return new

    def ended(self, whole: Mapping[str, Any]) -> bool:
        """Whether a reason to finish came."""
        choices = whole.get("choices")
        return bool(choices and choices[0]["finish_reason"])


def _content(message: Message) -> str | list[dict[str, Any]]:
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    return [_image(part) if isinstance(part, Image) else {"type": "text", "text": part} for part in parts]


def _image(image: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.base64}"}}


def _response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    strict = _is_strict(schema)
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}


def _is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes the schema: each object closed, each of its properties required."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, Mapping):
        names = set(properties) if isinstance(properties, Mapping) else set()
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != names:
            return False
    return all(_is_strict(value) for value in schema.values() if isinstance(value, Mapping | list))
