"""Prints the median time of an analysis, in a warm process, for the bundled models or those in given files; of single-
output Michaelis-Menten chains, the worst case; and how many small models a second go through the whole engine.

With `--strikepy SECONDS`, each model is analysed by StrikePy as well, in a process with that time limit, both with
inputs of one non-zero derivative (install `batchmill[bench]`).

python -m benchmarks.identifiability [FILE.yaml ...] [--repeat 9] [--strikepy 120]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import batchmill
from batchmill.workloads.identifiability import task
from batchmill.workloads.identifiability.analysis import Verdict, analyse
from batchmill.workloads.identifiability.catalogue import bundled_names, find_model, list_models
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.parser import parse

CHAINS = (30, 60)  # states
SMALL = ("C2M", "lotka_volterra", "sir_covid", "llw1987", "Bolie", "calibration_single")
JOBS = 1500


def measure(model: Model, repeat: int) -> tuple[Verdict, float]:
    """The verdict, and the median of the seconds that it took."""
    verdict = analyse(model)
    times = []
    for seed in range(repeat):
        started = time.perf_counter()
        analyse(model, seed)
        times.append(time.perf_counter() - started)
    return verdict, statistics.median(times)


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
    """What StrikePy took, and how often ours fits into that."""
    command = [sys.executable, "-m", "benchmarks._strikepy", reference]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"over {limit:.0f} s"
    if done.returncode:
        return "fails: " + (done.stderr.strip().splitlines() or ["?"])[-1][:60]
    theirs = json.loads(done.stdout.splitlines()[-1])
    ramps = replace(model, options=replace(model.options, nonzero_input_derivatives=1))
    verdict, ours = measure(ramps, repeat)
    same = set(theirs["identifiable"]) == verdict.identifiable & set(model.parameters)
    return f"{theirs['seconds']:9.2f} s  {theirs['seconds'] / ours:8.0f} x  {'' if same else 'another verdict'}"


def throughput(workers: int) -> float:
    """Small models a second through the engine, ledger included."""
    with tempfile.TemporaryDirectory() as home:
        axes = {"model": list(SMALL), "repeat": {"range": [JOBS // len(SMALL)]}}
        started = time.perf_counter()
        run = batchmill.run(
            task,
            matrix={"axes": axes, "base_params": {"combinations": False}},
            workers=workers,
            timeout=60,
            home=Path(home),
            name="small",
            progress=False,
        )
        seconds = time.perf_counter() - started
        assert run.counts["succeeded"] == JOBS
    return JOBS / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE.yaml")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--strikepy", type=float, default=0, metavar="SECONDS")
    options = parser.parse_args()
    if options.strikepy and importlib.util.find_spec("StrikePy") is None:
        parser.error("StrikePy is not installed: pip install 'batchmill[bench]'")
    references = [reference for path in options.files for reference in list_models(path)] or bundled_names()
    print(f"{'model':32} {'states':>6} {'unknowns':>8} {'rank':>5} {'order':>5} {'median ms':>10}")
    for reference in references:
        model = find_model(reference)
        line = _line(model, options.repeat)
        beside = options.strikepy and not model.unknown_inputs and not model.options.known
        print(line, beside_strikepy(reference, model, options.strikepy, options.repeat) if beside else "", flush=True)
    for size in CHAINS:
        print(_line(chain(size), 3), flush=True)
    for workers in (1, 2):
        print(f"{throughput(workers):.0f} small models a second with {workers} workers", flush=True)


def _line(model: Model, repeat: int) -> str:
    try:
        verdict, seconds = measure(model, repeat)
    except Unsupported as error:
        return f"{model.name:32} {len(model.states):6} not analysed: {error}"
    counts = f"{len(model.states):6} {verdict.n_unknowns:8} {verdict.rank:5} {verdict.order:5}"
    return f"{model.name:32} {counts} {1000 * seconds:10.2f}"


if __name__ == "__main__":
    main()
