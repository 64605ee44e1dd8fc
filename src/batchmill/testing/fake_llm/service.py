"""The fake service as a whole: which part answers which path. Chats and embeddings, lists, batches, control."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json

from batchmill.errors import UsageError
from batchmill.testing.fake_llm import listing
from batchmill.testing.fake_llm.asked import Family
from batchmill.testing.fake_llm.batches import BatchDesk
from batchmill.testing.fake_llm.behaviour import Behaviour, check_kinds
from batchmill.testing.fake_llm.families.anthropic import Anthropic
from batchmill.testing.fake_llm.families.gemini import Gemini, GeminiEmbedding, model_path
from batchmill.testing.fake_llm.families.ollama import Ollama, OllamaEmbedding
from batchmill.testing.fake_llm.families.openai import OpenAI, OpenAIEmbedding
from batchmill.testing.fake_llm.pipeline import Clock, Pipeline
from batchmill.testing.fake_llm.wire import HttpRequest, Reply

_PATHS: Mapping[str, Family] = {
    "/v1/chat/completions": OpenAI(),
    "/v1/embeddings": OpenAIEmbedding(),
    "/v1/messages": Anthropic(),
    "/api/chat": Ollama(),
    "/api/embed": OllamaEmbedding(),
}
_METHODS: Mapping[str, Family] = {
    "generateContent": Gemini(),
    "streamGenerateContent": Gemini(),
    "embedContent": GeminiEmbedding(),
    "batchEmbedContents": GeminiEmbedding(),
}


class Service:
    """Serves requests as its behaviour says. `clock` is monotonic, `wall` Unix time."""

    def __init__(self, behaviour: Behaviour, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self.behaviour = behaviour
        self._clocks = clock, wall
        self.reset()

    def reset(self) -> None:
        """Forget everything that has happened: counts, log, limits, scripts, batches."""
        self.pipeline = Pipeline(self.behaviour, *self._clocks)
        self.batches = BatchDesk(self.pipeline, _PATHS)

    def serve(self, request: HttpRequest) -> Reply:
        """The reply to one request."""
        path = request.path.removeprefix("/openai")  # where Groq has its own
        family = _PATHS.get(path) or (_METHODS.get(model_path(path)[2]) if "/models/" in path else None)
        if family is not None and request.method == "POST":
            return self._live(family, request)
        if family is not None:
            return _json(405, {"error": {"message": "use POST"}})
        if path.startswith("/fake/"):
            return self._control(request.method, path.removeprefix("/fake/"), request.body)
        found = self.batches.serve(request) or listing.serve(request, self.behaviour)
        return found or _json(404, {"error": {"message": f"there is nothing at {path[:100]}"}})

    def _live(self, family: Family, request: HttpRequest) -> Reply:
        try:
            return self.pipeline.live(family, request)
        except Exception as error:  # noqa: BLE001 - of the test's own function, whose client is to see it
            return _json(500, {"error": {"message": f"the test's function raised {error!r}"[:500]}})

    def _control(self, method: str, what: str, body: bytes) -> Reply:
        try:
            return _json(200, self._controlled(method, what, body))
        except LookupError:
            return _json(404, {"error": "GET counts, log; POST reset, script, outage"})
        except (UsageError, ValueError, TypeError) as error:
            return _json(400, {"error": str(error)[:500]})

    def _controlled(self, method: str, what: str, body: bytes) -> Any:
        """What a request below `/fake/` asks for. Raises LookupError, UsageError, ValueError, TypeError."""
        if method == "GET":
            self.batches.advance()
            return {"counts": self.pipeline.counts, "log": list(self.pipeline.log)}[what]
        given: Any = from_json(body) if body else None
        if what == "reset":
            self.reset()
        elif what == "script":
            check_kinds(given)
            self.pipeline.faults.add(given)
        elif what == "outage":
            self.pipeline.outage = (self.pipeline.since_start(), float(given["seconds"]))
        else:
            raise LookupError(what)
        return {}


def _json(status: int, value: Any) -> Reply:
    return Reply(status, to_json(value))
