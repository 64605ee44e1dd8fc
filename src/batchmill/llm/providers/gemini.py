"""Gemini `generateContent`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from batchmill.llm import headers
from batchmill.llm.messages import Finish, Image, Message, Reply, Request, Usage
from batchmill.llm.providers import reading
from batchmill.llm.providers.base import Endpoint, Malformed, Seen
from batchmill.llm.transport import HttpReply, HttpRequest

_FINISHES: Mapping[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"), "refusal"),
}
_TOP_LEVEL = ("safetySettings", "tools", "toolConfig", "cachedContent", "labels")


@dataclass(frozen=True, slots=True)
class Gemini:
    """The key goes into a header, never into the URL. `options` are members of `generationConfig`, such as
    `thinkingConfig`, or of the body where they belong there, such as `safetySettings`."""

    family: ClassVar[str] = "gemini"
    native_schema: ClassVar[bool] = True
    sees: ClassVar[bool] = True

    def encode(self, request: Request, endpoint: Endpoint, *, stream: bool = False) -> HttpRequest:
        """The request as the provider wants it."""
        sent = {"x-goog-api-key": endpoint.key} if endpoint.key else {}
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        model = quote(request.model.partition("/")[2].removeprefix("models/"), safe="")
        url = f"{endpoint.url.removesuffix('/v1beta')}/v1beta/models/{model}:{method}"
        return reading.post(url, self.body(request), endpoint, sent)

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON of the request."""
        config: dict[str, Any] = {"maxOutputTokens": request.max_tokens}
        body: dict[str, Any] = {
            "contents": [_content(m) for m in request.messages if m.role != "system"],
            "generationConfig": config,
        }
        if system := "\n\n".join(m.text for m in request.messages if m.role == "system"):
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if request.temperature is not None:
            config["temperature"] = request.temperature
        if request.seed is not None:
            config["seed"] = request.seed
        if request.stop:
            config["stopSequences"] = list(request.stop)
        if request.schema is not None:
            config |= {"responseMimeType": "application/json", "responseJsonSchema": request.schema}
        for name, value in request.options.items():
            (body if name in _TOP_LEVEL else config)[name] = value
        return body

    def decode(self, body: bytes) -> Reply:
        """The answer in a reply of status 200. Raises Malformed."""
        answer = reading.parse(body)
        model, request_id = reading.text(answer.get("modelVersion")), reading.text(answer.get("responseId"))
        usage = _usage(reading.mapping(answer.get("usageMetadata")))
        candidates = reading.objects(answer.get("candidates"))
        if not candidates:
            blocked = reading.mapping(answer.get("promptFeedback")).get("blockReason")
            if not blocked:
                raise Malformed("the reply has no `candidates`")
            return Reply(f"the prompt is blocked: {blocked}", "refusal", usage, model, request_id)
        finish = _FINISHES.get(str(candidates[0].get("finishReason") or "STOP"), "other")
        return Reply(_text(candidates[0]), finish, usage, model, request_id)

    def seen(self, reply: HttpReply, now: float) -> Seen:
        """What a reply tells of limits: only refusals do, in their body."""
        if reply.status != 429:
            pause = headers.pause_of(reply, now)
            return Seen(None, pause) if pause else headers.NOTHING
        details = headers.details_of(reply.body)
        pause = headers.pause_of(reply, now) or headers.retry_info(details) or 0.0
        return Seen(headers.google_limits(details), pause)

    def absorb(self, whole: dict[str, Any], event: dict[str, Any]) -> str:
        """Add a partial `GenerateContentResponse`; the new text."""
        whole.update({name: value for name, value in event.items() if name != "candidates"})
        for candidate in reading.objects(event.get("candidates"))[:1]:
            new = _text(candidate)
            kept = whole.setdefault("candidates", [{"content": {"parts": [{"text": ""}]}}])[0]
            kept["content"]["parts"][0]["text"] += new
            if candidate.get("finishReason"):
                kept["finishReason"] = candidate["finishReason"]
            return new
        return ""

    def ended(self, whole: Mapping[str, Any]) -> bool:
        """Whether a reason to finish came, or the prompt was blocked."""
        candidates = whole.get("candidates")
        return "finishReason" in candidates[0] if candidates else bool(whole.get("promptFeedback"))


def _usage(told: Mapping[str, Any]) -> Usage | None:
    """Thoughts are billed as output."""
    said = reading.count(told.get("candidatesTokenCount") or 0)
    thought = reading.count(told.get("thoughtsTokenCount") or 0)
    if said is None or thought is None:
        return None
    return reading.usage(told.get("promptTokenCount"), said + thought, told.get("cachedContentTokenCount"))


def _text(candidate: Mapping[str, Any]) -> str:
    """The text of a candidate, without its thoughts."""
    parts = reading.objects(reading.mapping(candidate.get("content")).get("parts"))
    return "".join(reading.text(part.get("text")) for part in parts if not part.get("thought"))


def _content(message: Message) -> dict[str, Any]:
    parts = [_image(part) if isinstance(part, Image) else {"text": part} for part in message.parts]
    return {"role": "model" if message.role == "assistant" else "user", "parts": parts}


def _image(image: Image) -> dict[str, Any]:
    return {"inlineData": {"mimeType": image.media_type, "data": image.base64}}
