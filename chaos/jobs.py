"""The jobs of the chaos run: each tells a file that it was executed, and returns what anybody can check."""

from __future__ import annotations

import time


def work(number: int, log: str, seconds: float = 0.002) -> dict[str, int]:
    """Append `number` to `log` in one write, spend a little time, and return its square."""
    with open(log, "ab", buffering=0) as file:
        file.write(f"{number}\n".encode())
    time.sleep(seconds)
    return {"number": number, "square": number * number}
