"""Identifiable combinations of parameters that are not identifiable alone, with a certificate of completeness.

A function g of the parameters is (locally) identifiable where its gradient is orthogonal to every null vector of the
observability-identifiability matrix at every point. At fixed parameters, let D be the sum, over states and inputs, of
the null spaces projected on the non-identifiable parameters: there are at most (their number - dim D) functionally
independent identifiable functions of them. Where as many are found, the list is complete. (D need not be closed under
Lie brackets; then fewer exist, and the bound is not reached.)

Parts: `pool` (null vectors at random points), `lattice` (exact linear algebra), `functions`, `ansatz` and `search`
(power products and sums), `coefficients` (identifiable parameters as known numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from batchmill.workloads.identifiability.combinations.coefficients import search_coefficients, search_exponents
from batchmill.workloads.identifiability.combinations.lattice import echelon
from batchmill.workloads.identifiability.combinations.pool import Pool, Source
from batchmill.workloads.identifiability.combinations.search import (
    Component,
    search_power_products,
    search_ratios,
    search_sums,
)
from batchmill.workloads.identifiability.model import Model, Options
from batchmill.workloads.identifiability.sampling import Sampler
from batchmill.workloads.identifiability.transcendental import NoRoot
from batchmill.workloads.identifiability.work import OutOfWork, Work

__all__ = ["WORK_LIMIT", "Combinations", "find"]

WORK_LIMIT = 2_000_000  # operations: some seconds


@dataclass(frozen=True)
class Combinations:
    """Identifiable functions, as text that the parser of expressions reads.

    `found` of them are functionally independent (the length of `functions`); `expected` bounds how many exist, so
    the list is `complete` where both are equal. `components` are the parameters that are confounded with each other;
    one that stands alone is in no identifiable combination. `cut_short`: the work that is allowed did not suffice for
    the whole search, and `expected` is 0 where even the count was not reached.
    """

    functions: tuple[str, ...]
    found: int
    expected: int
    components: tuple[tuple[str, ...], ...]
    cut_short: bool = False

    @property
    def complete(self) -> bool:
        """Whether no further independent function can exist."""
        return self.found == self.expected and not self.cut_short


def find(model: Model, options: Options | None = None, seed: int = 0, work_limit: int = WORK_LIMIT) -> Combinations:
    """Identifiable combinations of a model's non-identifiable parameters, by so much work at most (see `work`).

    Each one held, modulo a second prime, at points that its search did not use: a wrong one passes with probability
    below 1e-17. Raises Unsupported for models outside the method's scope.
    """
    model = (model if options is None else replace(model, options=options)).resolved()
    sampler = Sampler(model)
    source = Source(sampler, seed, Work(work_limit))
    first, second = (sample.prime for sample in islice(sampler.samples(seed), 2))
    pool = Pool(source, first)
    components: list[Component] = []
    cut_short = False
    try:
        components = _components(model, pool, Pool(source, second))
        _search(components, _held(model, pool, components))
    except (OutOfWork, NoRoot):
        cut_short = True
    functions = [function for component in components for function in component.found]
    return Combinations(
        functions=tuple(map(str, functions)),
        found=len(functions),
        expected=sum(component.expected for component in components),
        components=tuple(tuple(component.names) for component in components),
        cut_short=cut_short,
    )


def _components(model: Model, pool: Pool, fresh: Pool) -> list[Component]:
    """The non-identifiable parameters by connected component, each with its count of identifiable functions."""
    names = model.states + model.parameters
    values, vectors = pool.point(0)
    fixed = {name: value for name, value in values.items() if name not in model.states}
    columns = [i for i, name in enumerate(names) if name not in model.states and any(vector[i] for vector in vectors)]
    span = pool.holding(fixed).span(columns) if columns else []
    found = []
    for places in _blocks(span, len(columns)):
        block = [columns[i] for i in places]
        size = len(echelon([[row[i] for i in places] for row in span], len(places), pool.prime)[0])
        found.append(Component([names[i] for i in block], block, len(places) - size, pool, fresh))
    return found


def _blocks(rows: list[list[int]], width: int) -> list[list[int]]:
    """Columns joined by rows of an echelon form: its finest decomposition into a direct sum."""
    label = list(range(width))
    for row in rows:
        joined = {label[i] for i, value in enumerate(row) if value}
        label = [min(joined) if old in joined else old for old in label]
    return [[i for i in range(width) if label[i] == first] for first in sorted(set(label))]


def _held(model: Model, pool: Pool, components: list[Component]) -> dict[str, int]:
    """Residues of what counts as a known number: identifiable parameters, constants and constant inputs."""
    unknown = {name for component in components for name in component.names}.union(model.states)
    return {name: value for name, value in pool.point(0)[0].items() if name not in unknown}


def _search(components: list[Component], held: dict[str, int]) -> None:
    """Stage after stage over all components that are not complete: the cheap ansatzes first for each."""
    stages: list[Callable[[Component], None]] = [search_power_products, _sums(1, False), _ratios(1)]
    stages += [_sums(2, False), _sums(2, True)]
    if held:
        stages.append(lambda component: search_exponents(component, held))
        stages += [_mixed(held, degree, negative) for degree, negative in ((1, False), (2, False), (2, True))]
    stages += [_ratios(2), *(_sums(degree, negative) for degree in (3, 4) for negative in (False, True))]
    for stage in stages:
        for component in components:
            if component.complete:
                continue
            with suppress(NoRoot):  # what is held there admits no value of a root: nothing is learned
                stage(component)


def _sums(degree: int, negative: bool) -> Callable[[Component], None]:
    return lambda component: search_sums(component, degree, negative=negative)


def _ratios(degree: int) -> Callable[[Component], None]:
    return lambda component: search_ratios(component, degree)


def _mixed(held: dict[str, int], degree: int, negative: bool) -> Callable[[Component], None]:
    return lambda component: search_coefficients(component, held, degree, negative=negative)
