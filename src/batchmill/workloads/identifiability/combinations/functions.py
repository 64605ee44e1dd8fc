"""Functions of parameters as sums of power products: text, simplicity, and gradients modulo a prime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from batchmill.workloads.identifiability.combinations.lattice import residue


@dataclass(frozen=True)
class Exponent:
    """An exponent `constant + sum of factor * parameter`, where the parameters are identifiable."""

    constant: Fraction
    slopes: tuple[tuple[str, Fraction], ...] = ()

    def at(self, point: Mapping[str, int], prime: int) -> int:
        """Its residue at a point."""
        moving = sum(residue(factor, prime) * point[name] for name, factor in self.slopes)
        return (residue(self.constant, prime) + moving) % prime

    def __str__(self) -> str:
        terms = [_scaled(factor, name) for name, factor in self.slopes]
        return _joined(([str(self.constant)] if self.constant or not terms else []) + terms)


@dataclass(frozen=True)
class Term:
    """A number times powers of parameters, in the model's order."""

    coefficient: int
    powers: tuple[tuple[str, Exponent], ...]


@dataclass(frozen=True)
class Function:
    """A sum of terms. An exponent that is no whole number stands in functions of one term only."""

    terms: tuple[Term, ...]

    @property
    def names(self) -> frozenset[str]:
        """The parameters in it, those in exponents included."""
        powers = [power for term in self.terms for power in term.powers]
        return frozenset(name for name, _ in powers) | {name for _, e in powers for name, _ in e.slopes}

    def direction(self, point: Mapping[str, int], names: Sequence[str], prime: int) -> list[int]:
        """A multiple of the gradient with respect to `names`; of a single term that of its logarithm."""
        total = dict.fromkeys(names, 0)
        for term in self.terms:
            value = 1 if len(self.terms) == 1 else _value(term, point, prime)
            for name, exponent in term.powers:
                if name in total:
                    total[name] += value * exponent.at(point, prime) * pow(point[name], -1, prime)
        return [total[name] % prime for name in names]

    @cached_property
    def cost(self) -> tuple[int, ...]:
        """Simpler functions cost less: few terms, low degree, positive exponents, small numbers."""
        exponents = [e.constant for term in self.terms for _, e in term.powers]
        return (
            len(self.terms),
            int(sum(map(abs, exponents))),
            sum(e < 0 for e in exponents),
            sum(abs(term.coefficient) for term in self.terms),
            sum(term.coefficient < 0 for term in self.terms),
        )

    def __str__(self) -> str:
        lowest = self._common_denominator()
        terms = [_term(_shifted(term, lowest)) for term in self.terms]
        if not lowest:
            return _joined(terms)
        below = "*".join(_power(name, Exponent(-e)) for name, e in lowest.items())
        below = f"({below})" if len(lowest) > 1 else below
        above = _joined(terms)
        return f"{f'({above})' if len(terms) > 1 else above}/{below}"

    def _common_denominator(self) -> dict[str, Fraction]:
        """The negative exponents that all terms of the text share a denominator for."""
        lowest: dict[str, Fraction] = {}
        for term in self.terms:
            for name, exponent in term.powers:
                if not exponent.slopes and exponent.constant < 0:
                    lowest[name] = min(lowest.get(name, Fraction(0)), exponent.constant)
        return lowest


def power_product(powers: Iterable[tuple[str, int]], coefficient: int = 1) -> Term:
    """A term with whole-number exponents; those that are 0 are left out."""
    return Term(coefficient, tuple((name, Exponent(Fraction(e))) for name, e in powers if e))


def _value(term: Term, point: Mapping[str, int], prime: int) -> int:
    value = term.coefficient % prime
    for name, exponent in term.powers:
        value = value * pow(point[name], int(exponent.constant), prime) % prime
    return value


def _shifted(term: Term, lowest: Mapping[str, Fraction]) -> Term:
    powers = dict(term.powers)
    for name, least in lowest.items():
        old = powers.get(name, Exponent(Fraction(0)))
        powers[name] = Exponent(old.constant - least, old.slopes)
    return Term(term.coefficient, tuple((n, e) for n, e in powers.items() if e.constant or e.slopes))


def _term(term: Term) -> str:
    factors = [_power(name, exponent) for name, exponent in term.powers]
    if not factors:
        return str(term.coefficient)
    return _scaled(Fraction(term.coefficient), "*".join(factors))


def _power(name: str, exponent: Exponent) -> str:
    if not exponent.slopes and exponent.constant == 1:
        return name
    text = str(exponent)
    return f"{name}**{text}" if text.isalnum() else f"{name}**({text})"


def _scaled(factor: Fraction, text: str) -> str:
    if abs(factor) == 1:
        return text if factor > 0 else f"-{text}"
    return f"{factor}*{text}"


def _joined(terms: Sequence[str]) -> str:
    first, *rest = terms
    return first + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in rest)
