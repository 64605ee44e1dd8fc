"""Power laws through measurements: y = c * n**b by least squares in logarithms, with a confidence interval of b."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them within 2 % of the normal's 1.96
_STUDENT = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
    2.042,
)
_NORMAL = 1.96


class PowerLaw(NamedTuple):
    """y = factor * n**exponent; the exponent lies within `low` and `high` with 95 % confidence."""

    exponent: float
    low: float
    high: float
    factor: float
    points: int


def power_law(sizes: Sequence[float], values: Sequence[float]) -> PowerLaw | None:
    """The fit through positive points; None for fewer than three of them or fewer than two sizes.

    Ordinary least squares of log y on log n; the interval is Student's, as if logarithms scattered evenly.
    """
    import numpy as np

    points = [(math.log(n), math.log(y)) for n, y in zip(sizes, values, strict=True) if n > 0 and y > 0]
    if len(points) < 3 or len({x for x, _ in points}) < 2:
        return None
    x, y = np.array(points).T
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    offset = float(y.mean()) - slope * float(x.mean())
    freedom = len(points) - 2
    residual = float(((y - offset - slope * x) ** 2).sum()) / freedom
    student = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _NORMAL
    half = student * math.sqrt(residual / spread)
    return PowerLaw(slope, slope - half, slope + half, math.exp(offset), len(points))
