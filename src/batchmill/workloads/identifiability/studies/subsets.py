"""Which subsets of candidates determine a target: ranks of small matrices over the null space.

Let the columns of N span the null space of the observability-identifiability matrix. Whoever knows the value of the
unknown i leaves of it the vectors N c with N[i] c = 0; who measures an output with the rows R, those with R N c = 0.
So a candidate is a block of rows over the coordinates c, a subset is its blocks stacked, and an unknown is determined
where its row of N adds nothing to their rank.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from math import comb
from typing import Any, Literal, NamedTuple

from batchmill.workloads.identifiability import linear
from batchmill.workloads.identifiability.analysis import Sample, Sampler
from batchmill.workloads.identifiability.expressions import Expression
from batchmill.workloads.identifiability.model import Model

_WORDS = {"measure": "measure {}", "know": "know {}(0)", "fix": "fix {}"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A further output, an initial value or a parameter that could be known."""

    kind: Literal["measure", "know", "fix"]
    name: str
    formula: Expression | None = None

    def __str__(self) -> str:
        """What to do."""
        return _WORDS[self.kind].format(self.name)


class Search(NamedTuple):
    """Minimal sets, smallest first; how many subsets were tested, were implied by them, and were left."""

    minimal: list[tuple[Candidate, ...]]
    tested: int
    implied: int
    untested: int


class Study:
    """Decides subsets for one model and target. Raises Unsupported for models outside the method's scope.

    An output of the model that is a candidate counts only in subsets that hold it.
    """

    def __init__(self, model: Model, candidates: Sequence[Candidate], target: Sequence[str], seed: int = 0) -> None:
        optional = [c.formula for c in candidates if c.kind == "measure"]
        base = [name for name, formula in model.outputs.items() if formula not in optional]
        extra = {_column(c): c.formula for c in candidates if c.kind == "measure" and c.formula is not None}
        sampler = Sampler(replace(model, outputs={name: model.outputs[name] for name in base}), extra=extra)
        self.candidates, self.target = list(candidates), list(target)
        drawn = list(islice(sampler.samples(seed), 2))
        self._points: list[_Point | _WholePoint] = [
            _WholePoint(sample, base) if model.unknown_inputs else _Point(sample, base, self.candidates)
            for sample in drawn
        ]

    def search(self, size: int, most: int, among: Sequence[Candidate] | None = None) -> Search:
        """The first `most` subsets up to a size, smallest first. Where nothing is missing, the empty set is minimal.

        `among` are some of the candidates; without, all of them.
        """
        candidates = self.candidates if among is None else among
        minimal: list[tuple[Candidate, ...]] = []
        tested = implied = 0
        sizes = range(min(size, len(candidates)) + 1)
        total = sum(comb(len(candidates), k) for k in sizes)
        for members in islice(_subsets(candidates, sizes), most):
            if any(set(known) <= set(members) for known in minimal):
                implied += 1
            else:
                tested += 1
                if self.is_enough(members):
                    minimal.append(members)
        return Search(minimal, tested, implied, total - tested - implied)

    def is_enough(self, members: Collection[Candidate]) -> bool:
        """Whether these candidates determine the target, at every point looked at."""
        return all(point.determines(members, self.target) for point in self._points)

    def dimension(self, members: Collection[Candidate]) -> int:
        """Of the null space that these candidates leave."""
        return min(point.dimension(members) for point in self._points)

    def missing(self) -> list[str]:
        """What of the target is not determined without any candidate."""
        return [name for name in self.target if not all(point.determines((), [name]) for point in self._points)]

    def gained(self, candidate: Candidate) -> list[str]:
        """What one candidate determines besides what is determined without it and what it is itself."""
        names = self._points[0].names
        itself = {candidate.name} if candidate.kind != "measure" else set()
        return [name for name in names if name not in itself and self._gains(candidate, name)]

    def _gains(self, candidate: Candidate, name: str) -> bool:
        before, after = ([p.determines(chosen, [name]) for p in self._points] for chosen in ((), (candidate,)))
        return all(after) and not all(before)


def _subsets(candidates: Sequence[Candidate], sizes: range) -> Iterator[tuple[Candidate, ...]]:
    for size in sizes:
        yield from combinations(candidates, size)


class _Point:
    """The null space at one point, and each candidate as rows over its coordinates."""

    def __init__(self, sample: Sample, base: Collection[str], candidates: Sequence[Candidate]) -> None:
        self.names, self._prime = sample.names, sample.prime
        self._basis = sample.null_space(outputs=base)
        self._blocks: Mapping[Candidate, list[list[int]]] = {c: self._block(sample, c) for c in candidates}

    def determines(self, members: Collection[Candidate], wanted: Sequence[str]) -> bool:
        rows = [row for member in members for row in self._blocks[member]]
        more = [self._row(name) for name in wanted]
        return self._rank(rows) == self._rank([*rows, *more])

    def dimension(self, members: Collection[Candidate]) -> int:
        return len(self._basis) - self._rank([row for member in members for row in self._blocks[member]])

    def _rank(self, rows: list[list[int]]) -> int:
        return linear.rank(rows, len(self._basis), self._prime)

    def _row(self, name: str) -> list[int]:
        place = self.names.index(name)
        return [vector[place] for vector in self._basis]

    def _block(self, sample: Sample, candidate: Candidate) -> list[list[int]]:
        if candidate.kind != "measure":
            return [self._row(candidate.name)]
        place = sample.outputs.index(_column(candidate))
        rows = [self._project(block[place].tolist()) for block in sample.rows]
        return linear.reduced(rows, len(self._basis), self._prime)[0]

    def _project(self, row: Sequence[Any]) -> list[int]:
        return [sum(int(a) * b for a, b in zip(row, vector, strict=True)) % self._prime for vector in self._basis]


class _WholePoint:
    """The same from the whole matrix: unknown inputs are eliminated anew for each choice of outputs."""

    def __init__(self, sample: Sample, base: Collection[str]) -> None:
        self.names, self._sample, self._base = sample.names, sample, base

    def determines(self, members: Collection[Candidate], wanted: Sequence[str]) -> bool:
        return set(wanted) <= self._sample.identifiable(**self._choice(members))

    def dimension(self, members: Collection[Candidate]) -> int:
        return len(self._sample.null_space(**self._choice(members)))

    def _choice(self, members: Collection[Candidate]) -> dict[str, list[str]]:
        measured = [_column(c) for c in members if c.kind == "measure"]
        return {"known": [c.name for c in members if c.kind != "measure"], "outputs": [*self._base, *measured]}


def _column(candidate: Candidate) -> str:
    """A name that no output of a model has."""
    return f"measure {candidate.name}"
