"""What each protocol is sent for the same request: texts, images, schema, settings, and the key where it belongs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchmill.llm.messages import Image, Message, Request
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Endpoint, Provider
from batchmill.llm.providers.gemini import Gemini
from batchmill.llm.providers.ollama import Ollama
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.providers.python import Python
from batchmill.llm.transport import HttpRequest

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
ENDPOINT = Endpoint("http://host:1", "the-key", {"x-team": "a"}, proxy="http://proxy:2", ca_file="ca.pem")
DATA = "iVBORw=="
IMAGE = Image(b"\x89PNG", "image/png")


def _request(model: str, **more: Any) -> Request:
    messages = (Message("system", ("Be brief.",)), Message("user", ("What is this?", IMAGE)))
    return Request(f"any/{model}", messages, 64, **more)


def _sent(provider: Provider, request: Request, *, stream: bool = False) -> tuple[HttpRequest, dict[str, Any]]:
    sent = provider.encode(request, ENDPOINT, stream=stream)
    assert (sent.method, sent.proxy, sent.ca_file) == ("POST", "http://proxy:2", "ca.pem")
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["x-team"] == "a"
    assert "the-key" not in sent.url
    return sent, json.loads(sent.body)


def test_openai_is_sent_parts_with_data_urls_and_a_strict_schema() -> None:
    sent, body = _sent(OpenAI(), _request("org/m", temperature=0.0, seed=7, stop=("END",), schema=SCHEMA))
    assert sent.url == "http://host:1/chat/completions"
    assert sent.headers["authorization"] == "Bearer the-key"
    assert body == {
        "model": "org/m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
                ],
            },
        ],
        "max_tokens": 64,
        "temperature": 0.0,
        "seed": 7,
        "stop": ["END"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
    }


def test_openai_itself_is_told_max_completion_tokens_and_streams_tell_their_usage() -> None:
    _, body = _sent(OpenAI(tokens_field="max_completion_tokens"), _request("m"), stream=True)
    assert body["max_completion_tokens"] == 64
    assert "max_tokens" not in body
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(
    "loose",
    [
        {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        {"type": "object", "properties": {"n": {}}, "required": [], "additionalProperties": False},
        {"type": "array", "items": {"type": "object"}},
        {"anyOf": [{"type": "object", "additionalProperties": True}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}},
    ],
)
def test_a_schema_that_strict_mode_refuses_is_sent_without_it(loose: dict[str, Any]) -> None:
    _, body = _sent(OpenAI(), _request("m", schema=loose))
    assert body["response_format"]["json_schema"]["strict"] is False


def test_options_are_members_of_the_openai_body() -> None:
    assert _sent(OpenAI(), _request("m", options={"top_p": 0.5}))[1]["top_p"] == 0.5


def test_anthropic_is_sent_its_system_prompt_apart_and_base64_sources() -> None:
    sent, body = _sent(Anthropic(), _request("claude", temperature=0.5, stop=("END",), schema=SCHEMA, seed=3))
    assert sent.url == "http://host:1/v1/messages"
    assert (sent.headers["x-api-key"], sent.headers["anthropic-version"]) == ("the-key", "2023-06-01")
    assert body == {
        "model": "claude",
        "max_tokens": 64,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
                ],
            }
        ],
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }


def test_the_prefix_that_questions_share_is_marked_for_anthropics_cache() -> None:
    _, body = _sent(Anthropic(), _request("claude", options={"cache_prefix": True}))
    first, last = body["messages"][0]["content"]
    assert first["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in last
    assert "cache_prefix" not in body


def test_one_part_alone_marks_the_system_prompt() -> None:
    messages = (Message("system", ("Be brief.",)), Message("user", ("Why?",)))
    _, body = _sent(Anthropic(), Request("anthropic/m", messages, options={"cache_prefix": True}))
    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]


def test_a_base_url_with_its_version_is_as_good_as_one_without() -> None:
    assert Anthropic().encode(_request("m"), Endpoint("http://h/v1")).url == "http://h/v1/messages"
    assert Gemini().encode(_request("m"), Endpoint("http://h/v1beta")).url.startswith("http://h/v1beta/models/")


def test_gemini_is_sent_inline_data_and_its_key_in_a_header() -> None:
    sent, body = _sent(Gemini(), _request("gemini-2", temperature=0.1, seed=1, stop=("X",), schema=SCHEMA))
    assert sent.url == "http://host:1/v1beta/models/gemini-2:generateContent"
    assert sent.headers["x-goog-api-key"] == "the-key"
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "What is this?"}, {"inlineData": {"mimeType": "image/png", "data": DATA}}],
            }
        ],
        "generationConfig": {
            "maxOutputTokens": 64,
            "temperature": 0.1,
            "seed": 1,
            "stopSequences": ["X"],
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
        },
    }


def test_gemini_options_go_where_they_belong_and_turns_of_the_model_are_its_own() -> None:
    messages = (Message("user", ("a",)), Message("assistant", ("b",)), Message("user", ("c",)))
    options = {"safetySettings": [], "thinkingConfig": {"thinkingBudget": 0}}
    _, body = _sent(Gemini(), Request("gemini/m", messages, options=options))
    assert [turn["role"] for turn in body["contents"]] == ["user", "model", "user"]
    assert body["safetySettings"] == []
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0}


def test_a_hostile_model_name_stays_inside_its_place_in_the_url() -> None:
    sent, _ = _sent(Gemini(), _request("../../x?key=1#"))
    assert sent.url == "http://host:1/v1beta/models/..%2F..%2Fx%3Fkey%3D1%23:generateContent"


def test_ollama_is_sent_images_beside_the_text_and_options_apart() -> None:
    options = {"num_ctx": 8192, "keep_alive": "10m", "think": False}
    sent, body = _sent(Ollama(), _request("llava", temperature=0, seed=1, stop=("X",), schema=SCHEMA, options=options))
    assert sent.url == "http://host:1/api/chat"
    assert body == {
        "model": "llava",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is this?", "images": [DATA]},
        ],
        "stream": False,
        "truncate": False,
        "format": SCHEMA,
        "keep_alive": "10m",
        "think": False,
        "options": {"num_predict": 64, "temperature": 0, "seed": 1, "stop": ["X"], "num_ctx": 8192},
    }


@pytest.mark.parametrize("provider", [OpenAI(), Anthropic(), Gemini(), Ollama()])
def test_without_a_key_no_header_says_one(provider: Provider) -> None:
    sent = provider.encode(_request("m"), Endpoint("http://h"))
    assert not {"authorization", "x-api-key", "x-goog-api-key"} & set(sent.headers)


@pytest.mark.parametrize("provider", [OpenAI(), Anthropic(), Gemini(), Ollama(), Python()])
def test_half_a_surrogate_pair_in_a_document_is_sent_as_a_question_mark(provider: Provider) -> None:
    request = Request("any/m", (Message("user", ("a\ud83dz",)),))
    assert b"a?z" in provider.encode(request, Endpoint("python:m:f")).body


def test_the_repr_of_a_request_shows_neither_its_headers_nor_its_text() -> None:
    shown = repr(OpenAI().encode(_request("m"), ENDPOINT)) + repr(ENDPOINT)
    assert "the-key" not in shown
    assert "proxy" not in shown
    assert "What is" not in shown
