"""PEtab problems (version 1, and the core of version 2): what is estimated, what is observed, what is fixed.

Estimated parameters are unknown, all others have their nominal values; outputs are the observables' formulas; initial
values that are numbers are known. Noise plays no part. The model is read by `sbml`; tables are plain text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from batchmill import ManifestError, read_yaml
from batchmill.workloads.identifiability.expressions import Expression, Number, Symbol
from batchmill.workloads.identifiability.formats import functions
from batchmill.workloads.identifiability.formats.algebra import PETAB, Algebra, Token, tokens
from batchmill.workloads.identifiability.formats.draft import Draft
from batchmill.workloads.identifiability.formats.petab_tables import Conditions, Row, Table, read_table
from batchmill.workloads.identifiability.formats.printing import names_in, substitute
from batchmill.workloads.identifiability.formats.sbml import SbmlModel
from batchmill.workloads.identifiability.formats.source import Source, read_source


def read_problems(path: str) -> list[Draft]:
    """The models of a problem file, one for each problem in it. Raises ManifestError."""
    drafts = [_Problem(path, files).draft() for files in _problems(path)]
    for index, draft in enumerate(drafts, start=1):
        draft.name = Path(path).stem if len(drafts) == 1 else f"{Path(path).stem}_{index}"
        draft.origin = f"imported from {Path(path).name}"
    return drafts


def files_named(path: str) -> list[str]:
    """The files that a problem file names. Raises ManifestError."""
    return [name for files in _problems(path) for names in files.values() for name in names]


Files = dict[str, list[str]]
_KINDS = ("observable", "condition", "measurement", "experiment")


def _problems(path: str) -> list[Files]:
    """The files of each problem, by what they hold."""
    value = read_yaml(path).value
    version = str(value.get("format_version")) if isinstance(value, dict) else ""
    if version.partition(".")[0] not in ("1", "2"):
        raise ManifestError(f"{path}: PEtab `format_version` {version[:20]} is not read", hint="known are 1 and 2.0.0")
    shared = _parameter_files(value)
    problems = value.get("problems") if version.startswith("1") else [value]
    if not isinstance(problems, list) or not problems or not all(isinstance(item, dict) for item in problems):
        raise ManifestError(f"{path}: a PEtab file has a list of `problems`")
    return [_files(path, problem, shared) for problem in problems]


def _parameter_files(value: dict[str, Any]) -> list[Any]:
    return _listed(value.get("parameter_files", value.get("parameter_file")))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _files(path: str, problem: dict[str, Any], shared: list[Any]) -> Files:
    models = _listed(problem.get("sbml_files"))
    given = problem.get("model_files")
    for model in given.values() if isinstance(given, dict) else ():
        if not isinstance(model, dict) or model.get("language") != "sbml":
            raise ManifestError(f"{path}: only models in the language `sbml` are read")
        models.append(model.get("location"))
    files = {"model": models, "parameter": shared}
    files.update({kind: _listed(problem.get(f"{kind}_files")) for kind in _KINDS})
    for kind in ("model", "parameter", "observable"):
        if not files[kind]:
            raise ManifestError(f"{path}: the problem names no {kind} file")
    if len(models) > 1:
        raise ManifestError(f"{path}: the problem has {len(models)} models; one is read")
    return {kind: [_beside(path, name) for name in names] for kind, names in files.items()}


def _beside(path: str, name: Any) -> str:
    """A file in the folder of the problem file or below. Raises ManifestError for any other, also behind links."""
    folder = Path(path).resolve().parent
    if not isinstance(name, str) or "\0" in name or "://" in name:
        raise ManifestError(f"{path}: {str(name)[:80]!a} is no file name")
    try:
        target = (folder / name).resolve()
    except (OSError, RuntimeError):
        raise ManifestError(f"{path}: {name[:80]!a} cannot be followed") from None
    if Path(name).is_absolute() or not target.is_relative_to(folder):
        raise ManifestError(
            f"{path}: {name[:80]!a} leads out of the problem's folder", hint="keep its files beside the problem file"
        )
    return str(target)


class _Problem:
    def __init__(self, path: str, files: Files) -> None:
        self._path = path
        self._parameters = self._table(files["parameter"], "parameterId")
        self._observables = self._table(files["observable"], "observableId", "observableFormula")
        self._measurements = self._table(files["measurement"], "observableId")
        self._experiments = self._table(files["experiment"], "experimentId", "time")
        self._conditions = Conditions(self._table(files["condition"], "conditionId"))
        set_here = {row["parameterId"]: row for row in self._parameters.rows} | self._conditions.targets()
        self._sbml = SbmlModel(read_source(files["model"][0]), set_here)
        self._draft = self._sbml.draft
        self._check_targets(set_here)
        self._estimated = [row["parameterId"] for row in self._parameters.rows if _is_true(row.get("estimate", "1"))]
        self._replaced: dict[str, Expression] = {}  # by what the only condition sets

    @staticmethod
    def _table(files: Iterable[str], *columns: str) -> Table:
        rows: list[Row] = []
        for file in files:
            rows.extend(read_table(file, columns).rows)
        return Table(rows)

    def draft(self) -> Draft:
        draft = self._draft
        self._sort_parameters()
        for row in self._observables.rows:
            self._add_outputs(row)
        if not draft.outputs:
            raise ManifestError(f"{self._path}: the problem has no observables")
        self._replace()
        self._initial_values()
        draft.notes.append("estimated parameters are unknown, all others known")
        return draft

    def _check_targets(self, targets: Mapping[str, Row]) -> None:
        """Raises ManifestError where a table sets what the model computes, or what a condition sets is not there."""
        draft, table = self._draft, {row["parameterId"] for row in self._parameters.rows}
        for name, row in targets.items():
            if name in self._sbml.assigned:
                raise row.error(f"`{name[:60]}` is set here and by a rule of the model")
            if name not in {*draft.states, *draft.parameters, *draft.constants, *table}:
                raise row.error(f"`{name[:60]}` is neither in the model nor a parameter")

    def _sort_parameters(self) -> None:
        """Of the model's parameters: unknown ones, fixed ones, and those that conditions set."""
        draft = self._draft
        named = [*draft.parameters, *draft.constants]
        draft.parameters, draft.constants = [], {}
        fixed = {row["parameterId"]: row for row in self._parameters.rows}
        for name in named:
            values = self._conditions.values_of(name)
            if values:
                self._set_by_conditions(name, values)
            elif name in self._estimated:
                draft.parameters.append(name)
            elif name in fixed:
                draft.constants[name] = fixed[name].number("nominalValue")
            else:
                draft.constants[name] = self._sbml.values.get(name)
        for name, row in fixed.items():
            self._add_parameter(name, row)

    def _add_parameter(self, name: str, row: Row) -> None:
        """A parameter of the table that the model has not: of observables, conditions or noise."""
        draft = self._draft
        if name in draft.constants or name in draft.parameters or name in draft.states or name in self._replaced:
            return
        if name in self._estimated:
            draft.parameters.append(name)
        else:
            draft.constants[name] = row.number("nominalValue")

    def _set_by_conditions(self, name: str, values: dict[str, Row]) -> None:
        """Known but generic where conditions set different numbers; a parameter's name only where all set the same."""
        if len(values) == 1:
            text, row = next(iter(values.items()))
            self._replaced[name] = self._formula(row, text)
        elif all(_is_number(text) for text in values):
            self._draft.constants[name] = None
            self._draft.notes.append(f"`{name}` differs between conditions: known, with a generic value")
        else:
            row = list(values.values())[1]
            hint = "keep the rows of one condition, and import each"
            raise row.error(f"conditions set `{name}` to different parameters: not supported", hint)

    def _replace(self) -> None:
        draft = self._draft
        if not self._replaced:
            return
        for equations in (draft.odes, draft.outputs):
            for name, expression in equations.items():
                equations[name] = substitute(expression, self._replaced)

    def _add_outputs(self, row: Row) -> None:
        """An observable, once for each set of values that measurements give its placeholders."""
        name = row["observableId"]
        expression = self._formula(row, row["observableFormula"])
        holders = _placeholders(row, name)
        sets = list(self._overrides(name, len(holders))) if holders else [()]
        for index, given in enumerate(sets, start=1):
            output = name if len(sets) == 1 else f"{name}_{index}"
            filled = substitute(expression, dict(zip(holders, given, strict=False)))
            self._check_names(filled, row)
            self._draft.outputs[output] = self._sbml.inlined(filled)

    def _overrides(self, name: str, count: int) -> Iterator[tuple[Expression, ...]]:
        seen: set[str] = set()
        for row in self._measurements.rows:
            given = row.get("observableParameters", "")
            if row["observableId"] == name and given not in seen:
                seen.add(given)
                texts = [text.strip() for text in given.split(";")]
                if len(texts) != count:
                    raise row.error(f"`{name}` has {count} observable parameters, and {len(texts)} are given")
                yield tuple(self._formula(row, text) for text in texts)

    def _check_names(self, expression: Expression, row: Row) -> None:
        draft, assigned = self._draft, self._sbml.assigned
        known = {*draft.states, *draft.parameters, *draft.constants, *self._replaced, *assigned}
        unknown = sorted(names_in(expression) - known)
        if unknown:
            raise row.error(f"the observable's `{unknown[0][:60]}` is neither in the model nor a parameter")

    def _formula(self, row: Row, text: str) -> Expression:
        source = Source(row.source.path, text)
        try:
            algebra = Algebra(source, tokens(source, PETAB), PETAB, _symbol, _call)
            value = algebra.expression()
            if algebra.peek().kind != "end":
                algebra.refuse(f"an operator is expected before {algebra.shown(algebra.peek())}")
        except ManifestError as error:
            why = error.problems[0].message if error.problems else error.message
            raise row.error(f"`{text[:60]}`: {why}", error.hint or "") from None
        return value

    def _initial_values(self) -> None:
        """Known where a number is given; where a parameter is the initial value, the state's verdict is its own."""
        if self._is_preequilibrated():
            self._draft.notes.append("initial values are steady states: taken as unknown")
            return
        known: dict[str, Fraction] = {}
        free: list[str] = []
        constants = {name: Number(value) for name, value in self._draft.constants.items() if value is not None}
        for state in self._draft.states:
            value = self._initial(state)
            if value is not None:
                value = substitute(substitute(value, self._replaced), constants)
            if isinstance(value, Number):
                known[state] = value.value
            else:
                free.append(state)
        self._draft.known = known
        if free:
            self._draft.notes.append(f"initial values that are not numbers are taken as unknown: {', '.join(free)}")

    def _is_preequilibrated(self) -> bool:
        """Whether simulations start in a steady state. Raises ManifestError for a condition that begins later."""
        started: set[str] = set()
        for row in self._experiments.rows:
            if row["time"].lower() != "-inf":
                if row["experimentId"] in started:
                    raise row.error("a condition that begins later is an event: not supported")
                started.add(row["experimentId"])
        marked = any(row.get("preequilibrationConditionId", "") for row in self._measurements.rows)
        return marked or any(row["time"].lower() == "-inf" for row in self._experiments.rows)

    def _initial(self, state: str) -> Expression | None:
        values = self._conditions.values_of(state)
        if len(values) > 1:
            return None
        if values:
            text, row = next(iter(values.items()))
            return self._formula(row, text)
        if state in self._sbml.initial:
            return self._sbml.inlined(self._sbml.initial[state])
        value = self._sbml.values.get(state)
        return None if value is None else Number(value)


def _placeholders(row: Row, name: str) -> list[str]:
    given = row.get("observablePlaceholders", "")
    if given:
        return [text.strip() for text in given.split(";")]
    count = 0
    while f"observableParameter{count + 1}_{name}" in row["observableFormula"]:
        count += 1
    return [f"observableParameter{index}_{name}" for index in range(1, count + 1)]


def _symbol(token: Token) -> Expression:
    return Symbol(token.text)


def _call(token: Token, arguments: list[Expression]) -> Expression:
    if token.text == "log" and len(arguments) == 2:
        return functions.log_to_base(arguments[1], arguments[0], token.offset)
    return functions.apply(token.text, arguments, token.offset)


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("1", "1.0", "true")


def _is_number(text: str) -> bool:
    try:
        Fraction(text)
    except (ValueError, ZeroDivisionError):
        return False
    return len(text) < 400
