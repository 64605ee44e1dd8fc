"""How long the fake service takes to answer: a seeded distribution, written as a short text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from batchmill.model.units import duration

_NORMAL = NormalDist()
_FORMS = "`50ms`, `10ms-90ms`, `exponential:50ms` or `lognormal:50ms:0.5`"


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds: `fixed` a, `uniform` from a to b, `exponential` of mean a, `lognormal` of median a and sigma b."""

    shape: Literal["fixed", "uniform", "exponential", "lognormal"] = "fixed"
    a: float = 0.0
    b: float = 0.0

    def at(self, u: float) -> float:
        """The seconds at the quantile `u`, 0 <= u < 1."""
        if self.shape == "fixed":
            return self.a
        if self.shape == "uniform":
            return self.a + (self.b - self.a) * u
        if self.shape == "exponential":
            return -self.a * math.log1p(-u)
        return self.a * math.exp(self.b * _NORMAL.inv_cdf(min(max(u, 1e-12), 1 - 1e-12)))


def latency(value: Latency | float | str) -> Latency:
    """A latency from seconds or a text. Raises ValueError, with the forms there are."""
    if isinstance(value, Latency):
        return value
    if isinstance(value, int | float):
        if not 0 <= value < math.inf:
            raise ValueError(f"`{value}` is no latency: it must be finite and not negative")
        return Latency("fixed", float(value))
    try:
        return _parse(value.strip())
    except ValueError as error:
        raise ValueError(f"`{value}` is no latency ({error}): write it as {_FORMS}") from None


def _parse(text: str) -> Latency:
    if text in ("0", "0s", "0ms"):
        return Latency()
    shape, colon, rest = text.partition(":")
    if colon and shape == "exponential":
        return Latency("exponential", duration(rest))
    if colon and shape == "lognormal":
        median, _, sigma = rest.partition(":")
        return Latency("lognormal", duration(median), float(sigma or 0.5))
    low, dash, high = text.partition("-")
    return Latency("uniform", duration(low), duration(high)) if dash else Latency("fixed", duration(text))
