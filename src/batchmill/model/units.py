"""Durations, sizes, money, rates and shares as people write them: `300s`, `2GB`, `5 USD`, `30/min`, `10%`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from batchmill.model.limits import MICRO_CENTS_PER_USD, Failures, Rate

_SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
}
_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_MAX_TEXT = 100  # longer texts are no units; the patterns backtrack on them


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) and len(value) <= _MAX_TEXT else ""


def _shown(value: Any) -> str:
    if not isinstance(value, str | int | float):
        return "{...}" if isinstance(value, dict) else "[...]" if isinstance(value, list) else str(type(value).__name__)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _positive(value: Any, what: str) -> float:
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{what} must be above zero")
    return float(value)


def duration(value: Any) -> float:
    """Seconds, from a number of seconds or a text such as `90s`, `1h30m`, `2 days`. Raises ValueError."""
    if _is_number(value):
        return _positive(value, "a duration")
    text = _text(value).lower()
    parts = re.findall(rf"({_NUMBER})\s*([a-z]*)", text)
    if not parts or re.sub(rf"{_NUMBER}\s*[a-z]*\s*", "", text):
        raise ValueError(f"`{_shown(value)}` is not a duration: write it as `90s`, `15min` or `1h30m`")
    unknown = [unit for _, unit in parts if unit not in _SECONDS and (unit or len(parts) > 1)]
    if unknown:
        raise ValueError(f"`{unknown[0] or _shown(value)}` is not a unit of time: use ms, s, min, h or days")
    return _positive(sum(float(n) * _SECONDS.get(unit, 1.0) for n, unit in parts), "a duration")


def grace(value: Any) -> float:
    """Seconds as `duration` reads them, or 0. Raises ValueError."""
    return 0.0 if _is_number(value) and value == 0 else duration(value)


def size(value: Any) -> int:
    """Bytes, from a number of bytes or a text such as `500MB`, `2 GiB`. Raises ValueError."""
    if _is_number(value):
        return int(_positive(value, "a size"))
    match = re.fullmatch(rf"({_NUMBER})\s*([a-zA-Z]*)", _text(value))
    if match is None or (match[2] or "b").lower() not in _BYTES:
        raise ValueError(f"`{_shown(value)}` is not a size: write it as `500MB` or `2GiB`")
    return int(_positive(float(match[1]) * _BYTES[(match[2] or "b").lower()], "a size"))


def money(value: Any) -> int:
    """Micro-cents, from a text such as `5 USD`, or a number of US dollars. Raises ValueError."""
    text = str(value) if _is_number(value) else _text(value)
    match = re.fullmatch(rf"\$?\s*({_NUMBER})\s*(?:USD|usd)?", text)
    if match is None:
        raise ValueError(f"`{_shown(value)}` is not an amount of money: write it as `5 USD`")
    return int(Decimal(match[1]) * MICRO_CENTS_PER_USD)


def rate(value: Any) -> Rate:
    """A Rate, from a text such as `30/min`, `5/s` or `1000/day`. Raises ValueError."""
    if isinstance(value, Rate):
        return value
    match = re.fullmatch(rf"({_NUMBER})\s*/\s*({_NUMBER})?\s*([a-zA-Z]+)", _text(value))
    if match is None or match[3].lower() not in _SECONDS:
        raise ValueError(f"`{_shown(value)}` is not a rate: write it as `30/min` or `5/s`")
    seconds = float(match[2] or 1) * _SECONDS[match[3].lower()]
    return Rate(_positive(float(match[1]), "a rate"), _positive(seconds, "a rate's time"))


def failures(value: Any) -> Failures:
    """How many failures stop a run, from a whole number or a text such as `10%`. Raises ValueError."""
    if isinstance(value, Failures):
        return value
    if share := re.fullmatch(rf"({_NUMBER})\s*%", _text(value)):
        if float(share[1]) <= 100:
            return Failures(fraction=float(share[1]) / 100)
    elif re.fullmatch("[0-9]+", _text(value)):
        return Failures(number=int(value))
    elif _is_number(value) and isinstance(value, int) and value >= 0:
        return Failures(number=value)
    raise ValueError(f"`{_shown(value)}` is not a number of failures: write it as `5` or `10%`")


def number(value: Any) -> int | float:
    """A finite number as it is. Raises ValueError."""
    if not _is_number(value):
        raise ValueError(f"`{_shown(value)}` is not a number")
    return value  # type: ignore[no-any-return]
