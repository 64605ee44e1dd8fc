"""What would make a model identifiable: parameters to fix, states to measure, initial conditions to know.

Which sets are enough is decided inside the null space (`studies.subsets`): every set that is told was sufficient, and
none of its proper subsets was, at two random points modulo two primes. How many sets are tried is counted, not timed:
the same model has the same advice everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from batchmill.workloads.identifiability.expressions import Symbol
from batchmill.workloads.identifiability.model import Model, Options
from batchmill.workloads.identifiability.sampling import Sampler
from batchmill.workloads.identifiability.studies.subsets import Candidate, Study

__all__ = ["Advice", "Means", "advise"]

MAX_SIZE = 3  # of the sets that are searched one and all
MAX_SETS = 50  # that are told
MAX_TESTED = 20_000  # sets of each kind: some seconds
MAX_ELIMINATED = 1_000  # with unknown inputs, which each set eliminates anew

Names = tuple[str, ...]


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


_NOTHING_TO_DO = Means((), True, True, {})


@dataclass(frozen=True)
class Advice:
    """Three kinds of help, and `rank_curve`: the rank after each order of output derivatives.

    `fix_parameters`: candidates are the non-identifiable parameters; all minimal sets have as many names as the null
    space projected on the parameters has dimensions. `know_initial_conditions`: candidates are the unobservable
    states, their values at time 0 known and generic. `measure_states`: the same states, each as one more output, or
    all that are not measured where some initial value is known: how they go on from there need not be.
    """

    fix_parameters: Means
    measure_states: Means
    know_initial_conditions: Means
    rank_curve: tuple[int, ...]


def advise(model: Model, options: Options | None = None, seed: int = 0, most: int | None = None) -> Advice:
    """What would make all parameters locally identifiable; at most so many sets of each kind are tried.

    Raises Unsupported for models outside the method's scope.
    """
    model = (model if options is None else replace(model, options=options)).resolved()
    most = most if most is not None else MAX_ELIMINATED if model.unknown_inputs else MAX_TESTED
    plain = Sampler(model)
    drawn = list(islice(plain.samples(seed), 2))
    determined = frozenset.intersection(*(sample.identifiable() for sample in drawn))
    states = [name for name in model.states if name not in determined]
    fix = [Candidate("fix", name) for name in model.parameters if name not in determined]
    measure = [Candidate("measure", name, Symbol(name)) for name in (_unmeasured(model) if plain.known else states)]
    know = [Candidate("know", name) for name in states]
    curve = tuple(max([sample.curve() for sample in drawn], key=max))
    if not fix:
        return Advice(_NOTHING_TO_DO, _NOTHING_TO_DO, _NOTHING_TO_DO, curve)
    study = Study(model, [*fix, *measure, *know], model.parameters, seed)
    return Advice(_means(study, fix, most), _means(study, measure, most), _means(study, know, most), curve)


def _unmeasured(model: Model) -> list[str]:
    return [name for name in model.states if Symbol(name) not in model.outputs.values()]


def _means(study: Study, candidates: Sequence[Candidate], most: int) -> Means:
    gains = {candidate.name: tuple(sorted(study.gained(candidate))) for candidate in candidates}
    if not study.is_enough(candidates):
        return Means((), False, True, gains)
    found = study.search(MAX_SIZE, most, candidates)
    minimal = found.minimal[:MAX_SETS] or [_trimmed(study, candidates)]
    names = tuple(tuple(candidate.name for candidate in members) for members in minimal)
    return Means(names, True, found.untested == 0 and len(found.minimal) <= MAX_SETS, gains)


def _trimmed(study: Study, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """A minimal sufficient set: all candidates, less each one that is not needed."""
    kept = list(candidates)
    for candidate in candidates:
        fewer = [other for other in kept if other != candidate]
        if study.is_enough(fewer):
            kept = fewer
    return tuple(kept)
