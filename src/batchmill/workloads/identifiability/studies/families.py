"""Models of any size: chains, rings, SEIR with stages, random reaction networks, and copies of any model.

Each function makes a `Model` from the same texts that a model file would hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from batchmill.workloads.identifiability.expressions import Call, Expression, Number, Power, Product, Sum, Symbol
from batchmill.workloads.identifiability.model import Known, Model
from batchmill.workloads.identifiability.parser import parse

MAX_SIZE = 1000
Coupling = Literal["none", "chain"]


def chain(size: int, seed: int = 0) -> Model:
    """Michaelis-Menten steps one after the other, with one shared half-saturation; only the last state is measured.

    `size` states, `size + 1` parameters: the worst case of the method, since one output must tell everything.
    """
    flows = [f"v{i}*x{i}/(K + x{i})" for i in range(1, size + 1)]
    odes = {f"x{i + 1}": f"{flows[i - 1]} - {flow}" if i else f"-{flow}" for i, flow in enumerate(flows)}
    return _model(f"chain_{size}", odes, [*(f"v{i}" for i in range(1, size + 1)), "K"], {"y": f"x{size}"})


def ring(size: int, seed: int = 0) -> Model:
    """A linear cycle of `size` compartments with rates of their own; the first has an input and is measured."""
    odes = {}
    for i in range(1, size + 1):
        before = size if i == 1 else i - 1
        odes[f"x{i}"] = f"k{before}*x{before} - k{i}*x{i}" if size > 1 else "-k1*x1"
    odes["x1"] += " + u"
    return _model(f"ring_{size}", odes, [f"k{i}" for i in range(1, size + 1)], {"y": "x1"}, inputs=["u"])


def seir_n(size: int, seed: int = 0) -> Model:
    """SEIR with `size` exposed stages; prevalence is measured up to an unknown reporting fraction."""
    infection = "beta*S*I/N"
    odes = {"S": f"-{infection}"}
    entering = infection
    for i in range(1, size + 1):
        odes[f"E{i}"] = f"{entering} - a{i}*E{i}"
        entering = f"a{i}*E{i}"
    odes |= {"I": f"{entering} - g*I", "R": "g*I"}
    parameters = ["beta", "N", "g", "r", *(f"a{i}" for i in range(1, size + 1))]
    return _model(f"seir_{size}", odes, parameters, {"y": "r*I"})


def random_network(size: int, seed: int = 0) -> Model:
    """`size` species in a connected network of mass-action reactions, drawn by `seed`; every third is measured.

    A tree of conversions keeps it connected; as many reactions again convert, bind or degrade random species.
    """
    source = random.Random(f"random_network {size} {seed}")
    species = [f"x{i}" for i in range(1, size + 1)]
    terms: dict[str, list[str]] = {name: [] for name in species}
    reactions = [([source.choice(species[:i])], [species[i]]) for i in range(1, size)]
    for _ in range(size):
        consumed = source.sample(species, min(source.choice((1, 1, 2)), size))
        others = [name for name in species if name not in consumed]
        reactions.append((consumed, source.sample(others, min(source.choice((0, 1, 1)), len(others)))))
    for number, (reactants, produced) in enumerate(reactions, 1):
        rate = "*".join([f"k{number}", *reactants])
        for name in reactants:
            terms[name].append(f"- {rate}")
        for name in produced:
            terms[name].append(f"+ {rate}")
    odes = {name: " ".join(found) or "0" for name, found in terms.items()}
    outputs = {f"y{i}": name for i, name in enumerate(species[::3], 1)}
    parameters = [f"k{number}" for number in range(1, len(reactions) + 1)]
    return _model(f"random_network_{size}", odes, parameters, outputs)


FAMILIES: Mapping[str, Callable[[int, int], Model]] = {
    "chain": chain,
    "ring": ring,
    "seir_n": seir_n,
    "random_network": random_network,
}


def copies(base: Model, count: int, coupling: Coupling = "none") -> Model:
    """`count` copies of a model, each with its own states, parameters, inputs and outputs (`name_1`, `name_2`, ...).

    `chain` lets the first states of neighbours exchange, each pair at a rate of its own (a new parameter).
    """
    parts = [_copy(base, number) for number in range(1, count + 1)]
    odes = {name: formula for part in parts for name, formula in part.odes.items()}
    exchanges = [f"exchange_{number}" for number in range(1, count)] if coupling == "chain" else []
    for number, rate in enumerate(exchanges, 1):
        here, there = f"{base.states[0]}_{number}", f"{base.states[0]}_{number + 1}"
        flow = f"{rate}*({here} - {there})"
        odes[here] = Sum((odes[here], parse(f"-{flow}").expression))
        odes[there] = Sum((odes[there], parse(flow).expression))
    known = [part.options.known for part in parts if part.options.known is not None]
    values = {state: value for each in known for state, value in each.values.items()}
    return replace(
        base,
        name=f"{base.name}_{count}" + ("_chain" if exchanges else ""),
        states=tuple(name for part in parts for name in part.states),
        parameters=(*(name for part in parts for name in part.parameters), *exchanges),
        inputs=tuple(name for part in parts for name in part.inputs),
        unknown_inputs=tuple(name for part in parts for name in part.unknown_inputs),
        odes=odes,
        outputs={name: formula for part in parts for name, formula in part.outputs.items()},
        options=replace(base.options, known=Known(values, known[0].generic) if known else None),
        expected={},
    )


def _copy(base: Model, number: int) -> Model:
    """A model with `_number` after every name but those of its constants."""
    groups = (base.states, base.parameters, base.inputs, base.unknown_inputs)
    new = {name: f"{name}_{number}" for group in groups for name in group}
    known = base.options.known
    renamed = Known({new[s]: value for s, value in known.values.items()}, known.generic) if known else None
    return replace(
        base,
        states=tuple(new[name] for name in base.states),
        parameters=tuple(new[name] for name in base.parameters),
        inputs=tuple(new[name] for name in base.inputs),
        unknown_inputs=tuple(new[name] for name in base.unknown_inputs),
        odes={new[name]: _renamed(formula, new) for name, formula in base.odes.items()},
        outputs={f"{name}_{number}": _renamed(formula, new) for name, formula in base.outputs.items()},
        options=replace(base.options, known=renamed),
    )


def _renamed(formula: Expression, new: Mapping[str, str]) -> Expression:
    """An expression with other names."""
    match formula:
        case Symbol(name):
            return Symbol(new.get(name, name))
        case Sum(terms):
            return Sum(tuple(_renamed(term, new) for term in terms))
        case Product(factors):
            return Product(tuple(_renamed(factor, new) for factor in factors))
        case Power(base, exponent, offset):
            return Power(_renamed(base, new), _renamed(exponent, new), offset)
        case Call(function, argument, offset):
            return Call(function, _renamed(argument, new), offset)
        case Number():
            return formula


def _model(name: str, odes: Mapping[str, str], parameters: list[str], outputs: Mapping[str, str], **more: Any) -> Model:
    return Model(
        name=name,
        states=tuple(odes),
        parameters=tuple(parameters),
        inputs=tuple(more.get("inputs", ())),
        unknown_inputs=(),
        odes={state: parse(text).expression for state, text in odes.items()},
        outputs={output: parse(text).expression for output, text in outputs.items()},
    )
