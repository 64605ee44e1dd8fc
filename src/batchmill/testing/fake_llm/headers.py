"""Header lines of replies: what is left of the limits, and when to come back, as the services write them."""

from __future__ import annotations

import math
from email.utils import formatdate

from batchmill.testing.fake_llm.behaviour import RetryAfter
from batchmill.testing.fake_llm.limits import Level, Quota


def limit_lines(family: str, quota: Quota, wall: float) -> str:
    """What a reply tells of its quota's limits; empty for families that do not tell."""
    lines = ""
    for what, bucket in (("requests", quota.requests), ("tokens", quota.tokens)):
        if bucket is not None and family == "openai":
            lines += _openai(what, bucket.level())
        elif bucket is not None and family == "anthropic":
            lines += _anthropic(what, bucket.level(), wall)
    return lines


def _openai(what: str, level: Level) -> str:
    return (
        f"x-ratelimit-limit-{what}: {level.limit}\r\nx-ratelimit-remaining-{what}: {level.remaining}\r\n"
        f"x-ratelimit-reset-{what}: {go_duration(level.reset)}\r\n"
    )


def _anthropic(what: str, level: Level, wall: float) -> str:
    names = (what,) if what == "requests" else (what, "input-tokens")
    return "".join(
        f"anthropic-ratelimit-{name}-limit: {level.limit}\r\n"
        f"anthropic-ratelimit-{name}-remaining: {level.remaining}\r\n"
        f"anthropic-ratelimit-{name}-reset: {_rfc3339(wall + level.reset)}\r\n"
        for name in names
    )


def go_duration(seconds: float) -> str:
    """As OpenAI writes spans of time: `120ms`, `6m0s`, `23h12m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def _rfc3339(wall: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(math.ceil(wall), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def wait_lines(wait: float, form: RetryAfter, wall: float) -> str:
    """`retry-after` and `retry-after-ms`: never less than the wait, whole seconds or milliseconds."""
    lines = ""
    if form in ("both", "seconds"):
        lines += f"retry-after: {math.ceil(wait)}\r\n"
    if form == "date":
        lines += f"retry-after: {formatdate(math.ceil(wall + wait), usegmt=True)}\r\n"
    if form in ("both", "ms"):
        lines += f"retry-after-ms: {math.ceil(wait * 1000)}\r\n"
    return lines
