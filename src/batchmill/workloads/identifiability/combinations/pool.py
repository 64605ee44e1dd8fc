"""Sampled null spaces, kept and shared by all ansatzes; and how much work the search may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchmill.workloads.identifiability.combinations.ansatz import Row, Rows
from batchmill.workloads.identifiability.combinations.lattice import echelon, null_space
from batchmill.workloads.identifiability.sampling import Sampler
from batchmill.workloads.identifiability.work import Work

_SPARE_ROWS = 8  # conditions beyond the number of coefficients: a wrong solution passes each with probability 1/prime
_IDLE_DRAWS = 3  # points in a row that add nothing to a span before it counts as complete


class Source:
    """Draws the null space of one model at random points while there is work left."""

    def __init__(self, sampler: Sampler, seed: int, work: Work) -> None:
        self.sampler, self._seed, self.work = sampler, seed, work
        self._orders: int | None = None

    def draw(self, prime: int, index: int, held: Mapping[str, int]) -> tuple[Mapping[str, int], list[Row]]:
        """The residues of all names and the null vectors at the point of this index. Raises OutOfWork."""
        if self._orders is not None:
            self.work.spend(self.sampler.effort(self._orders))
        sample = self.sampler.draw(f"{self._seed} {index}", prime=prime, held=held, orders=self._orders)
        self._orders = len(sample.rows)
        return sample.values, sample.null_space()


class Pool:
    """Points modulo one prime at which everything varies but what is `held`."""

    def __init__(self, source: Source, prime: int, held: Mapping[str, int] | None = None) -> None:
        self.prime, self.work = prime, source.work
        self._source, self._held = source, dict(held or {})
        self._points: list[tuple[Mapping[str, int], list[Row]]] = []

    def point(self, index: int) -> tuple[Mapping[str, int], list[Row]]:
        """The residues and the null vectors (over all names) at a point. Raises OutOfWork."""
        while len(self._points) <= index:
            self._points.append(self._source.draw(self.prime, len(self._points), self._held))
        return self._points[index]

    def holding(self, held: Mapping[str, int]) -> Pool:
        """A new pool at whose points these residues are held."""
        return Pool(self._source, self.prime, held)

    def span(self, columns: Sequence[int]) -> list[Row]:
        """The echelon basis of the sum of the null spaces, projected on the columns, over all points."""
        rows: list[Row] = []
        idle = index = 0
        while idle < _IDLE_DRAWS:
            grown = echelon(rows + projected(self.point(index)[1], columns), len(columns), self.prime)[0]
            idle = idle + 1 if len(grown) == len(rows) else 0
            rows, index = grown, index + 1
        return rows

    def solve(self, rows_of: Rows, columns: Sequence[int], size: int) -> list[Row]:
        """The coefficients (echelon basis) that meet the conditions at enough points. Raises OutOfWork."""
        rows: list[Row] = []
        index = found = 0
        while found < size + _SPARE_ROWS:
            values, vectors = self.point(index)
            basis = echelon(projected(vectors, columns), len(columns), self.prime)[0]
            if not basis:  # the columns are not confounded where these values are held: nothing constrains them
                return []
            rows += rows_of(values, basis, self.prime)
            found, index = found + len(basis), index + 1
        self.work.spend_on_elimination(len(rows), size)
        return null_space(rows, size, self.prime)


def projected(vectors: Sequence[Row], columns: Sequence[int]) -> list[Row]:
    """The entries of each vector in the given columns."""
    return [[vector[i] for i in columns] for vector in vectors]
