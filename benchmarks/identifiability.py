"""Prints how long an analysis takes in a warm process (the least and the median of some), and how long the search for
combinations: for given models (files, `FILE#id`, names of bundled ones), or else for the published models of the shared
data folder and the bundled ones. In that case then for single-output Michaelis-Menten chains, the worst case; how long
hostile files take to be refused; and how many small models a second go through the whole engine, its ledger included.

With `--strikepy SECONDS` each model is analysed by StrikePy too (install `batchmill[bench]`), within so much CPU time,
both with inputs of one non-zero derivative; known initial values are beyond it. The ratio is one of CPU times, so that
it means the same on a busy machine.

python -m benchmarks.identifiability [MODEL ...] [--repeat 9] [--strikepy 120]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import batchmill
from batchmill.workloads.identifiability import task
from batchmill.workloads.identifiability.analysis import Verdict, analyse
from batchmill.workloads.identifiability.catalogue import bundled_names, find_model, list_models
from batchmill.workloads.identifiability.combinations import find
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.parser import parse

SHARED = Path(os.environ.get("BATCHMILL_SHARED") or Path(__file__).parents[2] / "shared")
PUBLISHED = SHARED / "data" / "identifiability" / "published-models.yaml"
CHAINS = (30, 60)  # states
SMALL = ("C2M", "lotka_volterra", "sir_covid", "llw1987", "Bolie", "calibration_single")
JOBS = 1500
QUICK, QUICK_RUNS = 5.0, 3  # seconds of StrikePy, below which it runs so often


class Measured(NamedTuple):
    """A verdict, and the least and the median of the seconds that it took."""

    verdict: Verdict
    least: float
    median: float


def measure(model: Model, repeat: int, clock: Callable[[], float] = time.perf_counter) -> Measured:
    """Analyse a model so many times, at other random points each, after once to warm up."""
    verdict = analyse(model)
    gc.freeze()  # as in a worker
    times = []
    for seed in range(repeat):
        started = clock()
        analyse(model, seed)
        times.append(clock() - started)
    return Measured(verdict, min(times), statistics.median(times))


def chain(size: int) -> Model:
    """A chain of Michaelis-Menten steps with an input at its head; the last state is measured."""
    flows = [f"k{i}*x{i}/(1 + x{i})" for i in range(1, size + 1)]
    odes = {f"x{i + 1}": f"{flows[i - 1] if i else 'u'} - {flows[i]}" for i in range(size)}
    return Model(
        name=f"chain of {size}",
        states=tuple(odes),
        parameters=tuple(f"k{i}" for i in range(1, size + 1)),
        inputs=("u",),
        unknown_inputs=(),
        odes={name: parse(text).expression for name, text in odes.items()},
        outputs={"y": parse(f"x{size}").expression},
    )


def beside_strikepy(reference: str, model: Model, limit: float, repeat: int) -> str:
    """What StrikePy took, and how often ours fits into that: of both the least of several turns, where it is quick."""
    if model.options.known:
        return "no known initial values there"
    command = [sys.executable, "-m", "benchmarks._strikepy", reference, str(limit)]
    alike = replace(model, options=replace(model.options, nonzero_input_derivatives=1, unknown_input_derivatives=1))
    theirs, ours, same = list[float](), list[float](), True
    while not theirs or (len(theirs) < QUICK_RUNS and theirs[-1] < QUICK):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == -signal.SIGXCPU:
            return f"over {limit:.0f} s"
        if done.returncode:
            return f"fails with {done.returncode}: " + (done.stderr.strip().splitlines() or ["?"])[-1][:60]
        answer, measured = json.loads(done.stdout.splitlines()[-1]), measure(alike, repeat, time.process_time)
        theirs.append(answer["seconds"])
        ours.append(measured.least)
        same &= set(answer["identifiable"]) == measured.verdict.identifiable & set(model.parameters)
    ratio = f"{min(theirs) / min(ours):8.0f} x"
    return f"{min(theirs):9.2f} s {1000 * min(ours):7.2f} ms {ratio}  {'' if same else 'another verdict'}"


def combinations(model: Model) -> str:
    """How many were found of how many, and the seconds that it took; nothing where all is identifiable."""
    started = time.perf_counter()
    found = find(model)
    seconds = time.perf_counter() - started
    return f"{found.found} of {found.expected} in {seconds:.2f} s" if found.components else ""


def slowest_refusal() -> str:
    """Of the hostile model files that the tests hold: which takes the most CPU time to refuse, and how much."""
    from tests.identifiability.formats.test_hostile import HOSTILE

    times = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text, _ in HOSTILE:
            path = Path(folder) / name
            path.write_bytes(text.encode() if isinstance(text, str) else text)
            started = time.process_time()
            with contextlib.suppress(batchmill.ManifestError):
                find_model(str(path))
            times[name] = time.process_time() - started
    slowest = max(times, key=times.__getitem__)
    return f"{len(times)} hostile files; the slowest, {slowest}, is refused after {times[slowest]:.2f} s"


class Throughput(NamedTuple):
    """Verdicts on small models through the engine, ledger included: in a second, and in a second of all CPU time."""

    a_second: float
    a_cpu_second: float


def throughput(workers: int) -> Throughput:
    """Measure it with so many workers. Exits when a job does not succeed."""
    with tempfile.TemporaryDirectory() as home:
        axes = {"model": list(SMALL), "repeat": {"range": [JOBS // len(SMALL)]}}
        started, cpu = time.perf_counter(), _cpu_seconds()
        run = batchmill.run(
            task,
            matrix={"axes": axes, "base_params": {"combinations": False, "symmetries": False}},
            workers=workers,
            timeout=60,
            home=Path(home),
            name="small",
            progress=False,
        )
        seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
        if run.counts["succeeded"] != JOBS:
            sys.exit(f"not all of {JOBS} jobs succeeded: {_told(run)}")
    return Throughput(JOBS / seconds, JOBS / cpu)


def _cpu_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _told(run: batchmill.Run) -> str:
    errors = Counter(f"{job.state} {job.error}" for job in run.results() if job.state != "succeeded")
    return f"the run is {run.state} ({run.reason or 'no reason'}), its jobs {run.counts}; {errors.most_common(5)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--strikepy", type=float, default=0, metavar="SECONDS")
    options = parser.parse_args()
    if options.strikepy and importlib.util.find_spec("StrikePy") is None:
        parser.error("StrikePy is not installed: pip install 'batchmill[bench]'")
    print(f"{'model':32} states unknowns  rank order least ms median ms  combinations          StrikePy, ours, ratio")
    for reference in _references(options.models):
        model = find_model(reference)
        parts = [_line(model, options.repeat), f"{combinations(model):20}"]
        if options.strikepy:
            parts.append(beside_strikepy(reference, model, options.strikepy, options.repeat))
        print("  ".join(parts).rstrip(), flush=True)
    if options.models:
        return
    for size in CHAINS:
        print(_line(chain(size), 3), flush=True)
    print(slowest_refusal(), flush=True)
    for workers in (1, 2):
        rate, of_cpu = throughput(workers)
        print(f"{rate:.0f} small models a second with {workers} workers, {of_cpu:.0f} a second of CPU", flush=True)


def _references(models: Sequence[str]) -> list[str]:
    """Those of the models in files; of the published and the bundled ones, where none are given."""
    published = [str(PUBLISHED)] if PUBLISHED.exists() else []
    given = models or [*published, *bundled_names()]
    return [reference for name in given for reference in (list_models(name) if Path(name).is_file() else [name])]


def _line(model: Model, repeat: int) -> str:
    try:
        verdict, least, median = measure(model, repeat)
    except Unsupported as error:
        return f"{model.name:32} {len(model.states):6} not analysed: {error}"
    counts = f"{len(model.states):6} {verdict.n_unknowns:8} {verdict.rank:5} {verdict.order:5}"
    return f"{model.name:32} {counts} {1000 * least:8.2f} {1000 * median:9.2f}"


if __name__ == "__main__":
    main()
