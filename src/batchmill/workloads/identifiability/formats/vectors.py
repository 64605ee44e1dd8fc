"""The vectors x, p, h, f, u, w, ics and known_ics of STRIKE-GOLDD, StrikePy and NullStrike, made into a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from batchmill.workloads.identifiability.expressions import Expression, ExpressionError, Number
from batchmill.workloads.identifiability.formats.draft import Draft, symbol_name
from batchmill.workloads.identifiability.formats.source import Source

NAMES = ("x", "p", "h", "f", "u", "w", "ics", "known_ics")
MAX_ITEMS = 10_000
_KINDS = {"x": "states", "p": "parameters", "u": "inputs", "w": "unknown_inputs"}


class Vectors:
    """Assigned values (an Expression, or a list of values with offsets) and where each was assigned."""

    def __init__(self, values: Mapping[str, Any], places: Mapping[str, int], source: Source, name: str) -> None:
        self._values = values
        self._places = places
        self._source = source
        self._name = name

    def draft(self) -> Draft:
        """The model. Raises ManifestError for what is missing, repeated or of the wrong length."""
        for name, what in (("x", "states"), ("f", "equations"), ("h", "outputs")):
            if name not in self._values:
                self._source.refuse(f"`{name}`, the {what}, is never assigned", hint="is this a model file?")
        draft = Draft(self._source, self._name)
        for name, kind in _KINDS.items():
            draft.declare(kind, self._symbols(name))
        if not draft.states:
            self._source.refuse("`x` holds no states", self._places["x"])
        draft.set_equations(list(self._items("f")), self._places["f"])
        draft.set_outputs(list(self._items("h")), self._places["h"])
        draft.known = self._known(draft.states)
        return draft

    def _items(self, name: str) -> Iterator[tuple[Expression, int]]:
        try:
            yield from flat(self._values.get(name, []), self._places.get(name, 0))
        except ExpressionError as error:
            self._source.refuse_expression(error)

    def _symbols(self, name: str) -> Iterator[tuple[str, int]]:
        for value, offset in self._items(name):
            symbol = symbol_name(value)
            if symbol is None:
                self._source.refuse(f"`{name}` holds something that is not a symbol", offset)
            yield symbol, offset

    def _known(self, states: list[str]) -> dict[str, Fraction] | list[str] | None:
        """The states that `known_ics` marks with 1: with their values in `ics`, when these are numbers."""
        marks = [isinstance(value, Number) and value.value == 1 for value, _ in self._items("known_ics")]
        if not any(marks):
            return None
        self._check_marks(states)
        names = [state for state, known in zip(states, marks, strict=True) if known]
        values = [value for value, _ in self._items("ics")]
        if not values:
            return names
        if len(values) != len(states):
            self._source.refuse(f"`ics` holds {len(values)} values for {len(states)} states", self._places["ics"])
        given = [value for value, known in zip(values, marks, strict=True) if known]
        numbers = [value.value for value in given if isinstance(value, Number)]
        if len(numbers) == len(given):
            return dict(zip(names, numbers, strict=True))
        if numbers:
            self._source.refuse(
                "the known values in `ics` are numbers for some states and symbols for others",
                self._places["ics"],
                hint="give numbers for all of them, or for none",
            )
        return names

    def _check_marks(self, states: list[str]) -> None:
        marks = list(self._items("known_ics"))
        if len(marks) != len(states):
            self._source.refuse(
                f"`known_ics` holds {len(marks)} marks for {len(states)} states", self._places["known_ics"]
            )
        for value, offset in marks:
            if not isinstance(value, Number) or value.value not in (0, 1):
                self._source.refuse("`known_ics` holds 0 or 1 for each state", offset)


def flat(value: Any, offset: int) -> Iterator[tuple[Expression, int]]:
    """The expressions in a value, with their offsets; one that is no list stands at `offset`.

    Raises ExpressionError for more than MAX_ITEMS: lists that hold one list twice can stand for any number.
    """
    seen = 0
    waiting = [iter([(value, offset)])]
    while waiting:
        for item, at in waiting[-1]:
            seen += 1
            if seen > MAX_ITEMS:
                raise ExpressionError(f"a list here holds over {MAX_ITEMS:,} things", offset)
            if isinstance(item, list):
                waiting.append(iter(item))
                break
            yield item, at
        else:
            waiting.pop()
