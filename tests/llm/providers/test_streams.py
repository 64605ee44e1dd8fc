"""A stream gives the same reply as the same answer in one piece, and tells its text as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from batchmill.llm.failures import classify
from batchmill.llm.messages import Reply, Usage
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Malformed, Provider
from batchmill.llm.providers.gemini import Gemini
from batchmill.llm.providers.ollama import Ollama
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.streaming import collect
from batchmill.llm.transport import HttpReply, StatusError


class Given:
    """Lines that are there already."""

    headers: Mapping[str, str] = {"x-ratelimit-limit-requests": "60"}

    def __init__(self, lines: Sequence[bytes], error: Exception | None = None) -> None:
        self._lines, self._error = lines, error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for line in self._lines:
            yield line
        if self._error:
            raise self._error


def sse(*events: Any) -> list[bytes]:
    lines = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        lines += [b"event: whatever", b"data: " + data.encode(), b""]
    return lines


def _chunk(**choice: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}


OPENAI = sse(
    _chunk(delta={"role": "assistant", "content": ""}, finish_reason=None),
    _chunk(delta={"content": "Hel"}, finish_reason=None),
    _chunk(delta={"content": "lo"}, finish_reason=None),
    _chunk(delta={}, finish_reason="stop"),
    {"id": "c1", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    "[DONE]",
)
ANTHROPIC = sse(
    {
        "type": "message_start",
        "message": {"id": "c1", "model": "m", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)
GEMINI = sse(
    {"candidates": [{"content": {"parts": [{"text": "think", "thought": True}]}}], "responseId": "c1"},
    {"candidates": [{"content": {"parts": [{"text": "Hel"}]}}], "modelVersion": "m", "responseId": "c1"},
    {
        "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
    },
)
OLLAMA = [
    json.dumps(line).encode()
    for line in (
        {"model": "m", "message": {"role": "assistant", "content": "Hel"}, "done": False},
        {"model": "m", "message": {"role": "assistant", "content": "lo"}, "done": False},
        {
            "model": "m",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 3,
            "eval_count": 2,
        },
    )
]
STREAMS: list[tuple[Provider, list[bytes], str]] = [
    (OpenAI(), OPENAI, "c1"),
    (Anthropic(), ANTHROPIC, "c1"),
    (Gemini(), GEMINI, "c1"),
    (Ollama(), OLLAMA, ""),
]


def _collect(provider: Provider, lines: Sequence[bytes], error: Exception | None = None) -> tuple[HttpReply, list[str]]:
    told: list[str] = []
    return asyncio.run(collect(provider, Given(lines, error), told.append)), told


@pytest.mark.parametrize(("provider", "lines", "request_id"), STREAMS)
def test_a_stream_becomes_the_reply_it_would_have_been(provider: Provider, lines: list[bytes], request_id: str) -> None:
    reply, told = _collect(provider, lines)
    assert (reply.status, reply.headers) == (200, Given.headers)
    assert provider.decode(reply.body) == Reply("Hello", "stop", Usage(3, 2), "m", request_id)
    assert told == ["Hel", "lo"]


@pytest.mark.parametrize(("provider", "lines", "request_id"), STREAMS)
def test_a_stream_that_broke_off_is_cut(provider: Provider, lines: list[bytes], request_id: str) -> None:
    with pytest.raises(Malformed) as caught:
        _collect(provider, lines[: len(lines) // 3])
    assert caught.value.cut


ERRORS: list[tuple[Provider, list[bytes], str]] = [
    (OpenAI(), sse({"error": {"message": "busy", "type": "server_error", "code": None}}), "server"),
    (OpenAI(), sse({"error": {"message": "slow down", "type": "rate_limit_exceeded"}}), "rate_limited"),
    (Anthropic(), sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), "server"),
    (Gemini(), sse({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}), "server"),
    (Ollama(), [b'{"error": "model runner has unexpectedly stopped"}'], "server"),
]


@pytest.mark.parametrize(("provider", "lines", "kind"), ERRORS)
def test_an_error_in_a_stream_is_a_failure_by_its_name(provider: Provider, lines: list[bytes], kind: str) -> None:
    start = dict(zip([p.family for p, *_ in STREAMS], [s[:3] for _, s, _ in STREAMS], strict=True))[provider.family]
    reply, _ = _collect(provider, [*start, *lines])
    failure = classify(provider.family, reply)
    assert failure is not None
    assert (failure.kind, failure.retry) == (kind, True)


def test_a_refusal_instead_of_a_stream_is_its_reply() -> None:
    refused = HttpReply(429, {"retry-after": "3"}, b'{"error": {"message": "slow down"}}')
    reply, _ = _collect(OpenAI(), [], StatusError(refused))
    assert reply is refused


def test_several_lines_of_data_are_one_event() -> None:
    lines = [b'data: {"choices": [{"delta": {"content": "Hi"},', b'data: "finish_reason": "stop"}]}', b"", b": note"]
    assert OpenAI().decode(_collect(OpenAI(), lines)[0].body).text == "Hi"


def test_a_done_mark_ends_a_stream_that_gives_no_reason() -> None:
    reply, _ = _collect(OpenAI(), sse(_chunk(delta={"content": "Hi"}), "[DONE]"))
    assert OpenAI().decode(reply.body).text == "Hi"
