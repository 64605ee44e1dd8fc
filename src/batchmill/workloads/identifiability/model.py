"""A model as data: names, expressions and options. How it is read and checked is in `loading`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

from batchmill.workloads.identifiability.expressions import Expression


class Unsupported(ValueError):
    """A correct model that lies outside what the method can decide: why."""


class Known(NamedTuple):
    """States whose initial value is known: exactly this value, or (None, when `generic`) some generic one."""

    values: Mapping[str, Fraction | None]
    generic: bool


@dataclass(frozen=True, slots=True)
class Options:
    """What is assumed in an analysis.

    `nonzero_input_derivatives`: 0 for constant inputs, 1 for ramps, None for generic functions of time.
    `unknown_input_derivatives`: the same for unknown inputs, None for free ones. `known_parameters` count as numbers:
    exactly these, or (None) generic ones. With `parameters_only` the verdict leaves out the states; they stay unknown.
    """

    nonzero_input_derivatives: int | None = None
    known: Known | None = None
    unknown_input_derivatives: int | None = None
    known_parameters: Mapping[str, Fraction | None] = field(default_factory=dict)
    parameters_only: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """x' = f(x, p, u), y = h(x, p, u). A constant without a value (None) is known and generic.

    `known_parameters` are constants that were parameters.
    """

    name: str
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    unknown_inputs: tuple[str, ...]
    odes: Mapping[str, Expression]
    outputs: Mapping[str, Expression]
    constants: Mapping[str, Fraction | None] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    expected: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    known_parameters: tuple[str, ...] = ()

    def resolved(self) -> Model:
        """This model with its known parameters as constants."""
        known = self.options.known_parameters
        if not known:
            return self
        return replace(
            self,
            parameters=tuple(name for name in self.parameters if name not in known),
            constants={**self.constants, **known},
            known_parameters=(*self.known_parameters, *known),
            options=replace(self.options, known_parameters={}),
        )
