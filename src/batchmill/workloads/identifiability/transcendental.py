"""How the exponentials, logarithms and angles of a circuit depend on each other, and their values at time 0.

A power series modulo a prime needs the value of exp(a) or log(a) where it starts; the rest follows from recurrences.
The value may be any residue, as far as the functions are independent: by Ax's theorem, exponentials of arguments
without a linear relation over the rationals are algebraically independent. Where there is a relation, as between
exp(2*x) and exp(x), log(x*y) and log(x), x**n and x**(n + 1), the value has to follow from it; a free one would claim
knowledge that no data can give. `find_rules` finds all relations, by linear algebra on values and derivatives at random
points, however the expressions are written.

(J. Ax, "On Schanuel's conjectures", Annals of Math. 93 (1971) 252-268. That different constants, such as log(2) and
exp(1), are independent is a conjecture; it is assumed.)
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b
from math import lcm

from batchmill.workloads.identifiability import linear
from batchmill.workloads.identifiability.circuit import Circuit, Op
from batchmill.workloads.identifiability.model import Unsupported

Key = int | str
"""A pair (l, exp(l)) or an angle: the node that stands for it, or the name of a constant."""

_PRIMES = (2**255 - 258636369, 2**255 - 300819489, 2**255 - 583446369, 2**255 - 46545)
"""(p - 1) / 2 is prime too, and modulo the first three every prime up to 47 is a square: most numbers have roots."""
_FRACTIONS = 2**96  # so that a residue that stands for no fraction passes for one with probability 2**-62
_SPARE = 6  # points more than unknown factors, at least
_FEW_POINTS, _MAX_POINTS = 100, 5000
_MAX_DIVISOR = 100_000
_LARGEST_FACTORED = 2**64


class NoRoot(ArithmeticError):
    """A radicand is no square at this point."""


class VanishingDenominator(ArithmeticError):
    """A denominator, or the argument of a logarithm, is zero at this point."""


@dataclass(frozen=True)
class Rules:
    """How values at time 0 follow from others: node -> factors of (exponents of) earlier keys. The rest are free.

    An angle is so many multiples of a random one: `divisor` is what all factors of angles can be divided by.
    """

    terms: Mapping[int, Mapping[Key, Fraction]] = field(default_factory=dict)
    divisor: int = 1


class Start:
    """The values of functions at time 0 of one point. The same argument always gets the same value (for one salt)."""

    def __init__(self, rules: Rules, prime: int, salt: int = 0) -> None:
        self._rules, self._prime, self._salt = rules, prime, salt
        self.logs: dict[Key, int] = {}
        self.exps: dict[Key, int] = {}
        self._angles: dict[Key, tuple[int, int]] = {}  # on the unit circle: cosine and sine of 1 / divisor

    def exp(self, node: int, argument: int) -> int:
        """The value of an exponential. Raises NoRoot."""
        terms = self._rules.terms.get(node)
        if terms is None:
            # a square, so that roots of any degree exist
            self.logs[node], self.exps[node] = argument, self._free(node, argument) ** 2 % self._prime
            return self.exps[node]
        value = 1
        for key, exponent in terms.items():
            value = value * root(self.pair(key)[1], exponent, self._prime) % self._prime
        return value

    def log(self, node: int, argument: int) -> int:
        """The value of a logarithm. Raises VanishingDenominator."""
        if argument == 0:
            raise VanishingDenominator
        terms = self._rules.terms.get(node)
        if terms is None:
            self.logs[node], self.exps[node] = self._free(node, argument), argument
            return self.logs[node]
        return sum(self.pair(key)[0] * residue(factor, self._prime) for key, factor in terms.items()) % self._prime

    def angle(self, node: int, argument: int) -> tuple[int, int]:
        """The cosine and the sine of the argument, which has this node."""
        terms = self._rules.terms.get(-1 - node)
        if terms is None:
            self._angles[node] = self._unit(node, argument)
            terms = {node: Fraction(1)}
        value = (1, 0)
        for key, factor in terms.items():
            if key not in self._angles:
                self._angles[key] = self._unit(key, 0)  # one radian
            turned = _circle_power(self._angles[key], int(factor * self._rules.divisor), self._prime)
            value = _circle_product(value, turned, self._prime)
        return value

    def pair(self, key: Key) -> tuple[int, int]:
        """What a key stands for: l and exp(l)."""
        if key not in self.logs:  # constants: `e`, or a whole number
            if key == "e":
                self.logs[key], self.exps[key] = 1, self._free(key, 1) ** 2 % self._prime
            else:
                self.logs[key], self.exps[key] = self._free(key, 1), int(key) % self._prime
        return self.logs[key], self.exps[key]

    def _free(self, key: Key, argument: int) -> int:
        """A residue that looks random, and is the same wherever the argument is."""
        digest = blake2b(f"{self._salt} {self._prime} {key} {argument}".encode(), digest_size=40).digest()
        return int.from_bytes(digest) % (self._prime - 1) + 1

    def _unit(self, key: Key, argument: int) -> tuple[int, int]:
        t, prime = self._free(key, argument), self._prime
        scale = pow(1 + t * t, -1, prime)  # -1 is no square modulo primes of this kind
        return (1 - t * t) * scale % prime, 2 * t * scale % prime


def root(value: int, exponent: Fraction, prime: int) -> int:
    """A rational power, where (prime - 1) / 2 is prime: of all roots the one that is a square. Raises NoRoot."""
    if value == 0:
        raise VanishingDenominator
    numerator, denominator = exponent.numerator, exponent.denominator
    order = prime - 1 if denominator % 2 else prime // 2
    if denominator % 2 == 0 and linear.power(value, order, prime) != 1:
        raise NoRoot
    return linear.power(value, numerator * pow(denominator, -1, order) % order, prime)


def residue(value: Fraction, prime: int) -> int:
    """The residue of a fraction."""
    return value.numerator * pow(value.denominator, -1, prime) % prime


def _circle_product(a: tuple[int, int], b: tuple[int, int], prime: int) -> tuple[int, int]:
    return (a[0] * b[0] - a[1] * b[1]) % prime, (a[0] * b[1] + a[1] * b[0]) % prime


def _circle_power(a: tuple[int, int], exponent: int, prime: int) -> tuple[int, int]:
    if exponent < 0:
        a, exponent = (a[0], -a[1] % prime), -exponent
    result = (1, 0)
    while exponent:
        if exponent & 1:
            result = _circle_product(result, a, prime)
        a = _circle_product(a, a, prime)
        exponent >>= 1
    return result


def find_rules(circuit: Circuit, nodes: Iterable[int], values: Mapping[int, Fraction] | None = None) -> Rules:
    """The rules of a circuit, at points where leaves in `values` have just these values.

    Raises Unsupported where a denominator always vanishes, or no point is found.
    """
    functions = [node for node in nodes if circuit.nodes[node].op >= Op.EXP]
    if not functions:
        return Rules()
    order = circuit.reachable(functions)
    order.sort(key=lambda node: not circuit.nodes[node].static)  # as they are evaluated
    # a number without a root modulo one prime may have one modulo the next; radicands at points need many points
    attempts = [*((prime, _FEW_POINTS) for prime in _PRIMES), (_PRIMES[0], _MAX_POINTS)]
    for prime, most in attempts:
        rules = _rules(circuit, order, values or {}, len(functions), prime, most)
        if rules is not None:
            return rules
    raise Unsupported("no point was found where all radicands are squares")


def _rules(
    circuit: Circuit, order: Sequence[int], values: Mapping[int, Fraction], functions: int, prime: int, most: int
) -> Rules | None:
    """The rules, by values modulo a prime at so many points at most; None where these do not suffice."""
    source, divisor, enough = random.Random("rules"), 1, functions + 3 * _SPARE
    points = [_Point(circuit, order, values, source, prime) for _ in range(enough)]
    drawn, most = enough, max(most, 4 * enough)
    while drawn <= most:
        search = _Search(circuit, order, points, divisor, prime)
        if search.run() and not search.crowded:
            return Rules(search.terms, divisor)
        if search.divisor > divisor:
            divisor = search.divisor
        else:
            enough *= 2 if search.crowded else 1
            points = search.alive
            if len(points) < enough:
                points = points + [_Point(circuit, order, values, source, prime, power=1) for _ in range(drawn)]
                drawn *= 2
        for point in points:
            point.clear()
    return None


class _Point:
    """Values and slopes (in one random direction) of nodes at one random point."""

    def __init__(
        self,
        circuit: Circuit,
        order: Sequence[int],
        specific: Mapping[int, Fraction],
        source: random.Random,
        prime: int,
        power: int = 2,
    ) -> None:
        self._circuit, self._prime = circuit, prime
        self._leaves: dict[int, tuple[int, int]] = {}
        for node in order:
            if node in specific:
                self._leaves[node] = (residue(specific[node], self._prime), 0)
            elif circuit.nodes[node].op is Op.LEAF:
                # at first a square: radicands are mostly products of leaves
                self._leaves[node] = (
                    pow(source.randrange(1, self._prime), power, self._prime),
                    source.randrange(self._prime),
                )
        self.clear()

    def clear(self) -> None:
        """Forget all but the leaves."""
        self.values: dict[int, int] = {}
        self.slopes: dict[int, int] = {}

    def compute(self, node: int, start: Start) -> None:
        """The value and slope of a node. Raises NoRoot, VanishingDenominator."""
        op, arguments = self._circuit.nodes[node].op, self._circuit.nodes[node].arguments
        if op is Op.LEAF:
            self.values[node], self.slopes[node] = self._leaves[node]
            return
        if op is Op.NUMBER:
            self.values[node], self.slopes[node] = residue(arguments[0], self._prime), 0
            return
        values, slopes = [self.values[i] for i in arguments], [self.slopes[i] for i in arguments]
        value, slope = self._operation(op, node, values, slopes, start)
        self.values[node], self.slopes[node] = value % self._prime, slope % self._prime

    def _operation(self, op: Op, node: int, values: list[int], slopes: list[int], start: Start) -> tuple[int, int]:
        if op is Op.ADD:
            return sum(values), sum(slopes)
        if op is Op.MUL:
            return values[0] * values[1], values[0] * slopes[1] + values[1] * slopes[0]
        if op is Op.INV or op is Op.LOG:
            if not values[0]:
                raise VanishingDenominator
            inverse = linear.power(values[0], -1, self._prime)
            if op is Op.INV:
                return inverse, -slopes[0] * inverse * inverse
            return start.log(node, values[0]), slopes[0] * inverse
        if op is Op.EXP:
            value = start.exp(node, values[0])
            return value, value * slopes[0]
        cosine, sine = start.angle(self._circuit.nodes[node].arguments[0], values[0])
        return (sine, cosine * slopes[0]) if op is Op.SIN else (cosine, -sine * slopes[0])


class _Search:
    """One pass over the nodes, at many points at once."""

    def __init__(self, circuit: Circuit, order: Sequence[int], points: list[_Point], divisor: int, prime: int) -> None:
        self._circuit, self._order, self._prime = circuit, order, prime
        self.alive, self.divisor = points, divisor
        self.terms: dict[int, dict[Key, Fraction]] = {}
        rules = Rules(self.terms, divisor)
        self._starts = {id(point): Start(rules, self._prime, salt) for salt, point in enumerate(points)}
        self._logs, self._slopes, self._angles = (linear.Span[Key](self._prime, _FRACTIONS) for _ in range(3))
        self._settled: set[int] = set()

    def run(self) -> bool:
        """Whether all rules were found with these points, and this divisor."""
        ones = [1] * len(self.alive)
        self._logs.add("e", ones)
        self._angles.add("1", ones)
        given = self.divisor
        for node in self._order:
            op = self._circuit.nodes[node].op
            self._relate(op, node)
            if self.divisor > given or not self._compute(node):
                return False
            if op in (Op.EXP, Op.LOG) and node not in self.terms:
                self._enter(node)
        return True

    @property
    def crowded(self) -> bool:
        """Whether there are hardly more points than independent functions, so that relations may be chance."""
        return len(self._logs) + _SPARE > len(self.alive)

    def _relate(self, op: Op, node: int) -> None:
        argument = self._circuit.nodes[node].arguments[0]
        if op is Op.EXP:
            self._relate_exp(node, argument)
        elif op is Op.LOG:
            self._relate_log(node, argument)
        elif op in (Op.SIN, Op.COS) and argument not in self._settled:
            self._relate_angle(argument)

    def _compute(self, node: int) -> bool:
        """Compute a node at all points, or drop those where it cannot be. Whether none was dropped."""
        alive = []
        zeros = 0
        for point in self.alive:
            try:
                point.compute(node, self._starts[id(point)])
            except NoRoot:
                continue
            except VanishingDenominator:
                zeros += 1
                continue
            alive.append(point)
        if zeros == len(self.alive):
            raise VanishingDenominator
        complete = len(alive) == len(self.alive)
        self.alive = alive
        return complete

    def _values(self, node: int) -> list[int]:
        return [point.values[node] for point in self.alive]

    def _enter(self, node: int) -> None:
        starts = [self._starts[id(point)] for point in self.alive]
        self._logs.add(node, [start.logs[node] for start in starts])
        argument = self._circuit.nodes[node].arguments[0]
        if self._circuit.nodes[node].op is Op.EXP:
            self._slopes.add(node, [point.slopes[argument] for point in self.alive])
        else:
            self._slopes.add(node, [point.slopes[node] for point in self.alive])

    def _relate_exp(self, node: int, argument: int) -> None:
        found = self._logs.relation(self._values(argument))
        if found is not None:
            self.terms[node] = found

    def _relate_log(self, node: int, argument: int) -> None:
        """log(b) = log(c) + sum of m*l where b is a constant c times a product of powers exp(l)**m."""
        relative = []
        for point in self.alive:
            value = point.values[argument]
            inverse = linear.power(value, -1, self._prime) if value else 0
            relative.append(point.slopes[argument] * inverse % self._prime)
        found = self._slopes.relation(relative)
        constant = None if found is None else self._constant(argument, found)
        if found is None or constant is None:
            return
        for prime, power in _factors(constant).items():
            self._logs.add(prime, [self._starts[id(point)].pair(prime)[0] for point in self.alive])
            found[prime] = Fraction(power)
        self.terms[node] = found

    def _constant(self, argument: int, factors: Mapping[Key, Fraction]) -> Fraction | None:
        """What is left of a node divided by the powers, if it is one rational number at all points."""
        quotients = set()
        for point in self.alive:
            quotient = point.values[argument]
            start = self._starts[id(point)]
            for key, power in factors.items():
                try:
                    quotient = quotient * root(start.exps[key], -power, self._prime) % self._prime
                except (NoRoot, VanishingDenominator):
                    return None
            quotients.add(quotient)
        return linear.rational(quotients.pop(), self._prime, _FRACTIONS) if len(quotients) == 1 else None

    def _relate_angle(self, argument: int) -> None:
        self._settled.add(argument)
        found = self._angles.relation(self._values(argument))
        if found is None:
            self._angles.add(argument, self._values(argument))
            return
        self.terms[-1 - argument] = found
        self.divisor = lcm(self.divisor, *(factor.denominator for factor in found.values()))
        if self.divisor > _MAX_DIVISOR:
            raise Unsupported("the frequencies of sines and cosines are too far from having a common multiple")


def _factors(value: Fraction) -> dict[str, int]:
    """The prime factors of a fraction and their powers; -1 is one, and so is what is too large to factor."""
    from flint import fmpz

    powers = {"-1": 1} if value < 0 else {}
    for part, sign in ((abs(value.numerator), 1), (value.denominator, -1)):
        factors = fmpz(part).factor() if part < _LARGEST_FACTORED else [(part, 1)]
        for prime, power in factors:
            if prime != 1:
                powers[str(int(prime))] = sign * int(power)
    return powers
