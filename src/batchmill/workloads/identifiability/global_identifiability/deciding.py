"""The whole decision on a model, without a time limit: it reports after every stage, so that a limit loses little.

The limit itself, and the process that it ends, are in `limited`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from batchmill.workloads.identifiability.global_identifiability.groebner import EngineFailed, engine_name
from batchmill.workloads.identifiability.global_identifiability.linear_models import LinearModel
from batchmill.workloads.identifiability.global_identifiability.taylor_system import TaylorSystem
from batchmill.workloads.identifiability.global_identifiability.verdict import (
    Certainty,
    GlobalVerdict,
    Method,
    Word,
    nothing_known,
)
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.sampling import Sampler

Report = Callable[[GlobalVerdict], None]
Words = Mapping[str, Word]

_POINTS = 3  # tried until two of them agree


def decide(model: Model, seed: int, report: Report) -> GlobalVerdict:
    """The verdict; `report` is told what is known before it."""
    known = [nothing_known(model.parameters, model.states)]

    def note(verdict: GlobalVerdict) -> None:
        known.append(verdict)
        report(verdict)

    try:
        method, stages = _method(model, seed)
        return _agree(model, method, stages, note)
    except (Unsupported, EngineFailed) as error:
        return replace(known[-1], reason=str(error))
    except MemoryError:
        return replace(known[-1], reason="it needs more memory than is allowed")


def _method(model: Model, seed: int) -> tuple[Method, Iterator[Words]]:
    if model.unknown_inputs:
        raise Unsupported(f"`{model.unknown_inputs[0]}` is an unknown input")
    primes = (sample.prime for sample in Sampler(model).samples(seed))
    linear = LinearModel.of(model)
    if linear is not None:
        return "transfer function", _stages(linear.words(f"{seed}", prime) for prime in primes)
    known = model.options.known
    if known is not None and not known.generic and known.values:
        raise Unsupported("initial values are given as numbers: no number of derivatives is known to suffice")
    return "Taylor system", _stages(TaylorSystem(model, f"{seed}", prime).words() for prime in primes)


def _stages(points: Iterator[Iterator[Words]]) -> Iterator[Words]:
    for point in points:
        yield from point


def _agree(model: Model, method: Method, stages: Iterator[Words], report: Report) -> GlobalVerdict:
    """The first words that two points agree on. Every point yields two stages: after ranks, and after all."""
    seen: list[Words] = []
    for stage, words in enumerate(islice(stages, 2 * _POINTS)):
        if stage % 2 and words in seen:
            return _found(model, method, words, "probable")
        if stage % 2:
            seen.append(words)
        if stage <= 1:
            report(_found(model, method, words, "one point"))
    return nothing_known(model.parameters, model.states, f"no two of {_POINTS} random points agree")


def _found(model: Model, method: Method, words: Words, certainty: Certainty) -> GlobalVerdict:
    def chosen(names: tuple[str, ...]) -> dict[str, Word]:
        return {name: words.get(name, "undecided") for name in names}

    return GlobalVerdict(chosen(model.parameters), chosen(model.states), method, engine_name(), certainty)
