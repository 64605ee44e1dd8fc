"""What would make a model identifiable: parameters to fix, states to measure, initial conditions to know.

Let N be the null space of the observability-identifiability matrix. To know an unknown exactly keeps the null vectors
whose entry for it is zero; to measure a state besides adds rows to the matrix. So each question is a rank. Every set
that is told was sufficient, and none of its proper subsets was, at two random points modulo two primes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

from batchmill.workloads.identifiability.combinations.lattice import echelon
from batchmill.workloads.identifiability.expressions import Symbol
from batchmill.workloads.identifiability.model import Model, Options
from batchmill.workloads.identifiability.sampling import Sample, Sampler

__all__ = ["Advice", "Means", "advise"]

MAX_SIZE = 3  # of the sets that are searched one and all
MAX_SETS = 50  # that are told

Names = tuple[str, ...]
_Effect = Callable[[Collection[str]], frozenset[str]]
"""The names that are determined when the given ones are known or measured."""


@dataclass(frozen=True)
class Means:
    """One kind of help. All `minimal` sets of up to MAX_SIZE names make all parameters locally identifiable.

    `exhaustive`: no other minimal set of up to MAX_SIZE names exists. Where only larger sets suffice, `minimal` holds
    one. `sufficient`: whether all candidates together suffice. `gains` maps each candidate to the further names that
    become determined with it alone (itself left out): who is confounded with whom.
    """

    minimal: tuple[Names, ...]
    sufficient: bool
    exhaustive: bool
    gains: Mapping[str, Names]


@dataclass(frozen=True)
class Advice:
    """Three kinds of help, and `rank_curve`: the rank after each order of output derivatives.

    `fix_parameters`: candidates are the non-identifiable parameters; all minimal sets have as many names as the null
    space projected on the parameters has dimensions. `measure_states`: candidates are the unobservable states, each
    as one more output. `know_initial_conditions`: the same states, their values at time 0 known and generic.
    """

    fix_parameters: Means
    measure_states: Means
    know_initial_conditions: Means
    rank_curve: tuple[int, ...]


def advise(model: Model, options: Options | None = None, seed: int = 0, time_limit: float = 2.0) -> Advice:
    """What would make all parameters locally identifiable, searched within about `time_limit` seconds.

    Raises Unsupported for models outside the method's scope.
    """
    model = (model if options is None else replace(model, options=options)).resolved()
    deadline = time.perf_counter() + time_limit
    plain = Sampler(model)
    drawn = [plain.draw(seed, prime=prime) for prime in islice(plain.primes(), 2)]
    determined = frozenset.intersection(*(sample.identifiable() for sample in drawn))
    wanted = frozenset(model.parameters)
    states = [name for name in model.states if name not in determined]
    known = _both([_knowing(sample) for sample in drawn])
    return Advice(
        fix_parameters=_search(known, [p for p in model.parameters if p not in determined], wanted, deadline),
        measure_states=_search(_measuring(model, states, seed, wanted - determined), states, wanted, deadline),
        know_initial_conditions=_search(known, states, wanted, deadline),
        rank_curve=tuple(max([sample.curve() for sample in drawn], key=max)),
    )


def _both(effects: Sequence[_Effect]) -> _Effect:
    return lambda names: frozenset.intersection(*(effect(names) for effect in effects))


def _knowing(sample: Sample) -> _Effect:
    vectors, width = sample.null_space(), len(sample.names)
    column = {name: i for i, name in enumerate(sample.names)}

    def effect(names: Collection[str]) -> frozenset[str]:
        first = [column[name] for name in names]
        order = first + [i for i in range(width) if i not in set(first)]
        rows, pivots = echelon([[vector[i] for i in order] for vector in vectors], width, sample.prime)
        left = [row for row, pivot in zip(rows, pivots, strict=True) if pivot >= len(first)]
        moving = {sample.names[i] for row in left for i, value in zip(order, row, strict=True) if value}
        return frozenset(sample.names) - moving

    return effect


def _measuring(model: Model, states: Sequence[str], seed: int, open_parameters: Collection[str]) -> _Effect:
    if not states or not open_parameters:
        return lambda names: frozenset(model.parameters) - frozenset(open_parameters) | frozenset(names)
    output_of = {state: f"measured {state}" for state in states}  # a blank keeps the name apart from the model's own
    sampler = Sampler(model, extra={output: Symbol(state) for state, output in output_of.items()})
    drawn = [sampler.draw(seed, prime=prime) for prime in islice(sampler.primes(), 2)]

    def effect(names: Collection[str]) -> frozenset[str]:
        outputs = {*model.outputs, *(output_of[name] for name in names)}
        return frozenset.intersection(*(sample.identifiable(outputs=outputs) for sample in drawn))

    return effect


def _search(effect: _Effect, candidates: Sequence[str], wanted: frozenset[str], deadline: float) -> Means:
    """The minimal sets of candidates whose effect covers what is wanted."""
    before = effect(())
    if wanted <= before:
        return Means((), True, True, {})
    gains = {name: tuple(sorted(effect((name,)) - before - {name})) for name in candidates}
    if not wanted <= effect(candidates):
        return Means((), False, True, gains)
    found, exhaustive = _small_sets(effect, candidates, wanted, deadline)
    return Means(tuple(found or [_trimmed(effect, candidates, wanted)]), True, exhaustive, gains)


def _small_sets(
    effect: _Effect, candidates: Sequence[str], wanted: frozenset[str], deadline: float
) -> tuple[list[Names], bool]:
    """Minimal sufficient sets by size, and whether these are all up to MAX_SIZE."""
    found: list[Names] = []
    for size in range(1, min(MAX_SIZE, len(candidates)) + 1):
        for names in combinations(candidates, size):
            if any(set(smaller) <= set(names) for smaller in found):
                continue
            if len(found) == MAX_SETS or time.perf_counter() > deadline:
                return found, False
            if wanted <= effect(names):
                found.append(names)
    return found, True


def _trimmed(effect: _Effect, candidates: Sequence[str], wanted: frozenset[str]) -> Names:
    """A minimal sufficient set: all candidates, less each one that is not needed."""
    kept = list(candidates)
    for name in candidates:
        fewer = [other for other in kept if other != name]
        if wanted <= effect(fewer):
            kept = fewer
    return tuple(kept)
