"""Each way in which a request can fail, by name, and whether trying again may help."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.llm.failures import Failure, classify, judge
from batchmill.llm.messages import Reply
from batchmill.llm.providers.base import Malformed
from batchmill.llm.transport import HttpReply, StatusError, TransportError
from tests.llm.providers.bodies import body
from tests.llm.test_headers import gemini_429

NOW = 1_700_000_000.0


def _openai(message: str, kind: str | None = None, code: Any = None) -> bytes:
    return body({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _anthropic(message: str, kind: str) -> bytes:
    return body({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})


def _google(code: int, message: str, status: str, *details: Any) -> bytes:
    return body({"error": {"code": code, "message": message, "status": status, "details": list(details)}})


_GROQ_DAY = (
    "Rate limit reached for model `llama-3.3-70b` in organization `org_1` service tier `on_demand` on tokens per day "
    "(TPD): Limit 100000, Used 99837, Requested 1200. Please try again in 14m56.2s. Need more tokens?"
)

# what came: family, status, headers, body; what it is: kind, whether it is tried again, after how many seconds
TABLE: list[tuple[str, int, dict[str, str], bytes, str, bool, float | None]] = [
    ("openai", 429, {"retry-after": "20"}, _openai("Rate limit reached", "requests"), "rate_limited", True, 20.0),
    ("openai", 429, {"retry-after-ms": "250"}, _openai("Rate limit reached"), "rate_limited", True, 0.25),
    ("openai", 429, {"retry-after": formatdate(NOW + 9, usegmt=True)}, b"", "rate_limited", True, 9.0),
    ("openai", 429, {}, _openai("Limit 3 / min. Please try again in 20s."), "rate_limited", True, 20.0),
    ("openai", 429, {}, b"Too Many Requests", "rate_limited", True, None),
    (
        "openai",
        429,
        {},
        _openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
        "no_money",
        False,
        None,
    ),
    ("openai", 429, {}, _openai("Daily request quota used up, come back tomorrow"), "exhausted", False, None),
    ("openai", 429, {"retry-after": "30"}, _openai("Daily limit; try tomorrow"), "exhausted", False, 30.0),
    ("openai", 429, {"retry-after": "40000"}, _openai("slow down"), "exhausted", False, 40_000.0),
    ("openai", 429, {}, _openai(_GROQ_DAY, "tokens", "rate_limit_exceeded"), "rate_limited", True, 896.2),
    (
        "openai",
        429,
        {},
        _openai(
            "Request too large for gpt-4: Limit 10000, Requested 20000. The input or output tokens must be reduced"
        ),
        "too_long",
        False,
        None,
    ),
    (
        "openai",
        413,
        {},
        _openai("Request too large for model, please reduce your message size"),
        "too_long",
        False,
        None,
    ),
    (
        "openai",
        400,
        {},
        _openai(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        "too_long",
        False,
        None,
    ),
    (
        "openai",  # llama.cpp
        400,
        {},
        body(
            {
                "error": {
                    "code": 400,
                    "message": "request (9412 tokens) exceeds the available context size (8192 tokens)",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9412,
                    "n_ctx": 8192,
                }
            }
        ),
        "too_long",
        False,
        None,
    ),
    (
        "openai",  # llama.cpp
        500,
        {},
        _openai(
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            "server_error",
            500,
        ),
        "unsupported",
        False,
        None,
    ),
    ("openai", 503, {}, _openai("Loading model", "unavailable_error", 503), "server", True, None),
    ("openai", 400, {}, _openai("qwen is not a multimodal model"), "unsupported", False, None),  # vLLM
    ("openai", 400, {}, _openai("At most 0 image(s) may be provided in one request."), "unsupported", False, None),
    ("openai", 401, {}, _openai("Incorrect API key provided: sk-proj-****abcd"), "auth", False, None),
    ("openai", 403, {}, _openai("Country not supported", "request_forbidden"), "auth", False, None),
    ("openai", 402, {}, _openai("Insufficient Balance"), "no_money", False, None),  # DeepSeek
    (
        "openai",
        404,
        {},
        _openai("The model `gpt-9` does not exist", None, "model_not_found"),
        "invalid_request",
        False,
        None,
    ),
    ("openai", 422, {}, body({"detail": [{"loc": ["body"], "msg": "field required"}]}), "invalid_request", False, None),
    ("openai", 400, {}, _openai("blocked", None, "content_policy_violation"), "refusal", False, None),
    ("openai", 500, {}, _openai("The server had an error"), "server", True, None),
    ("openai", 500, {"x-should-retry": "false"}, _openai("The server had an error"), "server", False, None),
    ("openai", 502, {}, b"<html><body>Bad Gateway</body></html>", "server", True, None),
    ("openai", 503, {"retry-after": "2"}, b"", "server", True, 2.0),
    ("openai", 504, {}, b"", "timeout", True, None),
    ("openai", 408, {}, b"", "timeout", True, None),
    ("openai", 307, {"location": "http://elsewhere"}, b"", "invalid_request", False, None),
    ("openai", 200, {}, body({"error": {"message": "upstream", "code": 502}}), "server", True, None),  # OpenRouter
    ("openai", 200, {}, body({"error": {"message": "no", "code": 402}}), "no_money", False, None),
    ("anthropic", 429, {"retry-after": "8"}, _anthropic("too fast", "rate_limit_error"), "rate_limited", True, 8.0),
    ("anthropic", 529, {}, _anthropic("Overloaded", "overloaded_error"), "server", True, None),
    ("anthropic", 500, {}, _anthropic("Internal server error", "api_error"), "server", True, None),
    (
        "anthropic",
        400,
        {},
        _anthropic("prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
        "too_long",
        False,
        None,
    ),
    (
        "anthropic",
        413,
        {},
        _anthropic("Request exceeds the maximum size", "request_too_large"),
        "too_long",
        False,
        None,
    ),
    (
        "anthropic",
        400,
        {},
        _anthropic("Your credit balance is too low to access the Anthropic API.", "invalid_request_error"),
        "no_money",
        False,
        None,
    ),
    ("anthropic", 401, {}, _anthropic("invalid x-api-key", "authentication_error"), "auth", False, None),
    ("anthropic", 400, {}, _anthropic("max_tokens: required", "invalid_request_error"), "invalid_request", False, None),
    (
        "anthropic",
        400,
        {},
        _anthropic("'claude-3-haiku' does not support output format.", "invalid_request_error"),
        "unsupported",
        False,
        None,
    ),
    ("gemini", 429, {}, gemini_429(("GenerateRequestsPerMinutePerProject", "10")), "rate_limited", True, 36.0),
    ("gemini", 429, {}, gemini_429(("GenerateRequestsPerDayPerProject", "250")), "exhausted", False, 36.0),
    (
        "gemini",
        400,
        {},
        _google(
            400,
            "API key not valid. Please pass a valid API key.",
            "INVALID_ARGUMENT",
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
        ),
        "auth",
        False,
        None,
    ),
    (
        "gemini",
        400,
        {},
        _google(
            400, "The input token count (1200000) exceeds the maximum number of tokens allowed", "INVALID_ARGUMENT"
        ),
        "too_long",
        False,
        None,
    ),
    ("gemini", 503, {}, _google(503, "The model is overloaded.", "UNAVAILABLE"), "server", True, None),
    ("gemini", 504, {}, _google(504, "Deadline expired", "DEADLINE_EXCEEDED"), "timeout", True, None),
    ("gemini", 400, {}, b"[" + _google(400, "Unknown name", "INVALID_ARGUMENT") + b"]", "invalid_request", False, None),
    ("ollama", 404, {}, body({"error": 'model "x" not found, try pulling it first'}), "invalid_request", False, None),
    ("ollama", 400, {}, body({"error": "the input length exceeds the context length"}), "too_long", False, None),
    (
        "ollama",
        503,
        {},
        body({"error": "server busy, please try again. maximum pending requests"}),
        "server",
        True,
        None,
    ),
    (
        "ollama",
        500,
        {},
        body({"error": "this model is missing data required for image input"}),
        "unsupported",
        False,
        None,
    ),
    ("ollama", 500, {}, body({"error": "llama runner process has terminated: signal: killed"}), "server", True, None),
]


@pytest.mark.parametrize(("family", "status", "sent", "data", "kind", "retry", "after"), TABLE)
def test_a_refusal_is_known_by_its_kind(
    family: str, status: int, sent: dict[str, str], data: bytes, kind: str, retry: bool, after: float | None
) -> None:
    failure = classify(family, HttpReply(status, sent, data), now=NOW)
    assert failure is not None
    assert (failure.kind, failure.retry) == (kind, retry)
    assert failure.after == (None if after is None else pytest.approx(after))
    assert failure.sent
    assert failure.status in (status, 402, 502)


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"message": {"content": '{"error": "daily quota, tomorrow"}'}}], "error": None},
        {"error": None, "choices": []},
        {"message": {"content": '{"error": 1}'}},
    ],
)
def test_an_answer_that_talks_of_errors_is_none(answer: Any) -> None:
    assert classify("openai", HttpReply(200, {}, body(answer))) is None


@pytest.mark.parametrize(
    ("error", "kind", "retry", "sent"),
    [
        (TransportError("connect", "cannot connect", sent=False), "connect", True, False),
        (TransportError("timeout", "too slow", sent=True), "timeout", True, True),
        (TransportError("reset", "gone", sent=True), "reset", True, True),
        (TransportError("tls", "bad certificate", sent=False), "connect", False, False),
        (TransportError("malformed", "no HTTP", sent=True), "malformed", True, True),
        (TransportError("too_large", "larger", sent=True), "malformed", False, True),
        (Malformed("not JSON"), "malformed", True, True),
        (Malformed("ended", cut=True), "truncated", True, True),
        (StatusError(HttpReply(503, {}, b"")), "server", True, True),
    ],
)
def test_what_never_became_a_reply_is_known_by_its_kind(error: Any, kind: str, retry: bool, sent: bool) -> None:
    failure = classify("openai", error)
    assert failure is not None
    assert (failure.kind, failure.retry, failure.sent) == (kind, retry, sent)


@pytest.mark.parametrize(
    ("reply", "kind", "retry"),
    [
        (Reply("fine"), None, None),
        (Reply("cut off in the mid", "length"), None, None),
        (Reply(" \n"), "empty", True),
        (Reply("", "length"), "empty", False),
        (Reply("I cannot", "refusal"), "refusal", False),
    ],
)
def test_an_answer_is_judged(reply: Reply, kind: str | None, retry: bool | None) -> None:
    failure = judge(reply)
    assert (failure and failure.kind, failure and failure.retry) == (kind, retry)


def _message(data: bytes, status: int = 400) -> str:
    failure = classify("openai", HttpReply(status, {}, data))
    assert isinstance(failure, Failure)
    return failure.message


def test_the_message_of_a_server_is_one_short_line_without_control_characters() -> None:
    message = _message(_openai("first\n\x1b[31msecond\x07 " + "x" * 5_000))
    assert "first [31msecond" in message
    assert message.isprintable()
    assert len(message) < 400


def test_a_page_of_html_is_not_quoted() -> None:
    assert "<" not in _message(b"<html><title>502</title></html>", 502)


@given(
    status=st.integers(100, 599),
    data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
    sent=st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), st.text(max_size=9)),
    family=st.sampled_from(["openai", "anthropic", "gemini", "ollama", "python"]),
)
def test_whatever_comes_is_classified(status: int, data: bytes, sent: dict[str, str], family: str) -> None:
    failure = classify(family, HttpReply(status, sent, data), now=NOW)
    assert (failure is None) == (200 <= status < 300) or b'"error"' in data


_KEYS = st.sampled_from(["error", "message", "code", "type", "status", "details", "detail"])
_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner),
)


@given(junk=_JUNK)
def test_an_error_of_any_shape_is_classified(junk: Any) -> None:
    for status in (200, 400, 429, 500):
        for value in (junk, {"error": junk}, [{"error": {"message": junk, "code": junk, "details": junk}}]):
            failure = classify("gemini", HttpReply(status, {}, body(value)), now=NOW)
            assert failure is None or (failure.message.isprintable() and len(failure.message) < 400)
