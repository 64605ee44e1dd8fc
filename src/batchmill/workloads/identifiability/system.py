"""A model compiled for series arithmetic: one circuit of right-hand sides and outputs, and its Jacobian as nodes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from batchmill.workloads.identifiability.circuit import Circuit, Op
from batchmill.workloads.identifiability.expressions import Expression
from batchmill.workloads.identifiability.model import Model, Unsupported

MAX_DEGREE = 12  # beyond this `System.degree` is not told


@dataclass(frozen=True)
class System:
    """`roots` are the right-hand sides, in the order of the states, then the outputs; rows below count them.

    `jacobian` maps (row, state), `forcing` (row, parameter) and `disturbance` (row, unknown input) to the partial
    derivatives that are not zero. `inputs` are the inputs that change in time, unknown ones among them, `leaves` all
    symbols that do not (`parameters` are among them). `nodes` is what has to be computed, in order.
    """

    circuit: Circuit
    states: tuple[int, ...]
    parameters: tuple[str, ...]
    leaves: tuple[str, ...]
    inputs: dict[str, int]
    roots: tuple[int, ...]
    jacobian: dict[tuple[int, int], int]
    forcing: dict[tuple[int, int], int]
    disturbance: dict[tuple[int, int], int]
    unknown_inputs: int
    nodes: tuple[int, ...]

    @cached_property
    def degree(self) -> int:
        """A bound on the degree of the roots in the states, or MAX_DEGREE."""
        return _degree(self.circuit, list(self.roots))

    def numbers(self) -> set[Fraction]:
        """All exact numbers in it."""
        return {self.circuit.nodes[i].arguments[0] for i in self.nodes if self.circuit.nodes[i].op is Op.NUMBER}


def compile_system(model: Model, *, constant_inputs: bool) -> System:
    """The system of a model. Raises Unsupported for what divides by zero."""
    circuit = Circuit()
    symbols = {name: circuit.leaf(name, static=False) for name in model.states}
    symbols |= {name: circuit.leaf(name, static=constant_inputs) for name in model.inputs}
    symbols |= {name: circuit.leaf(name, static=False) for name in model.unknown_inputs}
    symbols |= {name: circuit.leaf(name, static=True) for name in model.parameters}
    for name, value in model.constants.items():
        symbols[name] = circuit.leaf(name, static=True) if value is None else circuit.number(value)
    equations = [(f"the equation of `{name}`", model.odes[name]) for name in model.states]
    equations += [(f"the output `{name}`", output) for name, output in model.outputs.items()]
    roots = [_lower(circuit, what, expression, symbols) for what, expression in equations]
    return _differentiate(model, circuit, symbols, roots)


def _lower(circuit: Circuit, what: str, expression: Expression, symbols: dict[str, int]) -> int:
    try:
        return circuit.lower(expression, symbols)
    except OverflowError as error:
        raise Unsupported(f"{what}: {error}") from None
    except ZeroDivisionError:
        raise Unsupported(f"{what} divides by zero") from None


def _differentiate(model: Model, circuit: Circuit, symbols: dict[str, int], roots: list[int]) -> System:
    kinds = (model.states, model.parameters, model.unknown_inputs)
    places = {symbols[name]: (kind, i) for kind, names in enumerate(kinds) for i, name in enumerate(names)}
    partials: tuple[dict[tuple[int, int], int], ...] = ({}, {}, {})
    for row, root in enumerate(roots):
        for leaf, partial in circuit.gradient(root).items():
            if leaf in places:
                kind, column = places[leaf]
                partials[kind][row, column] = partial
    jacobian, forcing, disturbance = partials
    states = [symbols[name] for name in model.states]
    wanted = [*states, *roots, *(node for partial in partials for node in partial.values())]
    nodes = circuit.reachable(wanted)
    used = set(nodes)
    free = [*model.parameters, *model.inputs, *(name for name, value in model.constants.items() if value is None)]
    return System(
        circuit=circuit,
        states=tuple(states),
        parameters=model.parameters,
        leaves=tuple(name for name in free if circuit.nodes[symbols[name]].static),
        inputs={
            name: symbols[name]
            for name in (*model.inputs, *model.unknown_inputs)
            if _changes(circuit, symbols[name], used)
        },
        roots=tuple(roots),
        jacobian=jacobian,
        forcing=forcing,
        disturbance=disturbance,
        unknown_inputs=len(model.unknown_inputs),
        nodes=tuple(nodes),
    )


def _changes(circuit: Circuit, leaf: int, used: set[int]) -> bool:
    return leaf in used and not circuit.nodes[leaf].static


def _degree(circuit: Circuit, roots: list[int]) -> int:
    degrees: dict[int, int] = {}
    for index in circuit.reachable(roots):
        node = circuit.nodes[index]
        if node.static:
            degrees[index] = 0
        elif node.op is Op.LEAF:
            degrees[index] = 1
        elif node.op is Op.MUL:
            degrees[index] = min(sum(degrees[i] for i in node.arguments), MAX_DEGREE)
        elif node.op >= Op.EXP:
            degrees[index] = MAX_DEGREE
        else:
            degrees[index] = max(degrees[i] for i in node.arguments)
    return max(degrees[root] for root in roots)


def total_degree(system: System) -> int:
    """A bound on the degree, in all symbols, of the roots' numerators over a common denominator.

    Functions count as symbols; their slopes add the degrees of their arguments.
    """
    circuit = system.circuit
    above: dict[int, int] = {}  # degrees of numerators,
    below: dict[int, int] = {}  # and of denominators
    slopes = 0
    for index in circuit.reachable(system.roots):
        node = circuit.nodes[index]
        parts = node.arguments
        if node.op in (Op.NUMBER, Op.LEAF):
            above[index], below[index] = int(node.op is Op.LEAF), 0
        elif node.op is Op.ADD:
            below[index] = sum([below[i] for i in parts])
            above[index] = max([above[i] - below[i] for i in parts]) + below[index]
        elif node.op is Op.MUL:
            above[index], below[index] = above[parts[0]] + above[parts[1]], below[parts[0]] + below[parts[1]]
        elif node.op is Op.INV:
            above[index], below[index] = below[parts[0]], above[parts[0]]
        else:
            above[index], below[index] = 1, 0
            slopes += 2 * (above[parts[0]] + below[parts[0]]) + 1
    common = sum([below[root] for root in system.roots])
    return max(common, *(above[root] - below[root] + common for root in system.roots)) + slopes
