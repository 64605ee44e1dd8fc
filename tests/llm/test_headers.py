"""What headers tell of limits, in the words of each service."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill import QuotaLimit, Rate
from batchmill.llm import headers
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Seen
from batchmill.llm.providers.gemini import Gemini
from batchmill.llm.providers.ollama import Ollama
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.transport import HttpReply
from tests.llm.providers.bodies import body

NOW = 1_700_000_000.0


def _openai(what: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": limit,
        f"x-ratelimit-remaining-{what}": remaining,
        f"x-ratelimit-reset-{what}": reset,
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("23h12m0s", 83_520.0),
        ("1d2h", 93_600.0),
        ("36", 36.0),
        ("0s", 0.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("5 parsecs", None),
    ],
)
def test_spans_of_time_are_read_as_services_write_them(text: str, seconds: float | None) -> None:
    found = headers.seconds(text)
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("sent", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "120", "retry-after": "1"}, 0.12),
        ({"retry-after-ms": "much", "retry-after": "1"}, 1.0),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 7 * 86_400.0),
        ({"retry-after": "1e99"}, 7 * 86_400.0),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_milliseconds_or_a_date(sent: dict[str, str], wait: float | None) -> None:
    assert headers.retry_after(sent, NOW) == wait


LIMITS: list[tuple[str, dict[str, str], QuotaLimit]] = [
    (
        "OpenAI: both a minute",
        _openai("requests", "60", "59", "1s") | _openai("tokens", "150000", "149984", "6ms"),
        QuotaLimit(Rate(60, 60), Rate(150_000, 60)),
    ),
    (
        "OpenAI's free tier: requests a day, told by their reset",
        _openai("requests", "200", "199", "7m12s") | _openai("tokens", "60000", "59000", "1s"),
        QuotaLimit(None, Rate(60_000, 60), day_requests=200),
    ),
    (
        "Groq: requests a day",
        _openai("requests", "14400", "14370", "2m59.56s") | _openai("tokens", "18000", "17997", "7.66ms"),
        QuotaLimit(None, Rate(18_000, 60), day_requests=14_400),
    ),
    (
        "Cerebras: named by their period",
        {
            "x-ratelimit-limit-requests-day": "1440",
            "x-ratelimit-limit-tokens-minute": "6000",
            "x-ratelimit-remaining-requests-day": "1000",
        },
        QuotaLimit(None, Rate(6_000, 60), day_requests=1_440),
    ),
    ("requests alone", {"x-ratelimit-limit-requests": "600"}, QuotaLimit(Rate(600, 60))),
]


@pytest.mark.parametrize(("name", "sent", "limit"), LIMITS, ids=[name for name, *_ in LIMITS])
def test_the_period_of_a_limit_is_told_by_its_reset(name: str, sent: dict[str, str], limit: QuotaLimit) -> None:
    assert headers.openai_limits(sent) == limit


def test_where_the_reset_tells_nothing_groq_counts_requests_by_the_day() -> None:
    sent = _openai("requests", "14400", "14400", "0s")
    assert headers.openai_limits(sent) == QuotaLimit(Rate(14_400, 60))
    assert OpenAI(requests_per=headers.DAY).seen(HttpReply(200, sent, b""), NOW).limit == QuotaLimit(
        day_requests=14_400
    )


@pytest.mark.parametrize("nonsense", ["", "-5", "many", "nan", "inf", "0", "1e400"])
def test_a_limit_that_is_no_number_is_not_there(nonsense: str) -> None:
    assert headers.openai_limits({"x-ratelimit-limit-requests": nonsense}) is None


def test_what_is_left_of_the_limits_a_minute_is_told_too() -> None:
    sent = _openai("requests", "600", "9", "100ms") | _openai("tokens", "60000", "59000", "1s")
    seen = OpenAI().seen(HttpReply(200, sent, b""), NOW)
    assert seen == Seen(QuotaLimit(Rate(600, 60), Rate(60_000, 60)), 0.0, 9.0, 59_000.0)


def test_what_is_left_of_a_day_is_not_taken_for_what_is_left_of_a_minute() -> None:
    seen = OpenAI().seen(HttpReply(200, _openai("requests", "14400", "14370", "2m59.56s"), b""), NOW)
    assert seen == Seen(QuotaLimit(day_requests=14_400))


def test_anthropic_names_its_limits_in_its_own_way() -> None:
    sent = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2025-01-01T00:00:02Z",
        "anthropic-ratelimit-input-tokens-limit": "30000",
        "anthropic-ratelimit-output-tokens-limit": "8000",
        "anthropic-ratelimit-tokens-limit": "38000",
        "anthropic-ratelimit-tokens-remaining": "37000",
    }
    seen = Anthropic().seen(HttpReply(200, sent, b""), NOW)
    assert seen == Seen(QuotaLimit(Rate(50, 60), Rate(38_000, 60)), 0.0, 49.0, 37_000.0)
    del sent["anthropic-ratelimit-tokens-limit"]
    assert headers.anthropic_limits(sent) == QuotaLimit(Rate(50, 60), Rate(30_000, 60))


def gemini_429(*quotas: tuple[str, str], delay: str = "36s") -> bytes:
    return body(
        {
            "error": {
                "code": 429,
                "message": "You exceeded your current quota, please check your plan and billing details.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                        "violations": [{"quotaId": name, "quotaValue": value} for name, value in quotas],
                    },
                    {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
                ],
            }
        }
    )


def test_gemini_tells_its_limits_and_the_wait_in_the_body_of_a_refusal() -> None:
    minute = ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "10")
    tokens = ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000")
    seen = Gemini().seen(HttpReply(429, {}, gemini_429(minute, tokens)), NOW)
    assert seen == Seen(QuotaLimit(Rate(10, 60), Rate(250_000, 60)), 36.0)


def test_a_day_of_gemini_is_a_limit_of_the_day() -> None:
    day = ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250")
    assert Gemini().seen(HttpReply(429, {}, gemini_429(day)), NOW).limit == QuotaLimit(day_requests=250)


@pytest.mark.parametrize("provider", [OpenAI(), Anthropic(), Gemini(), Ollama()])
def test_only_a_refusal_asks_to_wait(provider: OpenAI | Anthropic | Gemini | Ollama) -> None:
    sent = {"retry-after": "3"}
    assert provider.seen(HttpReply(503, sent, b""), NOW) == Seen(None, 3.0)
    assert provider.seen(HttpReply(200, sent, b""), NOW) == Seen()


@given(text=st.text(max_size=30) | st.from_regex(r"[0-9.]{0,400}(ms|s|m|h|d)?", fullmatch=True))
def test_whatever_a_header_holds_it_is_read_without_an_error(text: str) -> None:
    found = headers.seconds(text)
    assert found is None or found >= 0
    wait = headers.retry_after({"retry-after": text, "retry-after-ms": text}, NOW)
    assert wait is None or 0 <= wait <= 7 * 86_400
    headers.openai_limits(_openai("requests", text, text, text) | _openai("tokens", text, "1", text))


_KEYS = st.sampled_from(["error", "details", "violations", "quotaId", "quotaValue", "retryDelay", "@type"])
_JUNK = st.recursive(
    st.none() | st.text(max_size=9) | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner),
)


@given(junk=_JUNK)
def test_whatever_a_refusal_of_gemini_holds_it_is_read_without_an_error(junk: object) -> None:
    for said in (junk, {"error": {"details": [junk, {"violations": [junk]}]}}):
        seen = Gemini().seen(HttpReply(429, {}, body(said)), NOW)
        assert seen.pause >= 0.0
