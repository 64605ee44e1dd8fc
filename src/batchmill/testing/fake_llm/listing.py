"""What can be read of the service: its models, as each family lists them, and that it is alive."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from batchmill.testing.fake_llm.behaviour import Behaviour
from batchmill.testing.fake_llm.families.openai import CREATED
from batchmill.testing.fake_llm.wire import HttpRequest, Reply

_ALIVE: dict[str, dict[str, Any]] = {
    "/api/version": {"version": "0.0.0"},
    "/api/ps": {"models": []},
    "/health": {"status": "ok"},
}
DEFAULT_MODELS = ("fake-small", "fake-large")


def serve(request: HttpRequest, behaviour: Behaviour) -> Reply | None:
    """The reply, or None where there is nothing at the path."""
    if request.method not in ("GET", "POST"):
        return None
    models = list(behaviour.models) or list(DEFAULT_MODELS)
    path = request.path.removeprefix("/openai")
    if path == "/":
        return Reply(200, b"Ollama is running", content_type="text/plain")  # what Ollama's clients look for
    value = _value(path, models, is_anthropic="anthropic-version" in request.headers)
    return None if value is None else Reply(200, to_json(value))


def _value(path: str, models: list[str], *, is_anthropic: bool) -> dict[str, Any] | None:
    entry = _anthropic if is_anthropic else _openai
    if path == "/v1/models" and is_anthropic:
        return {"data": [entry(name) for name in models], "has_more": False, "first_id": models[0]}
    if path == "/v1/models":
        return {"object": "list", "data": [entry(name) for name in models]}
    if path.startswith("/v1/models/") and path.removeprefix("/v1/models/") in models:
        return entry(path.removeprefix("/v1/models/"))
    if path == "/v1beta/models":
        return {"models": [{"name": f"models/{name}", "displayName": name} for name in models]}
    if path == "/api/tags":
        return {"models": [{"name": name, "model": name, "size": 1_000_000, "details": {}} for name in models]}
    return _ALIVE.get(path)


def _openai(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}


def _anthropic(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2024-05-17T00:00:00Z"}
