"""Buchberger's algorithm modulo a prime on flint's polynomials: for small systems, where no faster engine is at hand.

Plain on purpose: normal selection (the least common multiple of lowest degree first), the two criteria of Buchberger.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count
from typing import Any

Exponents = tuple[int, ...]


class Basis:
    """A Groebner basis that grows by `add`, under the order of its ring, and reduces by it."""

    def __init__(self, ring: Any) -> None:
        self._ring = ring
        self._elements: list[Any] = []
        self._leads: list[Exponents] = []
        self._alive: list[int] = []
        self._pairs: list[tuple[int, int, Exponents, int, int]] = []
        self._done: set[tuple[int, int]] = set()
        self._ticket = count()

    def complete(self, system: Sequence[Any]) -> None:
        """Make it a Groebner basis of the ideal of these polynomials."""
        for polynomial in sorted(system, key=lambda p: p.total_degree()):
            self._add(polynomial)
        while self._pairs:
            _, _, multiple, i, j = heapq.heappop(self._pairs)
            self._done.add((i, j))
            if not self._superfluous(multiple, i, j):
                self._add(self._multiple(i, multiple) - self._multiple(j, multiple))

    def normal_form(self, polynomial: Any) -> Any:
        """The remainder; unique once the basis is complete."""
        rest, remainder = polynomial, self._ring.constant(0)
        while not rest.is_zero():
            lead = tuple(map(int, rest.monomial(0)))
            term = self._ring.from_dict({lead: rest.leading_coefficient()})
            by = next((i for i in self._alive if _divides(self._leads[i], lead)), None)
            if by is None:
                remainder, rest = remainder + term, rest - term
            else:
                rest = rest - self._multiple(by, lead) * int(rest.leading_coefficient())
        return remainder

    def _add(self, polynomial: Any) -> None:
        remainder = self.normal_form(polynomial)
        if remainder.is_zero():
            return
        new = len(self._elements)
        lead = tuple(map(int, remainder.monomial(0)))
        self._elements.append(remainder * pow(int(remainder.leading_coefficient()), -1, int(self._ring.modulus())))
        self._leads.append(lead)
        for old in range(new):
            multiple = tuple(map(max, self._leads[old], lead))
            heapq.heappush(self._pairs, (sum(multiple), next(self._ticket), multiple, old, new))
        self._alive = [i for i in self._alive if not _divides(lead, self._leads[i])] + [new]

    def _superfluous(self, multiple: Exponents, i: int, j: int) -> bool:
        """Whether this pair reduces to zero for a reason that is known without reducing it."""
        a, b = self._leads[i], self._leads[j]
        if not any(map(min, a, b)):
            return True
        return any(
            k not in (i, j)
            and _divides(lead, multiple)
            and (min(i, k), max(i, k)) in self._done
            and (min(j, k), max(j, k)) in self._done
            for k, lead in enumerate(self._leads)
        )

    def _multiple(self, index: int, lead: Exponents) -> Any:
        """The monic element, times the monomial that makes `lead` its leading one."""
        factor = tuple(a - b for a, b in zip(lead, self._leads[index], strict=True))
        return self._elements[index] * self._ring.from_dict({factor: 1})


def _divides(a: Exponents, b: Exponents) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True))
