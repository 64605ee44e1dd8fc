"""A function for a first batch: its arguments are the parameters of a job, what it returns is the job's result."""


def logistic_map(growth: float, start: float = 0.5, steps: int = 1000) -> dict[str, float | int]:
    """Iterate x -> growth * x * (1 - x): where does it end, and how many values does it go on to take?"""
    x = start
    for _ in range(steps):
        x = growth * x * (1 - x)
    orbit = set()
    for _ in range(64):
        x = growth * x * (1 - x)
        orbit.add(round(x, 6))
    return {"last": x, "distinct_values": len(orbit)}
