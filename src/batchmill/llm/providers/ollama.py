"""Ollama's own `/api/chat`, which alone sets the context window and how long a model stays loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from batchmill.llm import headers
from batchmill.llm.messages import Finish, Message, Reply, Request
from batchmill.llm.providers import reading
from batchmill.llm.providers.base import Endpoint, Malformed, Seen
from batchmill.llm.transport import HttpReply, HttpRequest

_FINISHES: Mapping[str, Finish] = {"stop": "stop", "length": "length"}
_TOP_LEVEL = ("keep_alive", "think", "truncate", "shift")


@dataclass(frozen=True, slots=True)
class Ollama:
    """`options` such as `num_ctx` and `top_k` are the model's; `keep_alive`, `think`, `truncate` are the request's.

    `truncate` is false unless asked: a prompt that does not fit is an error, where Ollama would quietly cut it.
    """

    family: ClassVar[str] = "ollama"
    native_schema: ClassVar[bool] = True
    sees: ClassVar[bool] = True

    def encode(self, request: Request, endpoint: Endpoint, *, stream: bool = False) -> HttpRequest:
        """The request as the provider wants it."""
        body = self.body(request, stream=stream)
        return reading.post(f"{endpoint.url}/api/chat", body, endpoint, reading.bearer(endpoint))

    def body(self, request: Request, *, stream: bool = False) -> dict[str, Any]:
        """The JSON of the request."""
        options: dict[str, Any] = {"num_predict": request.max_tokens}
        body: dict[str, Any] = {
            "model": request.model.partition("/")[2],
            "messages": [_message(m) for m in request.messages],
            "stream": stream,
            "truncate": False,
            "options": options,
        }
        if request.temperature is not None:
            options["temperature"] = request.temperature
        if request.seed is not None:
            options["seed"] = request.seed
        if request.stop:
            options["stop"] = list(request.stop)
        if request.schema is not None:
            body["format"] = request.schema
        for name, value in request.options.items():
            (body if name in _TOP_LEVEL else options)[name] = value
        return body

    def decode(self, body: bytes) -> Reply:
        """The answer in a reply of status 200. Raises Malformed."""
        answer = reading.parse(body)
        if not isinstance(answer.get("message"), dict):
            raise Malformed("the reply has no `message`")
        return Reply(
            reading.text(answer["message"].get("content")),
            _FINISHES.get(str(answer.get("done_reason") or "stop"), "other"),
            reading.usage(answer.get("prompt_eval_count") or 0, answer.get("eval_count")),
            reading.text(answer.get("model")),
        )

    def seen(self, reply: HttpReply, now: float) -> Seen:
        """What a reply tells of limits: at most a pause."""
        pause = headers.pause_of(reply, now)
        return Seen(None, pause) if pause else headers.NOTHING

    def absorb(self, whole: dict[str, Any], event: dict[str, Any]) -> str:
        """Add one JSON line; the new text."""
        new = reading.text(reading.mapping(event.get("message")).get("content"))
        said = reading.mapping(whole.get("message")).get("content", "") + new
        whole.update(event)
        whole["message"] = {"role": "assistant", "content": said}
        return new

    def ended(self, whole: Mapping[str, Any]) -> bool:
        """Whether the last line came."""
        return whole.get("done") is True


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.text}
    if images := [part.base64 for part in message.parts if not isinstance(part, str)]:
        said["images"] = images
    return said
