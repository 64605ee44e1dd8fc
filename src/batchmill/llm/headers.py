"""What the headers of replies tell of limits: how many requests and tokens in how long, and how long to wait.

Every value is a server's and may be nonsense; what cannot be read is not there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from batchmill import QuotaLimit, Rate
from batchmill.llm.providers.base import Seen
from batchmill.llm.transport import HttpReply

MINUTE, DAY = 60.0, 86_400.0
_LONGEST_WAIT = 7 * DAY
NOTHING = Seen()
REMAINING_REQUESTS, REMAINING_TOKENS = "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def seconds(text: str) -> float | None:
    """A span such as `6m0s`, `20ms`, `7.66s` or a bare number of seconds; None where it is none."""
    text = text.strip()
    bare = number(text)
    if bare is not None:
        return bare
    if text[-1:] == "s" and (bare := number(text[:-1])) is not None:  # the common form, and the regular one is slow
        return bare
    parts = _SPAN.findall(text)
    if not parts or _SPAN.sub("", text).strip():
        return None
    return sum(float(amount) * _UNITS[unit] for amount, unit in parts)


def number(text: str | None) -> float | None:
    """A finite number that is not negative, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds or an HTTP date, RFC 9110 10.2.3) asks to wait."""
    milliseconds = number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, _LONGEST_WAIT)
    text = headers.get("retry-after")
    if text is None:
        return None
    wait = seconds(text)
    if wait is None:
        try:
            wait = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError, OSError):
            return None
    return min(max(wait, 0.0), _LONGEST_WAIT)


def pause_of(reply: HttpReply, now: float) -> float:
    """Seconds that a refusal asks to wait; 0 where it says nothing."""
    return (retry_after(reply.headers, now) or 0.0) if reply.status >= 400 else 0.0


def left(
    limit: QuotaLimit, headers: Mapping[str, str], requests: str, tokens: str
) -> tuple[float | None, float | None]:
    """What is left of the requests and of the tokens a minute, from the headers of these names."""
    return (
        number(headers.get(requests)) if limit.rate else None,
        number(headers.get(tokens)) if limit.tokens else None,
    )


def openai_limits(headers: Mapping[str, str], requests_per: float = MINUTE) -> QuotaLimit | None:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` of OpenAI, Groq and most others.

    No header names the period. It is told by the reset, which is the time until the bucket is full again: the whole
    period times what is missing of the limit. Where nothing is missing yet, requests are per `requests_per` seconds.
    """
    get = headers.get
    requests, tokens = get("x-ratelimit-limit-requests"), get("x-ratelimit-limit-tokens")
    if requests or tokens:
        told = get(REMAINING_REQUESTS), get("x-ratelimit-reset-requests")
        requests_per = _period(requests, *told, requests_per)
        told = get(REMAINING_TOKENS), get("x-ratelimit-reset-tokens")
        return _limit(requests, requests_per, tokens, _period(tokens, *told, MINUTE))
    return _limit(
        get("x-ratelimit-limit-requests-minute"),
        MINUTE,
        get("x-ratelimit-limit-tokens-minute"),
        MINUTE,
        get("x-ratelimit-limit-requests-day"),
        get("x-ratelimit-limit-tokens-day"),
    )


def anthropic_limits(headers: Mapping[str, str]) -> QuotaLimit | None:
    """`anthropic-ratelimit-*`, all a minute: requests, and tokens in all, or in and out where only those are told."""
    tokens = headers.get("anthropic-ratelimit-tokens-limit") or headers.get("anthropic-ratelimit-input-tokens-limit")
    return _limit(headers.get("anthropic-ratelimit-requests-limit"), MINUTE, tokens, MINUTE)


def _period(limit: str | None, remaining: str | None, reset: str | None, otherwise: float) -> float:
    if not (limit and reset and remaining):
        return otherwise
    most, left, until = number(limit), number(remaining), seconds(reset)
    if most is None or left is None or not until or left >= most:
        return otherwise
    return DAY if until * most / (most - left) > DAY / 24 else MINUTE


@lru_cache(maxsize=256)
def _limit(
    requests: str | None,
    requests_per: float,
    tokens: str | None,
    tokens_per: float,
    day_requests: str | None = None,
    day_tokens: str | None = None,
) -> QuotaLimit | None:
    """The limit that the texts of headers tell: the same texts come with every reply, so it is made once."""
    rates: dict[str, Any] = {}
    for text, period, minute_name, day_name in (
        (requests, requests_per, "rate", "day_requests"),
        (tokens, tokens_per, "tokens", "day_tokens"),
        (day_requests, DAY, "rate", "day_requests"),
        (day_tokens, DAY, "tokens", "day_tokens"),
    ):
        amount = number(text)
        if amount is not None and amount >= 1:
            rates |= {day_name: int(amount)} if period == DAY else {minute_name: Rate(amount, period)}
    return QuotaLimit(**rates) if rates else None


def details_of(body: bytes) -> list[dict[str, Any]]:
    """The `error.details` of a Google API's error (google.rpc.Status), as far as they are objects."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if isinstance(answer, list) and answer:  # a stream's error comes in a list
        answer = answer[0]
    error = answer.get("error") if isinstance(answer, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def retry_info(details: list[dict[str, Any]]) -> float | None:
    """Seconds of `google.rpc.RetryInfo`."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and str(detail.get("@type", "")).endswith("RetryInfo"):
            wait = seconds(delay)
            return None if wait is None else min(wait, _LONGEST_WAIT)
    return None


def violations(details: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The name and the value of each quota that `google.rpc.QuotaFailure` says was exceeded."""
    lists = [detail.get("violations") for detail in details]
    found = [v for entries in lists if isinstance(entries, list) for v in entries if isinstance(v, dict)]
    return [(str(v.get("quotaId", "")), str(v.get("quotaValue", ""))) for v in found]


def google_limits(details: list[dict[str, Any]]) -> QuotaLimit | None:
    """What the violated quotas of a refusal tell: requests or input tokens, a minute or a day."""
    texts: dict[tuple[str, float], str] = {}
    for name, value in violations(details):
        period = DAY if "PerDay" in name else MINUTE if "PerMinute" in name else 0.0
        if period and value:
            texts["tokens" if "Token" in name else "requests", period] = value
    get = texts.get
    return _limit(
        get(("requests", MINUTE)),
        MINUTE,
        get(("tokens", MINUTE)),
        MINUTE,
        get(("requests", DAY)),
        get(("tokens", DAY)),
    )
