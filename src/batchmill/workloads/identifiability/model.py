"""A model as data: names, expressions and options. How it is read and checked is in `loading`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """

    nonzero_input_derivatives: int | None = None
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """x' = f(x, p, u), y = h(x, p, u). A constant without a value (None) is known and generic."""

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
