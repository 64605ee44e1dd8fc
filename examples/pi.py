"""A function to sweep: plain Python, nothing of Batchmill in it."""

import random
import time


def estimate(darts: int, repeat: int = 0) -> dict[str, float]:
    """Pi from darts thrown at a square: four times the share that hits the quarter circle."""
    time.sleep(0.5)  # the expensive part
    hits = sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(darts))
    return {"pi": 4 * hits / darts}
