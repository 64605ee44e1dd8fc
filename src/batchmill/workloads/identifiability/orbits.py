"""Curves along which unknowns change together and no output does: the null vector field, integrated numerically.

Coordinates are logarithms: values stay positive, and a scaling moves along a straight line there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchmill.workloads.identifiability.analysis import Sample, Sampler
from batchmill.workloads.identifiability.jets import output_jacobian
from batchmill.workloads.identifiability.model import Model, Unsupported

MAX_NAMES = 80  # beyond them a step takes seconds, and double precision seldom tells the null space
STEPS = 16  # in each direction
STEP = 0.1  # of a logarithm: the orbit spans about a factor of exp(3.2)
_GAP = 1e3  # between the singular values that count as non-zero and those that count as zero
_DRIFT = 1e-4  # relative change of an output's coefficients that an orbit may show

Array = Any


@dataclass(frozen=True, slots=True)
class Orbit:
    """Points of one orbit: `values` has a row for each point, the random start among them at `start`.

    `direction` is the logarithmic null vector at the start; `drift` the largest relative change of the outputs'
    Taylor coefficients between the ends and the start: what is wrong with the numbers, not with the model.
    """

    names: tuple[str, ...]
    values: Array
    start: int
    direction: Array
    drift: float

    def moved(self) -> list[str]:
        """The names that change along it, the one that changes most steadily first."""
        strength = np.abs(self.direction)
        order = np.argsort(-strength, kind="stable")
        return [self.names[i] for i in order if strength[i] > 1e-6]


class Field:
    """The null vectors of a model as functions of a point in positive logarithmic coordinates.

    Raises Unsupported for unknown inputs, and where double precision cannot tell the null space.
    """

    def __init__(self, model: Model, seed: int = 0) -> None:
        model = model.resolved()
        if model.unknown_inputs:
            raise Unsupported("orbits are not drawn for unknown inputs")
        if len(model.states) + len(model.parameters) > MAX_NAMES:
            raise Unsupported(f"orbits are not drawn for more than {MAX_NAMES} names")
        source = random.Random(f"orbits {seed}")
        self.sample: Sample = next(Sampler(model).samples(seed))
        self.names = tuple(self.sample.names)
        self._model, self._free = model, [i for i, n in enumerate(self.names) if n not in self.sample.known]
        self._dimension = len(self.sample.null_space())
        self._orders = len(self.sample.curve()) + 1
        given = model.options.known.values if model.options.known else {}
        self._constants = {n: _positive(source) if v is None else float(v) for n, v in model.constants.items()}
        self.start = np.array([_positive(source) for _ in self.names])
        for state, value in given.items():
            if value is not None:
                self.start[self.names.index(state)] = float(value)
        derivatives = model.options.nonzero_input_derivatives
        length = self._orders if derivatives is None else min(derivatives + 1, self._orders)
        self._inputs = {name: np.array([_positive(source) for _ in range(length)]) for name in model.inputs}
        self._pivots = self._choose_pivots()

    def _choose_pivots(self) -> list[int]:
        """Columns in which the basis is the identity: those of the exact null space."""
        vectors = self.sample.null_space()
        return [next(i for i, value in enumerate(vector) if value) for vector in vectors]

    def coefficients(self, values: Array) -> Array:
        """The outputs' Taylor coefficients and, after each, its gradient."""
        point = dict(zip(self.names, values.tolist(), strict=True)) | self._constants
        return output_jacobian(self._model, point, self._inputs, self._orders)

    def vectors(self, values: Array) -> Array:
        """The logarithmic null vectors, one a row. Raises Unsupported where numbers do not tell them."""
        jacobian = self.coefficients(values)[:, :, 1:].reshape(-1, len(self.names))
        free = self._free
        matrix = jacobian[:, free] * values[free]
        norms = np.linalg.norm(matrix, axis=1)
        matrix = matrix[norms > 0] / norms[norms > 0, None]
        _, singular, right = np.linalg.svd(matrix, full_matrices=True)
        singular = np.concatenate([singular, np.zeros(len(free))])[: len(free)]
        rank = len(free) - self._dimension
        if rank and singular[rank - 1] < _GAP * max(singular[rank], 1e-15):
            raise Unsupported("double precision cannot tell the null space of this model")
        basis = np.zeros((self._dimension, len(self.names)))
        basis[:, free] = right[rank:]
        try:
            reduced = np.linalg.solve(basis[:, self._pivots], basis)
        except np.linalg.LinAlgError:
            raise Unsupported("the null vectors have other pivots at this point") from None
        reduced[np.abs(reduced) < 1e-7] = 0.0
        return reduced

    def orbits(self, most: int | None = None) -> list[Orbit]:
        """One orbit for each of the first `most` null vectors, through the random start."""
        return [self._orbit(number) for number in range(self._dimension)[:most]]

    def _orbit(self, number: int) -> Orbit:
        back, forth = (self._walk(number, sign) for sign in (-1.0, 1.0))
        values = np.array([*reversed(back), self.start, *forth])
        direction = self.vectors(self.start)[number]
        return Orbit(self.names, values, len(back), direction, self._drift(values))

    def _walk(self, number: int, sign: float) -> list[Array]:
        """Classical Runge-Kutta steps of unit speed, up to where a value leaves what can be computed."""
        found: list[Array] = []
        here = self.start
        for _ in range(STEPS):
            try:
                here = self._step(here, number, sign * STEP)
            except (ArithmeticError, Unsupported):
                break
            found.append(here)
        return found

    def _step(self, values: Array, number: int, step: float) -> Array:
        def slope(shift: Array) -> Array:
            vector = self.vectors(values * np.exp(shift))[number]
            return vector / np.linalg.norm(vector)

        a = slope(np.zeros_like(values))
        b = slope(a * step / 2)
        c = slope(b * step / 2)
        d = slope(c * step)
        return values * np.exp((a + 2 * b + 2 * c + d) * step / 6)

    def _drift(self, values: Array) -> float:
        there = self.coefficients(self.start)[:, :, 0]
        ends = [self.coefficients(end)[:, :, 0] for end in (values[0], values[-1])]
        scale = np.abs(there).max(axis=0)
        return max(
            float((np.abs(end - there) / np.maximum(np.abs(there), 1e-9 * scale + 1e-300)).max()) for end in ends
        )


def trustworthy(orbits: Sequence[Orbit]) -> list[Orbit]:
    """The orbits along which the outputs stay as they are, as far as numbers can show it."""
    return [orbit for orbit in orbits if orbit.drift < _DRIFT and len(orbit.values) > 2]


def confounded(sample: Sample) -> Mapping[str, frozenset[str]]:
    """Who is confounded with whom: names whose exact null vectors (in reduced row echelon form) move both."""
    links: dict[str, set[str]] = {}
    for vector in sample.null_space():
        moved = {name for name, value in zip(sample.names, vector, strict=True) if value}
        for name in moved:
            links.setdefault(name, set()).update(moved - {name})
    return {name: frozenset(links[name]) for name in sample.names if name in links}


def _positive(source: random.Random) -> float:
    return source.uniform(0.5, 2.0)
