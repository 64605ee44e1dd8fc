"""LaTeX of models, of expressions, and of verdicts: for amsmath, without packages of tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from batchmill.workloads.identifiability.expressions import (
    Call,
    Expression,
    ExpressionError,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
)
from batchmill.workloads.identifiability.formats.printing import MAX_NESTING, decimal_text, factors_of
from batchmill.workloads.identifiability.model import Model

_GREEK = re.compile(
    "alpha|beta|[gG]amma|[dD]elta|epsilon|zeta|eta|[tT]heta|iota|kappa|[lL]ambda|mu|nu|[xX]i|[pP]i|rho|[sS]igma|tau"
    "|[uU]psilon|[pP]hi|chi|[pP]si|[oO]mega"
)
_ESCAPED = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_NAMED = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh")
_SUM, _PRODUCT, _POWER, _ATOM = range(4)
_ROWS = (
    ("locally_identifiable_parameters", "locally identifiable parameters"),
    ("nonidentifiable_parameters", "non-identifiable parameters"),
    ("observable_states", "observable states"),
    ("unobservable_states", "unobservable states"),
)


def name_latex(name: str) -> str:
    """A name in mathematics: `k_on` as k with the subscript on, `beta2` as a Greek letter with the subscript 2."""
    parts = [part for part in name.split("_") if part] or [name]
    match = re.fullmatch(r"([A-Za-z]+?)(\d+)", parts[0])
    head, below = (match[1], [match[2], *parts[1:]]) if match else (parts[0], parts[1:])
    shown = f"\\{head}" if _GREEK.fullmatch(head) else head if len(head) == 1 else f"\\mathrm{{{text_latex(head)}}}"
    return f"{shown}_{{{','.join(_subscript(part) for part in below)}}}" if below else shown


def _subscript(part: str) -> str:
    if _GREEK.fullmatch(part):
        return f"\\{part}"
    return part if part.isdigit() or len(part) == 1 else f"\\mathrm{{{text_latex(part)}}}"


def text_latex(text: str) -> str:
    """Any text with what LaTeX would take for commands escaped."""
    return "".join(_ESCAPED.get(c) or (f"\\{c}" if c in "&%$#_{}" else c) for c in text)


def expression_latex(expression: Expression) -> str:
    """An expression in mathematics. Raises ExpressionError when it is nested too deeply."""
    return _Printer().text(expression)


def formula_latex(text: str) -> str:
    """An expression that is given as text, such as an identifiable combination. Raises ExpressionError."""
    from batchmill.workloads.identifiability.parser import parse

    return expression_latex(parse(text).expression)


def model_latex(model: Model) -> str:
    """The equations of a model as one `align*`: derivatives with dots, then outputs."""
    lines = [f"\\dot{{{name_latex(name)}}} &= {expression_latex(value)}" for name, value in model.odes.items()]
    lines += [f"{name_latex(name)} &= {expression_latex(value)}" for name, value in model.outputs.items()]
    return "\\begin{align*}\n" + " \\\\\n".join(f"  {line}" for line in lines) + "\n\\end{align*}\n"


def result_latex(result: Mapping[str, Any]) -> str:
    """A verdict (the fields of an identifiability result) as one `tabular`; fields that are absent are left out."""
    lines = [f"  model & {text_latex(str(result['model']))} \\\\", "  \\hline"]
    if "rank" in result and "n_unknowns" in result:
        lines.append(f"  rank & {result['rank']} of {result['n_unknowns']} unknowns \\\\")
    for field, title in _ROWS:
        if field in result:
            lines.append(f"  {title} & {_names(result[field])} \\\\")
    if result.get("identifiable_combinations"):
        formulas = ", ".join(f"${formula_latex(text)}$" for text in result["identifiable_combinations"])
        found, expected = result.get("combinations_found"), result.get("combinations_expected")
        count = f" ({found} of {expected})" if found is not None and expected is not None else ""
        lines.append(f"  identifiable combinations{count} & {formulas} \\\\")
    return "\\begin{tabular}{ll}\n" + "\n".join(lines) + "\n\\end{tabular}\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"${name_latex(name)}$" for name in names) or "none"


class _Printer:
    def __init__(self) -> None:
        self._depth = 0

    def text(self, expression: Expression, level: int = _SUM) -> str:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise ExpressionError(f"nested deeper than {MAX_NESTING} levels", 0)
        text, own = self._spelt(expression)
        self._depth -= 1
        return f"\\left({text}\\right)" if own < level else text

    def _spelt(self, expression: Expression) -> tuple[str, int]:
        if isinstance(expression, Symbol):
            return name_latex(expression.name), _ATOM
        if isinstance(expression, Call):
            return self._call(expression)
        if isinstance(expression, Sum):
            return self._sum(expression), _SUM
        if isinstance(expression, Power) and not _divides(expression):
            return f"{self.text(expression.base, _ATOM)}^{{{self.text(expression.exponent)}}}", _POWER
        if isinstance(expression, Product | Number | Power):
            return self._product(expression)
        raise TypeError(f"{type(expression).__name__} has no LaTeX")

    def _call(self, expression: Call) -> tuple[str, int]:
        argument = self.text(expression.argument)
        if expression.function == "sqrt":
            return f"\\sqrt{{{argument}}}", _ATOM
        name = f"\\{expression.function}" if expression.function in _NAMED else expression.function
        return f"{name}\\left({argument}\\right)", _ATOM

    def _sum(self, expression: Sum) -> str:
        text = ""
        for term in expression.terms:
            shown = self.text(term, _PRODUCT)
            text += shown if not text else f" - {shown[1:]}" if shown.startswith("-") else f" + {shown}"
        return text

    def _product(self, expression: Expression) -> tuple[str, int]:
        coefficient, above, below = factors_of(expression)
        size, sign = abs(coefficient), "-" if coefficient < 0 else ""
        alone = len(above) == 1 and bool(below)  # a fraction's line holds a sum together
        upper = [self.text(factor, _SUM if alone and size == 1 else _POWER) for factor in above]
        lower = [self.text(factor, _SUM if len(below) == 1 else _POWER) for factor in below]
        decimal = decimal_text(size) if size.denominator != 1 and size.denominator in (10, 100, 1000) else None
        if decimal is None and size.denominator != 1:
            lower = [str(size.denominator), *(self.text(factor, _POWER) for factor in below)]
        number = decimal or str(size.numerator)
        if number != "1" or not upper:
            upper.insert(0, number)
        top = " \\, ".join(upper)
        if lower:
            bottom = " \\, ".join(lower)
            return f"{sign}\\frac{{{top}}}{{{bottom}}}", _PRODUCT
        return sign + top, _PRODUCT if sign or len(upper) > 1 else _ATOM if number == top else _POWER


def _divides(expression: Power) -> bool:
    return isinstance(expression.exponent, Number) and expression.exponent.value < 0
