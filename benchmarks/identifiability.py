"""Prints the median time of an analysis, in a warm process, for the bundled models or those in given files.

python benchmarks/identifiability.py [FILE.yaml ...] [--repeat 9]
"""

from __future__ import annotations

import argparse
import statistics
import time

from batchmill.workloads.identifiability.analysis import Verdict, analyse
from batchmill.workloads.identifiability.catalogue import bundled_names, find_model, list_models
from batchmill.workloads.identifiability.model import Model, Unsupported


def measure(model: Model, repeat: int) -> tuple[Verdict, float]:
    """The verdict, and the median of the seconds that it took."""
    verdict = analyse(model)
    times = []
    for seed in range(repeat):
        started = time.perf_counter()
        analyse(model, seed)
        times.append(time.perf_counter() - started)
    return verdict, statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE.yaml")
    parser.add_argument("--repeat", type=int, default=9)
    options = parser.parse_args()
    references = [reference for path in options.files for reference in list_models(path)] or bundled_names()
    print(f"{'model':32} {'states':>6} {'unknowns':>8} {'rank':>5} {'order':>5} {'median ms':>10}")
    for reference in references:
        model = find_model(reference)
        try:
            verdict, seconds = measure(model, options.repeat)
        except Unsupported as error:
            print(f"{model.name:32} {len(model.states):6} not analysed: {error}")
            continue
        counts = f"{len(model.states):6} {verdict.n_unknowns:8} {verdict.rank:5} {verdict.order:5}"
        print(f"{model.name:32} {counts} {1000 * seconds:10.2f}")


if __name__ == "__main__":
    main()
