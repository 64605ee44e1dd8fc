"""What each protocol's replies mean, and that no reply, however wrong, is anything but a reply or Malformed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.llm.messages import Reply, Usage
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Malformed, Provider
from batchmill.llm.providers.gemini import Gemini
from batchmill.llm.providers.ollama import Ollama
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.providers.python import Python
from tests.llm.providers import bodies

PROVIDERS: list[Provider] = [OpenAI(), Anthropic(), Gemini(), Ollama(), Python()]

REPLIES: list[tuple[Provider, Any, Reply]] = [
    (
        OpenAI(),
        bodies.OPENAI,
        Reply("A short summary.", "stop", Usage(1200, 7, 1024), "gpt-4o-mini-2024-07-18", "chatcmpl-9x1"),
    ),
    (
        OpenAI(),
        bodies.OPENAI_REFUSAL,
        Reply("I cannot help with that.", "refusal", Usage(1200, 7, 1024), "gpt-4o-mini-2024-07-18", "chatcmpl-9x1"),
    ),
    (OpenAI(), bodies.OPENAI_FILTERED, Reply("", "refusal", None, "gpt-4o", "x")),
    (OpenAI(), bodies.LLAMACPP, Reply("Once upon", "length", Usage(30, 2), "smollm2", "chatcmpl-abc")),
    (OpenAI(), bodies.VLLM_REASONING, Reply("Yes.", "stop", Usage(5, 9), "qwen3", "cmpl-1")),
    (OpenAI(), bodies.MISTRAL_PARTS, Reply("Four.", "stop", Usage(11, 3), "magistral-small", "m1")),
    (OpenAI(), bodies.DEEPSEEK, Reply("ok", "stop", Usage(100, 1, 64), "deepseek-chat", "d1")),
    (
        Anthropic(),
        bodies.ANTHROPIC,
        Reply("A short summary.", "stop", Usage(1320, 12, 1000, 300), "claude-sonnet-4-5", "msg_01A"),
    ),
    (
        Anthropic(),
        bodies.ANTHROPIC_REFUSAL,
        Reply("", "refusal", Usage(20, 1), "claude-sonnet-4-5", "msg_01A"),
    ),
    (Gemini(), bodies.GEMINI, Reply("A short summary.", "stop", Usage(900, 48, 512), "gemini-2.5-flash", "r-1")),
    (
        Gemini(),
        bodies.GEMINI_BLOCKED,
        Reply("the prompt is blocked: PROHIBITED_CONTENT", "refusal", Usage(9, 0), "gemini-2.5-flash"),
    ),
    (Gemini(), bodies.GEMINI_SAFETY, Reply("", "refusal", None, "gemini-2.5-flash")),
    (Gemini(), bodies.GEMINI_CUT, Reply("A sho", "length", Usage(4, 3))),
    (Ollama(), bodies.OLLAMA, Reply("A short summary.", "stop", Usage(26, 298), "llama3.2")),
    (Ollama(), bodies.OLLAMA_CACHED_PROMPT, Reply("Yes", "length", Usage(0, 1), "llama3.2")),
]


@pytest.mark.parametrize(("provider", "answer", "expected"), REPLIES)
def test_a_reply_is_read_as_it_was_meant(provider: Provider, answer: Any, expected: Reply) -> None:
    assert provider.decode(bodies.body(answer)) == expected


@pytest.mark.parametrize(("provider", "answer", "expected"), REPLIES)
def test_a_reply_that_broke_off_anywhere_is_malformed_and_cut(provider: Provider, answer: Any, expected: Reply) -> None:
    whole = bodies.body(answer)
    for end in range(0, len(whole), 7):
        with pytest.raises(Malformed) as caught:
            provider.decode(whole[:end])
        assert caught.value.cut


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "garbage", [b"<html>Bad gateway</html>", b"[]", b"null", b"3", b'"text"', b"{}", b"\xff\xfe", b"[" * 100_000]
)
def test_what_is_no_reply_at_all_is_malformed(provider: Provider, garbage: bytes) -> None:
    with pytest.raises(Malformed):
        provider.decode(garbage)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def _spoilt(value: Any, junk: Any) -> Any:
    """All values that have the junk in one place of `value`."""
    yield junk
    if isinstance(value, dict):
        for key in value:
            for spoilt in _spoilt(value[key], junk):
                yield {**value, key: spoilt}
    elif isinstance(value, list):
        for number, item in enumerate(value):
            for spoilt in _spoilt(item, junk):
                yield [*value[:number], spoilt, *value[number + 1 :]]


@given(junk=_json)
def test_junk_in_any_place_of_a_reply_gives_a_reply_or_malformed(junk: Any) -> None:
    for provider, answer, _ in REPLIES[:1] + REPLIES[7:8] + REPLIES[9:10] + REPLIES[13:14]:
        for spoilt in _spoilt(answer, junk):
            try:
                reply = provider.decode(bodies.body(spoilt))
            except Malformed:
                continue
            assert isinstance(reply.text, str)
            assert isinstance(reply.model, str)
            assert reply.finish in ("stop", "length", "refusal", "other")
            assert reply.usage is None or all(
                type(n) is int and n >= 0 for n in (reply.usage.input, reply.usage.output)
            )


@pytest.mark.parametrize("count", [-1, 1.5, True, "12", None, [], 10**30, float("1e300")])
def test_nonsense_for_a_count_of_tokens_is_no_count(count: Any) -> None:
    told = {**bodies.OPENAI["usage"], "completion_tokens": count}  # type: ignore[dict-item]
    reply = OpenAI().decode(bodies.body({**bodies.OPENAI, "usage": told}))
    assert reply.usage is None


def test_more_cached_than_input_is_at_most_the_input() -> None:
    told = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 50}}
    assert OpenAI().decode(bodies.body({**bodies.OPENAI, "usage": told})).usage == Usage(10, 1, 10)
