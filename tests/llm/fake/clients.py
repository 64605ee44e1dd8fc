"""What the tests of the fake service share: questions in each protocol, asked of a `Service` without any sockets."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from batchmill.testing import FakeClock
from batchmill.testing.fake_llm import Behaviour
from batchmill.testing.fake_llm.service import Service
from batchmill.testing.fake_llm.wire import HttpRequest, Reply

CHATS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
    "ollama": "/api/chat",
}


class Told(NamedTuple):
    """A reply: its status, its JSON and its headers."""

    status: int
    body: Any
    headers: dict[str, str]


def told(reply: Reply) -> Told:
    """The reply as a client sees it."""
    lines = [line.split(": ", 1) for line in reply.headers.split("\r\n") if line]
    return Told(reply.status, json.loads(reply.body), dict(lines))


def chat_body(family: str, text: str, **more: Any) -> dict[str, Any]:
    """A chat with one question."""
    if family == "gemini":
        return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    if family == "anthropic":
        body.setdefault("max_tokens", 100)
    return body if family != "ollama" else {"stream": False, **body}


class Asker:
    """A service on a clock that the test moves; every reply is delivered at once unless it is kept."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.service = Service(
            Behaviour.of(**options), lambda: self.clock.now, lambda: 1_700_000_000 + self.clock.now - 1000
        )

    @property
    def counts(self) -> Any:
        """What the service has counted."""
        return self.service.pipeline.counts

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        """The reply as it is."""
        path, _, query = path.partition("?")
        given = {"anthropic-version": "2023-06-01"} if path.startswith("/v1/messages") else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.service.serve(HttpRequest(method, path, query, given, body))

    def deliver(self, reply: Reply) -> Reply:
        """The reply, whose client has read all of it."""
        if reply.done is not None:
            reply.done(True)
        return reply

    def post(self, path: str, body: Any, **headers: str) -> Told:
        """The reply to JSON."""
        return told(self.deliver(self.send("POST", path, json.dumps(body).encode(), **headers)))

    def get(self, path: str, **headers: str) -> Told:
        """The reply to a GET."""
        return told(self.send("GET", path, **headers))

    def ask(self, text: str = "Hello", family: str = "openai", **more: Any) -> Told:
        """The reply to a chat."""
        return self.post(CHATS[family], chat_body(family, text, **more))


def said(reply: Told) -> str:
    """The text of an OpenAI reply."""
    text: str = reply.body["choices"][0]["message"]["content"]
    return text
