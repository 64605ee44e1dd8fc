"""Local structural identifiability and observability from ranks of Taylor coefficients modulo primes.

The rows are Taylor coefficients of the outputs' sensitivities (`taylor`), at points that `sampling` draws; their rank
is that of the observability-identifiability matrix. A variable is identifiable where its row of the null space is
zero.

A rank modulo a prime, at a point, never exceeds the true one: errors are one-sided. It falls short where a minor
that is not zero happens to vanish, with a probability of at most (degree of the minor) / prime at a random point
(J. T. Schwartz, J. ACM 27 (1980) 701-717; R. Zippel, EUROSAM 1979). So a full rank is proved by one point, unless
unknown inputs were eliminated, whose own rank may fall short. Else the highest rank counts, and it must come out for
two primes and random points. `error_probability` is the square of that bound for the minors of a verdict: one for the
rank, and one for each variable. It leaves out that a prime may divide every coefficient of a minor, which two fixed
primes of 30 bits hardly ever do. At specific initial values there is also no proof that later derivatives add nothing
(see `Sampler`), nor for free unknown inputs.
"""

from __future__ import annotations

from typing import NamedTuple

from batchmill.workloads.identifiability.model import Model
from batchmill.workloads.identifiability.sampling import PRIMES, Sample, Sampler

__all__ = ["PRIMES", "Sample", "Sampler", "Verdict", "analyse", "sample"]


class Verdict(NamedTuple):
    """What an analysis found. `order` is that of the highest output derivative that added to the rank."""

    n_unknowns: int
    rank: int
    order: int
    identifiable: frozenset[str]  # parameters, and states whose initial value is observable or given
    reconstructible: frozenset[str] = frozenset()  # unknown inputs
    error_probability: float = 0.0


def analyse(model: Model, seed: int = 0) -> Verdict:
    """The verdict on a model under its options: full rank, or the highest that two primes and points agree on.

    Raises Unsupported for models outside the method's scope.
    """
    sampler = Sampler(model)
    seen: list[Verdict] = []
    for drawn in sampler.samples(seed):
        verdict = _verdict(drawn)
        if verdict.rank == verdict.n_unknowns and not drawn.unknown_inputs:
            return verdict
        if verdict in seen and verdict.rank == max(v.rank for v in seen):
            return verdict._replace(error_probability=sampler.failure_probability(verdict.order, drawn.prime) ** 2)
        seen.append(verdict)
    raise ArithmeticError("no two primes agree on the rank")


def sample(model: Model, seed: int = 0) -> Sample:
    """The observability-identifiability matrix of a model under its options at one random point."""
    return next(Sampler(model).samples(seed))


def _verdict(drawn: Sample) -> Verdict:
    curve, count = drawn.curve(), len(drawn.unknowns)
    identifiable = frozenset(drawn.names) if curve[-1] == count else drawn.identifiable()
    return Verdict(count, curve[-1], len(curve) - 1, identifiable, drawn.reconstructible())
