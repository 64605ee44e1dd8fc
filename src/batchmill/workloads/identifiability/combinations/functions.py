"""Functions of parameters as sums of power products: text, simplicity, and gradients modulo a prime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

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
    """A sum of terms over another. An exponent that is no whole number stands in functions of one term only."""

    terms: tuple[Term, ...]
    denominator: tuple[Term, ...] = ()

    def direction(self, point: Mapping[str, int], names: Sequence[str], prime: int) -> list[int]:
        """A multiple of the gradient with respect to `names`."""
        if len(self.terms) == 1 and not self.denominator:
            return _logarithmic_slope(self.terms[0], point, names, prime)
        value, slope = _slope(self.terms, point, names, prime)
        if not self.denominator:
            return slope
        below, slope_below = _slope(self.denominator, point, names, prime)
        return [(a * below - b * value) % prime for a, b in zip(slope, slope_below, strict=True)]

    def __str__(self) -> str:
        above = _joined([_term(term) for term in self.terms])
        if self.denominator:
            below = _joined([_term(term) for term in self.denominator])
            return f"{_bracketed(above)}/{_bracketed(below)}"
        lowest = _common_denominator(self.terms)
        if not lowest:
            return above
        above = _joined([_term(_shifted(term, lowest)) for term in self.terms])
        below = "*".join(_power(name, Exponent(-e)) for name, e in lowest.items())
        return f"{_bracketed(above) if len(self.terms) > 1 else above}/{f'({below})' if len(lowest) > 1 else below}"


def _slope(terms: Sequence[Term], point: Mapping[str, int], names: Sequence[str], prime: int) -> tuple[int, list[int]]:
    """The value of a sum and its gradient."""
    total, gradient = 0, [0] * len(names)
    for term in terms:
        value = _value(term, point, prime)
        total += value
        slope = _logarithmic_slope(term, point, names, prime)
        gradient = [(old + value * new) % prime for old, new in zip(gradient, slope, strict=True)]
    return total % prime, gradient


def _logarithmic_slope(term: Term, point: Mapping[str, int], names: Sequence[str], prime: int) -> list[int]:
    powers = dict(term.powers)
    return [
        powers[name].at(point, prime) * pow(point[name], -1, prime) % prime if name in powers else 0 for name in names
    ]


def _common_denominator(terms: Sequence[Term]) -> dict[str, Fraction]:
    """The lowest exponent of each name that has a negative one."""
    lowest: dict[str, Fraction] = {}
    for term in terms:
        for name, exponent in term.powers:
            if not exponent.slopes and exponent.constant < 0:
                lowest[name] = min(lowest.get(name, Fraction(0)), exponent.constant)
    return lowest


def _bracketed(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"


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
