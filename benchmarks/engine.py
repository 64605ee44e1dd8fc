"""No-op jobs through the whole engine, each result committed to disk before it counts as done, beside
`concurrent.futures.ProcessPoolExecutor`, which keeps nothing.

Prints the median of the rounds for both, and their ratio; then how long the same run takes to find that nothing is
left to do, and the driver's peak memory in the first round. With `--jobs 1000000 --rounds 1` it shows that memory does
not grow with the number of jobs, and that planning does not hold up running.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import batchmill

WORKERS = 2


def nothing(x: int) -> int:
    """Return the argument."""
    return x


def durable(jobs: int, home: Path) -> float:
    """Jobs a second through Batchmill, from the call to its return."""
    started = time.perf_counter()
    run = _run(jobs, home)
    seconds = time.perf_counter() - started
    assert run.counts["succeeded"] == jobs
    return jobs / seconds


def _run(jobs: int, home: Path) -> batchmill.Run:
    matrix = {"axes": {"x": {"range": [jobs]}}}
    return batchmill.run(nothing, matrix=matrix, workers=WORKERS, timeout=60, home=home, name="no-op", progress=False)


def pool(jobs: int) -> float:
    """Jobs a second through the pool of the standard library."""
    started = time.perf_counter()
    with ProcessPoolExecutor(WORKERS) as executor:
        assert sum(1 for _ in executor.map(nothing, range(jobs))) == jobs
    return jobs / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ours: list[float] = []
    theirs: list[float] = []
    again = peak = 0.0
    for _ in range(options.rounds):
        theirs.append(pool(min(options.jobs, 100_000) // 5))
        home = Path(tempfile.mkdtemp(prefix="batchmill-bench-"))
        try:
            ours.append(durable(options.jobs, home))
            peak = peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            started = time.perf_counter()
            _run(options.jobs, home)
            again = time.perf_counter() - started
        finally:
            shutil.rmtree(home)
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{options.jobs:,} no-op jobs, {WORKERS} workers, median of {options.rounds} rounds")
    print(f"batchmill, durability: power   {mine:10,.0f} jobs/s   {options.jobs / mine:6.1f} s")
    print(f"ProcessPoolExecutor.map        {other:10,.0f} jobs/s   (nothing is kept)")
    print(f"ratio                          {mine / other:10.2f}")
    print(f"the finished run again         {again:10.2f} s")
    print(f"peak memory of the driver      {peak:10.0f} MB")


if __name__ == "__main__":
    main()
