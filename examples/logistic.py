"""The logistic map: where does x -> growth * x * (1 - x) end?"""


def logistic(growth: float, start: float = 0.5, steps: int = 1000) -> dict[str, float | int]:
    """The last value, and how many values the map goes on to take."""
    x = start
    for _ in range(steps):
        x = growth * x * (1 - x)
    orbit = set()
    for _ in range(64):
        x = growth * x * (1 - x)
        orbit.add(round(x, 6))
    return {"last": x, "distinct_values": len(orbit)}
