"""The observability-identifiability matrix of a model at random points modulo primes.

A `Sampler` compiles a model once; each `Sample` it draws holds the whole matrix at one point, so that questions about
known values and about fewer or further outputs are ranks of parts of it. How many points make a verdict is decided in
`analysis`.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from batchmill.workloads.identifiability import linear
from batchmill.workloads.identifiability.expressions import Expression
from batchmill.workloads.identifiability.model import Known, Model, Unsupported
from batchmill.workloads.identifiability.sensitivities import Residues
from batchmill.workloads.identifiability.system import compile_system, total_degree
from batchmill.workloads.identifiability.taylor import MAX_ORDERS, Point, output_sensitivities
from batchmill.workloads.identifiability.transcendental import (
    NoRoot,
    Rules,
    VanishingDenominator,
    find_rules,
    residue,
)

PRIMES = (
    *(1073730719, 1073719919, 1073666879, 1073545919, 1073523359, 1073512439, 1073432279, 1073409119),
    *(1073388839, 1073210519, 1072965599, 1072911839, 1072839239, 1072811879, 1072786679, 1072744559),
)
"""The largest below 2**30 for which (p - 1) / 2 is prime too, and modulo which every prime up to 19 is a square.

Squares then have roots of any degree, and so have most numbers. CPython multiplies whole numbers below 2**30, one digit
of its own, half as fast again as those above.
"""

MAX_UNKNOWNS = 1000  # states and parameters
_FIRST_LOOK = 4  # orders: a rank that is final before is rare, and a few orders more cost less than looking
_DRAWS = 3  # of a point where no denominator vanishes; a random one vanishes with probability 1e-9
_ROOT_DRAWS = 300  # of a point where all radicands are squares; each is one with probability 1/2
_SQUARE_DRAWS = 100  # of these at points whose coordinates are squares


@dataclass(frozen=True)
class Sample:
    """The matrix at one point: Taylor coefficients of the outputs' derivatives with respect to the unknowns.

    `names` are the columns: the states (their initial values), then the parameters. `known` are the states whose
    initial value is known. `values` holds the residue of every name and constant, `inputs` the Taylor coefficients of
    the inputs, unknown ones among them. `rows` is a list of orders; each is outputs x columns, in the order of
    `outputs`; after the columns of `names` come those of the coefficients of unknown inputs, as many of each as
    `impulses` says. All ranks and null spaces are those projected on the names.
    """

    prime: int
    names: tuple[str, ...]
    known: frozenset[str]
    outputs: tuple[str, ...]
    values: Mapping[str, int]
    inputs: Mapping[str, Sequence[int]]
    rows: Sequence[Residues]
    unknown_inputs: tuple[str, ...] = ()
    impulses: int = 0
    growth: Sequence[int] | None = None  # where it is known: the order of each row that adds to the rank of all columns

    @cached_property
    def unknowns(self) -> tuple[str, ...]:
        """The names that are not known."""
        return tuple(name for name in self.names if name not in self.known)

    def rank(self, *, known: Collection[str] = (), outputs: Collection[str] | None = None) -> int:
        """The rank when further names are known (generic values), and with some of the outputs only."""
        unknowns = [name for name in self.unknowns if name not in known]
        return len(unknowns) - len(self.null_space(known=known, outputs=outputs))

    def null_space(self, *, known: Collection[str] = (), outputs: Collection[str] | None = None) -> list[list[int]]:
        """The null space's basis over all `names` in reduced row echelon form; entries of known names are zero."""
        free = self._columns(known)
        basis = self._null_space(free, outputs)
        basis = linear.reduced([vector[: len(free)] for vector in basis], len(free), self.prime)[0]
        return [self._spread(vector, free) for vector in basis]

    def _columns(self, known: Collection[str] = ()) -> list[int]:
        return [i for i, name in enumerate(self.names) if name not in self.known and name not in known]

    def _hidden(self) -> list[int]:
        return list(range(len(self.names), len(self.names) + len(self.unknown_inputs) * self.impulses))

    def _null_space(self, columns: list[int], outputs: Collection[str] | None) -> list[list[int]]:
        columns = columns + self._hidden()
        return linear.null_space(self._matrix(columns, outputs), len(columns), self.prime)

    def reconstructible(self) -> frozenset[str]:
        """The unknown inputs whose value at time 0 is determined."""
        free = self._columns()
        basis = self._null_space(free, None) if self.unknown_inputs else []
        places = {name: len(free) + i * self.impulses for i, name in enumerate(self.unknown_inputs)}
        return frozenset(name for name, place in places.items() if not any(vector[place] for vector in basis))

    def identifiable(self, *, known: Collection[str] = (), outputs: Collection[str] | None = None) -> frozenset[str]:
        """The names that are determined locally; known ones are among them."""
        free = self._columns(known)
        zero = linear.determined(self._null_space(free, outputs), len(free))
        return frozenset(self.names).difference(self.names[i] for i in free).union(self.names[free[i]] for i in zero)

    def curve(self) -> list[int]:
        """The rank after each order of derivatives, from 0 to the order where it is final."""
        columns, hidden = self._columns(), self._hidden()
        orders, silent = self._growth(columns + hidden), self._growth(hidden)
        ranks = [sum(o <= k for o in orders) - sum(o <= k for o in silent) for k in range(len(self.rows))]
        return ranks[: ranks.index(ranks[-1]) + 1]

    def _growth(self, columns: list[int]) -> Sequence[int]:
        """The order of each row that adds to the rank of these columns."""
        if not columns:
            return ()
        if self.growth is not None and len(columns) == self.rows[0].shape[1]:
            return self.growth
        growth = linear.independent(self._matrix(columns, None), len(columns), self.prime)
        return [row // len(self.outputs) for row in growth]

    def _matrix(self, columns: list[int], outputs: Collection[str] | None) -> list[list[int]]:
        blocks = self.rows
        if outputs is not None or len(columns) < blocks[0].shape[1]:
            chosen = [i for i, name in enumerate(self.outputs) if outputs is None or name in outputs]
            blocks = [block[chosen][:, columns] for block in blocks]
        return [row for block in blocks for row in block.tolist()]

    def _spread(self, vector: list[int], columns: list[int]) -> list[int]:
        whole = [0] * len(self.names)
        for column, value in zip(columns, vector, strict=True):
            whole[column] = value
        return whole


class Sampler:
    """Draws samples of one model under its options.

    `extra` are further outputs that `Sample` methods can be asked about; without asking for them (`outputs`) they
    count. With `separable`, samples hold enough orders for any subset of the outputs, which extra outputs imply.
    Raises Unsupported for models outside the method's scope.
    """

    def __init__(self, model: Model, *, extra: Mapping[str, Expression] | None = None, separable: bool = False) -> None:
        model = model.resolved()
        if len(model.states) + len(model.parameters) > MAX_UNKNOWNS:
            raise Unsupported(f"there are more than {MAX_UNKNOWNS:,} states and parameters")
        self.model = replace(model, outputs={**model.outputs, **(extra or {})})
        self._system = compile_system(self.model, constant_inputs=model.options.nonzero_input_derivatives == 0)
        known = model.options.known or Known({}, generic=True)
        self.known = frozenset(known.values)
        self._values = {} if known.generic else {s: v for s, v in known.values.items() if v is not None}
        self.names = model.states + model.parameters
        derivatives = model.options.unknown_input_derivatives
        self._free = bool(model.unknown_inputs) and derivatives is None
        self._impulses = min((derivatives or 0) + 1, MAX_ORDERS) if model.unknown_inputs and not self._free else 0
        count = len(self.model.outputs)
        self._groups = [[i] for i in range(count)] if separable or extra else [list(range(count))]
        self._width = len(self.names) + len(model.unknown_inputs) * self._impulses
        self._target: int | None = None
        self._rules = self._find_rules({})
        self._specific_rules = self._find_rules(self._values) if self._values else self._rules

    def _find_rules(self, specific: Mapping[str, Fraction]) -> Rules:
        system = self._system
        values = {node: specific[s] for s, node in zip(self.model.states, system.states, strict=True) if s in specific}
        try:
            return find_rules(system.circuit, system.nodes, values)
        except VanishingDenominator:
            raise Unsupported(_vanishing(specific)) from None

    def primes(self) -> Iterator[int]:
        """Primes that divide no number of the model."""
        numbers = self._system.numbers() | set(self._values.values())
        for prime in PRIMES:
            if all(n.denominator % prime and (n == 0 or n.numerator % prime) for n in numbers):
                yield prime

    def failure_probability(self, order: int, prime: int) -> float:
        """A bound on the probability that one random point gives a lower rank or a wrong variable.

        With right-hand sides P / Q of degree at most d, the Taylor coefficient of order k of an output's derivative
        is a polynomial of degree (2 k + 2) d over a power of Q. There is a minor for the rank, and one per variable;
        each has at most one row per column, none of a higher order than `order`.
        """
        order = self._orders() if self._free else order
        degree = total_degree(self._system) * (
            2 if self._rules.terms else 1
        )  # some points have squares for coordinates
        columns = self._width + len(self.model.unknown_inputs) * order * self._free
        return min(1.0, (len(self.names) + 1) * columns * (2 * order + 2) * degree / (prime - 1))

    def samples(self, seed: int | str) -> Iterator[Sample]:
        """A sample modulo one prime after another, at least two. Primes modulo which a number has no root are left out.

        Raises Unsupported where not even two primes are left.
        """
        count = 0
        for prime in self.primes():
            with suppress(NoRoot):
                yield self.draw(seed, prime=prime)
                count += 1
        if count < 2:
            raise Unsupported("no point was found where all radicands are squares")

    def effort(self, orders: int) -> int:
        """How much work it is to draw a sample of so many orders: operations of about half a microsecond."""
        nodes = len(self._system.nodes)
        return orders * (60 + nodes) + orders * orders * nodes // 20

    def draw(
        self,
        seed: int | str,
        *,
        prime: int | None = None,
        held: Mapping[str, int] | None = None,
        inputs: Mapping[str, Sequence[int]] | None = None,
        orders: int | None = None,
    ) -> Sample:
        """The matrix at a random point; `held` names keep these residues, and `inputs` these Taylor coefficients.

        The point follows from the seed, the prime and what is held. Without `orders` there are as many as make the
        rank final; who draws many points saves time by giving the `len(sample.rows)` of an earlier one.
        """
        prime = prime or next(self.primes())
        if self._values and self._target is None:
            # specific values lower ranks, never raise them: the generic rank tells when to stop
            generic = self._draw(seed, prime, held or {}, inputs or {}, {}, None)
            self._target = generic.rank()
        return self._draw(seed, prime, held or {}, inputs or {}, self._values, orders)

    def _draw(
        self,
        seed: int | str,
        prime: int,
        held: Mapping[str, int],
        inputs: Mapping[str, Sequence[int]],
        specific: Mapping[str, Fraction],
        orders: int | None,
    ) -> Sample:
        rules = self._specific_rules if specific else self._rules
        held = {**{s: residue(v, prime) for s, v in specific.items()}, **held}
        length = max(orders or 0, self._orders())
        vanished = 0
        for attempt in range(_ROOT_DRAWS if rules.terms else _DRAWS):
            source = random.Random(f"{seed} {prime} {attempt}")
            # radicands are mostly products of single names
            squares = bool(rules.terms) and attempt < _SQUARE_DRAWS
            point = self._point(source, prime, held, inputs, length=length, squares=squares)
            try:
                rows, growth = self._rows(point, prime, orders, specific=bool(specific))
            except VanishingDenominator:
                vanished += 1
                if vanished == _DRAWS:
                    raise Unsupported(_vanishing(specific)) from None
            except NoRoot:
                continue
            else:
                values = dict(zip(self.model.states, point.states, strict=True)) | dict(point.leaves)
                return Sample(
                    *(prime, self.names, self.known, tuple(self.model.outputs), values, point.inputs, rows),
                    *(self.model.unknown_inputs, len(rows) if self._free else self._impulses, growth),
                )
        raise NoRoot

    def _point(
        self,
        source: random.Random,
        prime: int,
        held: Mapping[str, int],
        inputs: Mapping[str, Sequence[int]],
        *,
        length: int,
        squares: bool,
    ) -> Point:
        options, unknown = self.model.options, self.model.unknown_inputs
        power = 2 if squares else 1
        names = (*self.model.states, *self._system.leaves)
        drawn = {name: pow(source.randrange(1, prime), power, prime) for name in names} | dict(held)
        series = {}
        for name in self._system.inputs:
            derivatives = options.unknown_input_derivatives if name in unknown else options.nonzero_input_derivatives
            free = length if derivatives is None else min(derivatives + 1, length)
            series[name] = [pow(source.randrange(1, prime), power, prime) for _ in range(free)] + [0] * (length - free)
        series |= {name: [*given, *[0] * (length - len(given))] for name, given in inputs.items() if name in series}
        leaves = {name: drawn[name] for name in self._system.leaves}
        return Point(leaves=leaves, states=[drawn[name] for name in self.model.states], inputs=series)

    def _patience(self) -> int:
        """Orders without growth after which a rank at specific values counts as final.

        There is no bound from theory: x' = 1 + a*x**m with x(0) = 0 shows `a` in derivative m + 1 first. Orders of
        vanishing grow by at most the degree with each state that a signal passes.
        """
        return (len(self.model.states) + 1) * (self._system.degree + 1) + self._width

    def _orders(self) -> int:
        """The most orders that may be needed."""
        if self._free:
            # as many as there are names, and as many again until the inputs are eliminated
            return min(2 * self._width + 2 + (self._patience() if self._values else 0), MAX_ORDERS)
        each = self._patience() if self._values else 1
        return min((self._width + 1) * each, MAX_ORDERS)

    def _rows(
        self, point: Point, prime: int, orders: int | None, *, specific: bool
    ) -> tuple[list[Residues], Sequence[int] | None]:
        """The matrix of so many orders, or up to the order where the rank of each group of outputs is final.

        And its `growth` (see Sample), where that was looked at on the way.
        """
        most = orders or self._orders()
        impulses = most if self._free else self._impulses
        rules = self._specific_rules if specific else self._rules
        blocks: list[Residues] = []
        for block in output_sensitivities(self._system, point, most, prime, rules, impulses):
            blocks.append(block)
            if orders is None and self._is_due(len(blocks), most):
                growths = [self._final_growth(blocks, group, prime, specific) for group in self._groups]
                if None not in growths:
                    return blocks, growths[0] if len(growths) == 1 and not (specific and self.known) else None
        if orders or self._free:
            return blocks, None
        raise Unsupported(f"the rank is not final after {MAX_ORDERS:,} derivatives")

    def _is_due(self, orders: int, most: int) -> bool:
        """Whether to look at the rank, which costs as much as some orders. With free inputs it may grow to the end."""
        if self._free or orders == most:
            return not self._free
        full = -(-self._width // min(map(len, self._groups)))  # orders: before, the rank is final only if it is low
        if orders < full:
            return orders >= _FIRST_LOOK and orders.bit_count() == 1
        return (orders - full) % (1 + self._width // 16) == 0

    def _final_growth(self, blocks: list[Residues], outputs: list[int], prime: int, specific: bool) -> list[int] | None:
        """The orders of the rows that add to the rank of these outputs, if later orders cannot add to it."""
        # at a generic point all states count, known or not: only the span over all of them stalls for good
        out = {i for i, name in enumerate(self.names) if specific and name in self.known}
        columns = [i for i in range(self._width) if i not in out]
        if out or len(self._groups) > 1:
            blocks = [block[outputs][:, columns] for block in blocks]
        rows = [row for block in blocks for row in block.tolist()]
        growth = [row // len(outputs) for row in linear.independent(rows, len(columns), prime)]
        comparable = len(self._groups) == 1 and not self._impulses and self._target is not None
        if len(growth) == len(columns):
            final = True
        elif not specific:
            # closed under differentiation as soon as one derivative adds nothing
            final = len(set(growth)) < len(blocks)
        elif comparable and len(growth) >= (self._target or 0):
            final = True
        else:
            final = len(blocks) - 1 - (growth[-1] if growth else -1) >= self._patience()
        return growth if final else None


def _vanishing(specific: Collection[str]) -> str:
    return f"a denominator is zero {'at the given initial values' if specific else 'everywhere'}"
