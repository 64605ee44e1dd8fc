"""What no output depends on, by the equations alone: proved not to be identifiable, whatever else is unknown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from fractions import Fraction

from batchmill.workloads.identifiability.circuit import Circuit, Op
from batchmill.workloads.identifiability.model import Known, Model
from batchmill.workloads.identifiability.system import compile_system


def seen_part(model: Model) -> tuple[Model, tuple[str, ...]]:
    """The model less what no output depends on, and the unknowns among that: states, then parameters.

    Outputs depend on the names in their formulas, and on those in the equations of states among them. States that are
    known to be 0 at the start and stay there are the number 0. Raises Unsupported for what divides by zero.
    """
    model = _without(model, _resting(model))
    system = compile_system(model, constant_inputs=True)
    circuit, count = system.circuit, len(model.states)
    equation = dict(zip(model.states, system.roots, strict=False))
    seen: set[str] = set()
    pending = list(system.roots[count:])
    while pending:
        new = _leaves(circuit, [pending.pop()]) - seen
        seen |= new
        pending += [equation[name] for name in new if name in equation]
    known = model.options.known.values if model.options.known else {}
    unknown = tuple(n for n in (*model.states, *model.parameters) if n not in seen and n not in known)
    states, parameters = (tuple(n for n in names if n in seen) for names in (model.states, model.parameters))
    # formulas may still name what is unseen, such as the factor of a state or a constant that is 0
    named = (*model.states, *model.parameters)
    constants = {**model.constants, **dict.fromkeys(name for name in named if name not in seen)}
    return replace(_restricted(model, states), parameters=parameters, constants=constants), unknown


def _resting(model: Model) -> frozenset[str]:
    """The states that are 0 at the start, and whose slopes are 0 while all of them are."""
    known = model.options.known
    resting = {name for name, value in known.values.items() if value == 0} if known else set()
    while True:
        circuit = Circuit()
        names = (*model.states, *model.parameters, *model.inputs, *model.unknown_inputs, *model.constants)
        symbols = {name: circuit.zero if name in resting else circuit.leaf(name, static=False) for name in names}
        try:
            moving = {name for name in resting if circuit.lower(model.odes[name], symbols) != circuit.zero}
        except (ZeroDivisionError, OverflowError):
            return frozenset()
        if not moving:
            return frozenset(resting)
        resting -= moving


def _without(model: Model, resting: Collection[str]) -> Model:
    if not resting:
        return model
    changed = replace(model, constants={**model.constants, **dict.fromkeys(resting, Fraction(0))})
    return _restricted(changed, tuple(name for name in model.states if name not in resting))


def _restricted(model: Model, states: tuple[str, ...]) -> Model:
    """The model with some of its states."""
    known = model.options.known
    if known is not None:
        values: Mapping[str, Fraction | None] = {n: v for n, v in known.values.items() if n in states}
        known = Known(values, known.generic)
    odes = {name: model.odes[name] for name in states}
    return replace(model, states=states, odes=odes, options=replace(model.options, known=known))


def _leaves(circuit: Circuit, roots: list[int]) -> set[str]:
    nodes = (circuit.nodes[index] for index in circuit.reachable(roots))
    return {node.arguments[0] for node in nodes if node.op is Op.LEAF}
