"""A model while it is read from a foreign file: what importers fill in, and how it becomes our own format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from batchmill.workloads.identifiability.expressions import Expression, ExpressionError, Number, Symbol
from batchmill.workloads.identifiability.formats.printing import decimal_text, names_in, substitute, to_text
from batchmill.workloads.identifiability.formats.source import Source

Place = tuple[str | int, ...]


@dataclass
class Draft:
    """Names and equations in the order of the file. `places` says at which offset each equation stands."""

    source: Source
    name: str
    states: list[str] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    unknown_inputs: list[str] = field(default_factory=list)
    odes: dict[str, Expression] = field(default_factory=dict)
    outputs: dict[str, Expression] = field(default_factory=dict)
    constants: dict[str, Fraction | None] = field(default_factory=dict)
    known: dict[str, Fraction] | list[str] | None = None
    notes: list[str] = field(default_factory=list)
    places: dict[Place, int] = field(default_factory=dict)
    origin: str = ""
    variable: str = ""  # what it is assigned to in the file, where that is not its name

    def declare(self, kind: str, names: Iterable[tuple[str, int]]) -> None:
        """Take names, each with its offset, into one of the lists. Raises ManifestError at a duplicate."""
        for name, offset in names:
            for other in ("states", "parameters", "inputs", "unknown_inputs"):
                if name in getattr(self, other):
                    self.source.refuse(
                        f"the symbol `{name}` is already one of the {other.replace('_', ' ')}",
                        offset,
                        length=len(name),
                        hint="two variables may stand for one symbol: look at where they are made",
                    )
            getattr(self, kind).append(name)
            self.places[(kind, len(getattr(self, kind)) - 1)] = offset

    def set_equations(self, equations: Sequence[tuple[Expression, int]], offset: int | None) -> None:
        """One right-hand side for each state, in order. Raises ManifestError when their numbers differ."""
        if len(equations) != len(self.states):
            self.source.refuse(f"{len(self.states)} states but {len(equations)} equations", offset)
        for state, (expression, at) in zip(self.states, equations, strict=True):
            self.odes[state] = expression
            self.places[("odes", state)] = at

    def set_outputs(self, outputs: Sequence[tuple[Expression, int]], offset: int | None) -> None:
        """The outputs, named `y` or `y1`, `y2`... Raises ManifestError when there is none."""
        if not outputs:
            self.source.refuse("the model has no output", offset, hint="name in `h` what is measured")
        for index, (expression, at) in enumerate(outputs, start=1):
            name = "y" if len(outputs) == 1 else f"y{index}"
            self.outputs[name] = expression
            self.places[("outputs", name)] = at

    def settle(self) -> None:
        """Make constants of names that are used and not declared; leave out, with a note, what is used nowhere."""
        used: dict[str, None] = {}
        for expression in (*self.odes.values(), *self.outputs.values()):
            used.update(dict.fromkeys(sorted(names_in(expression))))
        declared = {*self.states, *self.parameters, *self.inputs, *self.unknown_inputs}
        for name in used:
            if name not in declared:
                self.constants.setdefault(name, None)
        for kind in ("parameters", "inputs", "unknown_inputs"):
            self._leave_out(kind, used)
        self.constants = {name: value for name, value in self.constants.items() if name in used}
        self._mix_constants()

    def _leave_out(self, kind: str, used: Iterable[str]) -> None:
        names = getattr(self, kind)
        unused = [name for name in names if name not in used]
        if unused:
            what = kind.replace("_", " ")
            self.notes.append(f"left out {what} that no equation uses: {', '.join(unused)}")
            setattr(self, kind, [name for name in names if name in used])

    def _mix_constants(self) -> None:
        """A model file holds either numbers or generic constants: of both, numbers go into the equations."""
        numbers = {name: Number(value) for name, value in self.constants.items() if value is not None}
        if len(numbers) == len(self.constants):
            return
        for equations in (self.odes, self.outputs):
            for name, expression in equations.items():
                equations[name] = substitute(expression, numbers)
        self.constants = {name: None for name in self.constants if name not in numbers}

    def native(self) -> dict[str, Any]:
        """The model as a mapping of our model files. Raises ManifestError at an equation that cannot be written."""
        self.settle()
        told: dict[str, Any] = {"id": self.name, "source": "; ".join([self.origin or self._origin(), *self.notes])}
        for kind in ("states", "parameters", "inputs", "unknown_inputs"):
            if kind == "states" or getattr(self, kind):
                told[kind] = list(getattr(self, kind))
        if self.constants:
            known = {name: number_text(value) for name, value in self.constants.items() if value is not None}
            told["constants"] = known or list(self.constants)
        told["odes"] = {name: self._text(("odes", name), value) for name, value in self.odes.items()}
        told["outputs"] = {name: self._text(("outputs", name), value) for name, value in self.outputs.items()}
        if self.known:
            told["options"] = {"known_initial_conditions": self._known(self.known)}
        return told

    def _origin(self) -> str:
        return f"imported from {self.source.path.rpartition('/')[2]}"

    def _known(self, known: dict[str, Fraction] | list[str]) -> dict[str, str] | list[str]:
        if isinstance(known, list):
            return known
        return {name: number_text(value) for name, value in known.items()}

    def _text(self, place: Place, expression: Expression) -> str:
        try:
            return to_text(expression)
        except ExpressionError as error:
            self.source.refuse_expression(error, self.places.get(place, 0))


def number_text(value: Fraction) -> str:
    """An exact number as model files write it."""
    return decimal_text(value) or f"{value.numerator}/{value.denominator}"


def symbol_name(value: object) -> str | None:
    """The name, when a value is a symbol alone."""
    return value.name if isinstance(value, Symbol) else None
