"""NullStrike and StrikePy options files (`.py`), read like their model files: nothing in them runs."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from batchmill.workloads.identifiability.expressions import Expression, ExpressionError, Number
from batchmill.workloads.identifiability.formats.draft import symbol_name
from batchmill.workloads.identifiability.formats.nullstrike import INFINITY, Reader, Value
from batchmill.workloads.identifiability.formats.python_text import parse
from batchmill.workloads.identifiability.formats.source import Source, read_source
from batchmill.workloads.identifiability.formats.vectors import flat

_OPTIONS = ("nnzDerU", "nnzDerW", "prev_ident_pars", "checkObser", "maxLietime", "checkLIE", "numexp", "modelname")


def read_options(path: str) -> dict[str, Any]:
    """The options of a NullStrike or StrikePy options file, under our names.

    `nnzDerU` becomes `nonzero_input_derivatives`, `nnzDerW` `unknown_input_derivatives`, `prev_ident_pars`
    `known_parameters` and `checkObser = 0` `parameters_only`. The rest (`modelname`, `maxLietime`, `checkLIE`, plots)
    has no meaning here: the method needs no such limits. Raises ManifestError.
    """
    source = read_source(path)
    reader = Reader(source, tolerant=True)
    for statement in parse(source).body:
        reader.statement(statement)
    return _Options(reader.values, reader.places, source).read()


class _Options:
    def __init__(self, values: dict[str, Value], places: dict[str, int], source: Source) -> None:
        self._values = values
        self._places = places
        self._source = source

    def read(self) -> dict[str, Any]:
        if not any(name in self._values for name in _OPTIONS):
            self._source.refuse("no option is set here", hint=f"known are {', '.join(_OPTIONS)}")
        options: dict[str, Any] = {}
        if "nnzDerU" in self._values:
            options["nonzero_input_derivatives"] = self._count("nnzDerU")
        if "nnzDerW" in self._values:
            options["unknown_input_derivatives"] = self._count("nnzDerW")
        if self._one("checkObser", 1) == 0:
            options["parameters_only"] = True
        known = [symbol_name(value) for value in self._listed("prev_ident_pars")]
        if None in known:
            self._source.refuse("`prev_ident_pars` holds symbols", self._places["prev_ident_pars"])
        if known:
            options["known_parameters"] = known
        if self._one("numexp", 1) != 1 or self._one("multiexp", 0) != 0:
            self._source.refuse("several experiments at once are not supported", self._places.get("numexp"))
        return {name: value for name, value in options.items() if value is not None}

    def _listed(self, name: str) -> list[Expression]:
        try:
            return [value for value, _ in flat(self._values.get(name, []), self._places.get(name, 0))]
        except ExpressionError as error:
            self._source.refuse_expression(error)

    def _one(self, name: str, default: int) -> Fraction:
        value = self._values.get(name, Number(Fraction(default)))
        if not isinstance(value, Number):
            self._source.refuse(f"`{name}` is a number", self._places[name])
        return value.value

    def _count(self, name: str) -> int | str | None:
        """One number of derivatives for all inputs, or `generic`; None for an empty list."""
        counts = {self._derivatives(name, value) for value in self._listed(name)}
        if len(counts) > 1:
            hint = "analyse once for each number, or give the same to all inputs"
            self._source.refuse(f"`{name}` differs from input to input", self._places[name], hint=hint)
        return counts.pop() if counts else None

    def _derivatives(self, name: str, value: Expression) -> int | str:
        if symbol_name(value) == INFINITY:
            return "generic"
        if isinstance(value, Number) and value.value.denominator == 1 and value.value >= 0:
            return int(value.value)
        raise self._source.error(f"`{name}` holds whole numbers or inf", self._places[name])
