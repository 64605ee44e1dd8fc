"""Gemini's generateContent and embedContent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from batchmill.testing.fake_llm.asked import Answer, Asked, BadRequest, Problem, pieces_of
from batchmill.testing.fake_llm.families.parts import embedding, image, turns, whole
from batchmill.testing.fake_llm.wire import HttpRequest

_EXHAUSTED = (429, "RESOURCE_EXHAUSTED")
_ERRORS: dict[str, tuple[int, str]] = {
    "requests": _EXHAUSTED,
    "tokens": _EXHAUSTED,
    "concurrency": _EXHAUSTED,
    "rate_limited": _EXHAUSTED,
    "rate_limited_date": _EXHAUSTED,
    "day": _EXHAUSTED,
    "day_limit": _EXHAUSTED,
    "no_money": (400, "FAILED_PRECONDITION"),
    "auth": (400, "INVALID_ARGUMENT"),
    "server": (500, "INTERNAL"),
    "unavailable": (503, "UNAVAILABLE"),
    "too_long": (400, "INVALID_ARGUMENT"),
    "no_images": (400, "INVALID_ARGUMENT"),
    "invalid_request": (400, "INVALID_ARGUMENT"),
    "not_found": (404, "NOT_FOUND"),
    "no_model": (404, "NOT_FOUND"),
}
_MESSAGES = {
    "auth": "API key not valid. Please pass a valid API key.",
    "unavailable": "The model is overloaded. Please try again later.",
    "no_money": "Please enable billing on your project in Google AI Studio.",
    "too_long": "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({context}).",
    "no_images": "Image input modality is not enabled for this model",
}
_QUOTAS = {"tokens": "GenerateContentInputTokensPerModelPerMinute", "day": "GenerateRequestsPerDayPerProjectPerModel"}
_QUOTAS |= {"day_limit": _QUOTAS["day"]}
_STOPS = {"stop": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
_TYPE = "type.googleapis.com/google.rpc."


class Gemini:
    """POST /v1beta/models/MODEL:generateContent and :streamGenerateContent."""

    name = "gemini"
    words: Mapping[str, str] = _MESSAGES

    def read(self, request: HttpRequest, body: dict[str, Any]) -> Asked:
        """The question in a body and its path."""
        model, _, method = model_path(request.path)
        config = body.get("generationConfig") or {}
        system = body.get("systemInstruction") or body.get("system_instruction")
        first = [("system", *_content(system))] if system else []
        said = turns([*first, *((c.get("role", "user"), *_content(c)) for c in body["contents"])])
        return Asked(
            self.name,
            model,
            said.prompt,
            said.text,
            images=said.images,
            max_tokens=whole(config.get("maxOutputTokens"), "maxOutputTokens"),
            schema=_schema(config),
            stream=method == "streamGenerateContent",
            body=body,
            tokens=said.tokens,
        )

    def reply(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """A `GenerateContentResponse`."""
        finish = _STOPS[answer.finish]
        if answer.finish == "refusal":
            candidate: dict[str, Any] = {"finishReason": finish, "index": 0}
        else:
            parts = [{"text": answer.text}] if answer.text else []
            candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": finish, "index": 0}
        return _response(asked, answer, candidate)

    def events(self, asked: Asked, answer: Answer) -> tuple[str, tuple[bytes, ...]]:
        """The events of a stream, as `alt=sse` has them."""
        pieces = pieces_of(answer.text) or [""]
        responses = []
        for index, piece in enumerate(pieces):
            candidate: dict[str, Any] = {"content": {"parts": [{"text": piece}], "role": "model"}, "index": 0}
            if index == len(pieces) - 1:
                candidate["finishReason"] = _STOPS[answer.finish]
            responses.append(_response(asked, answer, candidate))
        return "text/event-stream", tuple(f"data: {json.dumps(r)}\r\n\r\n".encode() for r in responses)

    def error(self, problem: Problem, asked: Asked | None) -> tuple[int, dict[str, Any]]:
        """Google's error object, with the wait in its details."""
        status, word = _ERRORS[problem.kind]
        error: dict[str, Any] = {"code": status, "message": problem.message, "status": word}
        if problem.kind == "auth":
            error["details"] = [{"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID"}]
        elif problem.wait is not None:
            violation = {"quotaId": _QUOTAS.get(problem.kind, "GenerateRequestsPerMinutePerProjectPerModel")}
            if problem.limit is not None:
                violation["quotaValue"] = f"{problem.limit:.0f}"
            error["details"] = [
                {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]},
                {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{problem.wait:.3f}s"},
            ]
        return status, {"error": error}


class GeminiEmbedding(Gemini):
    """POST /v1beta/models/MODEL:embedContent and :batchEmbedContents."""

    def read(self, request: HttpRequest, body: dict[str, Any]) -> Asked:
        """The texts of one request or of many."""
        model, _, method = model_path(request.path)
        requests = [body] if method == "embedContent" else body["requests"]
        texts = [_content(request["content"])[0] for request in requests]
        size = requests[0].get("outputDimensionality") if requests else None
        return embedding(self.name, model, texts, body, size)

    def reply(self, asked: Asked, answer: Answer) -> dict[str, Any]:
        """One vector, or a list of them."""
        values = [{"values": vector} for vector in answer.vectors]
        return {"embeddings": values} if "requests" in asked.body else {"embedding": values[0]}


def model_path(path: str) -> tuple[str, str, str]:
    """The model, a colon and the method in a path such as `/v1beta/models/gemini-fast:generateContent`."""
    return unquote(path.partition("/models/")[2]).rpartition(":")


def _content(content: dict[str, Any]) -> tuple[str, int]:
    texts, images = [], 0
    for part in content.get("parts") or ():
        data = part.get("inlineData") or part.get("inline_data")
        if data is not None:
            texts.append(image(data["data"]))
            images += 1
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise BadRequest("a part must have `text` or `inlineData`")
    return "\n".join(texts), images


def _schema(config: dict[str, Any]) -> dict[str, Any] | None:
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if schema is None and config.get("responseMimeType") == "application/json":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    return schema if isinstance(schema, dict) else None


def _response(asked: Asked, answer: Answer, candidate: dict[str, Any]) -> dict[str, Any]:
    prompt, completion = answer.usage
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": completion,
            "totalTokenCount": prompt + completion,
        },
        "modelVersion": asked.model,
        "responseId": answer.id,
    }
