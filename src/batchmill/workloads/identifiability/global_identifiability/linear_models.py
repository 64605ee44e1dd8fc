"""Linear models with constant coefficients as polynomial equations: same transfer functions, same free responses.

For x' = A x + B u + b, y = C x + E u + e, an output is, after Laplace's transform,
    (C adj(sI - A) (x0 + b/s) + e det/s) / det  +  sum over inputs of u (C adj(sI - A) B + E det) / det
with det = det(sI - A), over the states that reach it. The outputs are the same exactly where all these fractions are:
no derivatives are cut off, so that given numbers as initial values are no obstacle. adj and det come from the method
of Faddeev and LeVerrier. A fraction whose parts have a common factor at the point (a mode that is not excited, or not
seen) is compared crosswise; else coefficient by coefficient. R. Bellman, K. J. Åström, "On structural
identifiability", Math. Biosci. 7 (1970) 329-339.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from batchmill.workloads.identifiability.circuit import Op
from batchmill.workloads.identifiability.global_identifiability import groebner
from batchmill.workloads.identifiability.global_identifiability.fibre import Polynomials, words_of
from batchmill.workloads.identifiability.global_identifiability.verdict import Word
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.sampling import Sample, Sampler
from batchmill.workloads.identifiability.system import System, compile_system

MAX_STATES = 12  # beyond this determinants with many parameters have too many terms

Vector = list[Any]
Matrix = list[Vector]
Coefficients = list[Any]  # of a polynomial in s, lowest first


@dataclass(frozen=True)
class LinearModel:
    """A model whose right-hand sides and outputs are linear in states and inputs: its compiled system."""

    model: Model
    system: System
    gains: Mapping[tuple[int, int], int]  # (root, input) -> node

    @classmethod
    def of(cls, model: Model) -> LinearModel | None:
        """The model, or None where it is not linear, or too large."""
        constant = model.options.nonzero_input_derivatives == 0
        if model.options.nonzero_input_derivatives not in (None, 0) or len(model.states) > MAX_STATES:
            return None
        system = compile_system(model, constant_inputs=constant)
        circuit = system.circuit
        gains: dict[tuple[int, int], int] = {}
        for row, root in enumerate(system.roots):
            partials = circuit.gradient(root)
            gains |= {(row, i): partials[leaf] for i, leaf in enumerate(system.inputs.values()) if leaf in partials}
        slopes = [*system.jacobian.values(), *gains.values()]
        reciprocals = [i for i in circuit.reachable(system.roots) if circuit.nodes[i].op not in _POLYNOMIAL]
        nodes = [circuit.nodes[i] for i in (*slopes, *reciprocals)]
        return cls(model, system, gains) if all(node.static for node in nodes) else None

    def words(self, seed: str, prime: int) -> Iterator[dict[str, Word]]:
        """What is known after the ranks, then after the equations are solved. Raises Unsupported, EngineFailed."""
        sample = Sampler(self.model).draw(seed, prime=prime)
        return words_of(sample, lambda free: _Equations(self, sample, free).build())


_POLYNOMIAL = (Op.NUMBER, Op.LEAF, Op.ADD, Op.MUL)


class _Equations:
    """The equations at one point. Unknowns are parameters, initial values and reciprocals of parameters' terms."""

    def __init__(self, linear: LinearModel, sample: Sample, free: frozenset[str]) -> None:
        self._system, self._sample, self._prime = linear.system, sample, sample.prime
        self._gains = linear.gains
        circuit = linear.system.circuit
        wanted = [*linear.system.roots, *linear.system.jacobian.values(), *linear.gains.values()]
        self._nodes = circuit.reachable(wanted)
        reciprocals = [f"1/{i}" for i in self._nodes if circuit.nodes[i].op is Op.INV]
        unknown = [*reciprocals, *(name for name in sample.names if name not in free | sample.known)]
        self._variable = {name: f"v{i}" for i, name in enumerate(unknown)}
        self._ring = groebner.ring(tuple(self._variable.values()) or ("none",), self._prime)
        self._symbols = dict(zip(unknown, self._ring.gens(), strict=False))
        self._truth = {name: sample.values[name] for name in unknown if name in sample.values}
        self._reciprocals: list[Any] = []
        self._values = self._evaluate()

    def _modulo(self, value: Fraction) -> int:
        return value.numerator * pow(value.denominator, -1, self._prime) % self._prime

    def _symbol(self, name: str) -> Any:
        return self._symbols[name] if name in self._symbols else self._ring.constant(self._sample.values[name])

    def _evaluate(self) -> dict[int, Any]:
        """All nodes where states and inputs are zero; notes the truth and the equation of every reciprocal."""
        nodes = self._system.circuit.nodes
        values: dict[int, Any] = {}
        for index in self._nodes:
            node = nodes[index]
            arguments = [values[i] for i in node.arguments] if node.op in (Op.ADD, Op.MUL, Op.INV) else []
            if node.op is Op.NUMBER:
                values[index] = self._ring.constant(self._modulo(node.arguments[0]))
            elif node.op is Op.LEAF:
                name = node.arguments[0]
                values[index] = self._symbol(name) if node.static else self._ring.constant(0)
            elif node.op is Op.ADD:
                values[index] = sum(arguments[1:], arguments[0])
            elif node.op is Op.MUL:
                values[index] = arguments[0] * arguments[1]
            elif node.op is Op.INV:
                values[index] = self._reciprocal(f"1/{index}", arguments[0])
            else:
                raise Unsupported(f"its equations are not rational: they hold `{node.op.name.lower()}`")
        return values

    def _reciprocal(self, name: str, divisor: Any) -> Any:
        self._truth[name] = pow(self._at_the_point(divisor), -1, self._prime)
        self._reciprocals.append(self._symbols[name] * divisor - 1)
        return self._symbols[name]

    def _at_the_point(self, polynomial: Any) -> int:
        value = polynomial.subs({self._variable[name]: number for name, number in self._truth.items()})
        return int(value.leading_coefficient()) if not value.is_zero() else 0

    def build(self) -> Polynomials:
        """The equations of all outputs."""
        equations = list(self._reciprocals)
        states = len(self._system.states)
        for row in range(states, len(self._system.roots)):
            equations += self._same(*self._fractions(row))
        return Polynomials(
            tuple(self._variable.values()), [e for e in equations if not e.is_zero()], self._variable, self._prime
        )

    def _entry(self, row: int, state: int) -> Any:
        node = self._system.jacobian.get((row, state))
        return self._ring.constant(0) if node is None else self._values[node]

    def _fractions(self, row: int) -> tuple[list[Coefficients], Coefficients]:
        """The numerators of an output's fractions, and their denominator."""
        reach = self._reaching(row)
        zero = self._ring.constant(0)
        matrix = [[self._entry(i, j) for j in reach] for i in reach]
        adjugate, determinant = characteristic(matrix, zero, self._prime)
        out = [self._entry(row, state) for state in reach]
        seen = [[_dot(out, column, zero) for column in zip(*power, strict=True)] for power in adjugate]

        def response(vector: Vector, direct: Any) -> Coefficients:
            parts = [_dot(weights, vector, zero) for weights in seen]
            return [a + direct * b for a, b in zip([*parts, zero], determinant, strict=True)]

        names = self._sample.names
        free = response([self._symbol(names[state]) for state in reach], zero)
        steady = response([self._values[self._system.roots[s]] for s in reach], self._values[self._system.roots[row]])
        # (free + steady / s) / det, and no power of s too many where nothing is steady
        numerators = [[zero, *free]] if any(not c.is_zero() for c in steady) else [free]
        if len(numerators[0]) > len(free):
            numerators[0] = [a + b for a, b in zip([*steady, zero], numerators[0], strict=True)]
            denominator = [zero, *determinant]
        else:
            denominator = determinant
        for i in range(len(self._system.inputs)):
            gain = [self._gain(state, i) for state in reach]
            forced = response(gain, self._gain(row, i))
            numerators.append([zero, *forced] if len(denominator) > len(determinant) else forced)
        return numerators, denominator

    def _gain(self, row: int, number: int) -> Any:
        node = self._gains.get((row, number))
        return self._ring.constant(0) if node is None else self._values[node]

    def _reaching(self, row: int) -> list[int]:
        """The states that an output depends on, directly or through others."""
        found: set[int] = set()
        pending = [row]
        while pending:
            current = pending.pop()
            new = {state for at, state in self._system.jacobian if at == current} - found
            found |= new
            pending += new
        return sorted(found)

    def _same(self, numerators: Sequence[Coefficients], denominator: Coefficients) -> list[Any]:
        """The equations that say that the fractions are those of the point."""
        from flint import nmod_poly

        def numbers(coefficients: Coefficients) -> Any:
            return nmod_poly([self._at_the_point(c) for c in coefficients], self._prime)

        below, above = numbers(denominator), [numbers(n) for n in numerators]
        common = below
        for polynomial in above:
            common = common.gcd(polynomial)
        if common.degree() == 0:
            pairs = [(denominator, below), *zip(numerators, above, strict=True)]
            return [c - int(value[k]) for c_list, value in pairs for k, c in enumerate(c_list)]
        below = below // common
        found = []
        for coefficients, value in zip(numerators, above, strict=True):
            crosswise = zip(_times(coefficients, below), _times(denominator, value // common), strict=False)
            found += [a - b for a, b in crosswise]
        return found


def characteristic(matrix: Matrix, zero: Any, prime: int) -> tuple[list[Matrix], Coefficients]:
    """The coefficients of adj(sI - A) and of det(sI - A), lowest power of s first."""
    size = len(matrix)
    identity = [[zero + int(i == j) for j in range(size)] for i in range(size)]
    power, adjugate, determinant = identity, [], [zero + 1]
    for k in range(1, size + 1):
        adjugate.append(power)
        product = [[_dot(row, column, zero) for column in zip(*power, strict=True)] for row in matrix]
        trace = sum((product[i][i] for i in range(size)), zero)
        determinant.append(trace * (-pow(k, -1, prime) % prime))
        power = [[v + (determinant[k] if i == j else 0) for j, v in enumerate(row)] for i, row in enumerate(product)]
    return adjugate[::-1], determinant[::-1]


def _dot(a: Sequence[Any], b: Sequence[Any], zero: Any) -> Any:
    return sum((x * y for x, y in zip(a, b, strict=True) if not (x.is_zero() or y.is_zero())), zero)


def _times(coefficients: Coefficients, numbers: Any) -> Coefficients:
    """The product with a polynomial of numbers."""
    length = len(coefficients) + numbers.degree()
    product = [coefficients[0] * 0 for _ in range(length)]
    for i, coefficient in enumerate(coefficients):
        for k in range(numbers.degree() + 1):
            product[i + k] = product[i + k] + coefficient * int(numbers[k])
    return product
