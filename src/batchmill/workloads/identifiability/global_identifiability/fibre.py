"""Which variables of a polynomial system have one value on its whole solution set.

Variables that an equation fixes outright are put in first; the rest goes to a Groebner basis (`groebner`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchmill.workloads.identifiability.global_identifiability import groebner
from batchmill.workloads.identifiability.global_identifiability.verdict import Word
from batchmill.workloads.identifiability.sampling import Sample


@dataclass(frozen=True)
class Polynomials:
    """Equations over flint's `nmod_mpoly` ring in `names`. `variable` maps an unknown of the model to its variable."""

    names: tuple[str, ...]
    equations: list[Any]
    variable: dict[str, str]
    prime: int


def words_of(sample: Sample, build: Callable[[frozenset[str]], Polynomials]) -> Iterator[dict[str, Word]]:
    """What is known of all names after the ranks, then after the system is solved.

    `build` makes the system at the sample's point. It is given the names to set to their value there: as many as the
    rank falls short, so that finitely many solutions remain. No other word changes by that: the field of the outputs
    is algebraically closed in a purely transcendental extension of it. Raises what `build` does, and EngineFailed.
    """
    identifiable = sample.identifiable() | sample.known
    yield {name: "not identifiable" for name in sample.names if name not in identifiable}
    # in reduced echelon form every null vector has a pivot of its own: fixing these leaves no freedom
    free = frozenset(sample.names[next(i for i, v in enumerate(vector) if v)] for vector in sample.null_space())
    system = build(free)
    single = single_valued(system.equations, system.names, system.prime)

    def word(name: str) -> Word:
        if name not in identifiable:
            return "not identifiable"
        # what has no variable is given, or measured itself
        variable = system.variable.get(name)
        return "globally" if variable is None or variable in single else "locally only"

    yield {name: word(name) for name in sample.names}


def single_valued(equations: Sequence[Any], names: Sequence[str], prime: int) -> set[str]:
    """The variables with one value. The ideal must be radical, as that of a generic fibre is. Raises EngineFailed."""
    rest, values = _propagate(list(equations))
    open_names = [name for name in names if name not in values]
    if not rest or not open_names:
        return set(values)
    smaller = groebner.ring(open_names, prime)
    projected = [equation.project_to_context(smaller) for equation in rest]
    return set(values) | groebner.constants(projected, open_names, prime)


def _propagate(equations: list[Any]) -> tuple[list[Any], dict[str, int]]:
    """The equations after every variable that one of them fixes (a v + b = 0) is replaced, and their values."""
    values: dict[str, int] = {}
    while True:
        fixed = dict(found for equation in equations if (found := _fixes(equation)) is not None)
        if not fixed:
            return equations, values
        values |= fixed
        equations = [rest for e in equations if not (rest := e.subs(fixed)).is_zero()]


def _fixes(equation: Any) -> tuple[str, int] | None:
    """The variable and value of an equation a v + b = 0."""
    if equation.total_degree() != 1 or len(equation) > 2:
        return None
    degrees = equation.degrees()
    used = [i for i, degree in enumerate(degrees) if degree]
    if len(used) != 1:
        return None
    context = equation.context()
    prime = int(context.modulus())
    constant = int(equation.subs({context.name(used[0]): 0}).leading_coefficient()) if len(equation) == 2 else 0
    slope = int(equation.leading_coefficient())
    return context.name(used[0]), -constant * pow(slope, -1, prime) % prime
