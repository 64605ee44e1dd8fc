"""Model files: located YAML to `Model`, with everything that is wrong told at once, each with its line and column."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from batchmill import ManifestError, Problem
from batchmill.workloads.identifiability.expressions import Expression, ExpressionError, Number
from batchmill.workloads.identifiability.model import Known, Model, Options
from batchmill.workloads.identifiability.parser import Parsed, parse

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
MAX_INPUT_DERIVATIVES = 1000
_TIME = "time is a state: `NAME: 1` in `odes`, and known_initial_conditions: {NAME: 0}"
_TOLD = 5  # problems in the message itself; `problems` holds them all
Path = tuple[str | int, ...]


class Document(Protocol):
    """Plain data that knows where it stands in its text: what `batchmill.read_yaml` returns."""

    value: Any

    def problem(
        self, path: Path, code: str, message: str, *, key: bool = False, hint: str = "", note: str = ""
    ) -> Problem:
        """A Problem at the value (or, with `key`, the key) that `path` leads to."""


def _formula(value: Any) -> Any:
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _derivatives(value: Any) -> Any:
    counts = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INPUT_DERIVATIVES
    if value is None or value == "generic" or counts:
        return value
    raise ValueError(f"give a whole number from 0 to {MAX_INPUT_DERIVATIVES:,}, or `generic` (`free` if unknown)")


def _free_derivatives(value: Any) -> Any:
    if value == "free":
        return value
    return _derivatives("free" if value == "generic" else value)


def _conditions(value: Any) -> Any:
    values = value.values() if isinstance(value, dict) else ()
    numbers = all(isinstance(v, int | float | str) and not isinstance(v, bool) for v in values)
    names = isinstance(value, dict) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
    if value is None or (names and numbers):
        return value
    raise ValueError("give a mapping of names to numbers, or a list of names")


Formula = Annotated[str, BeforeValidator(_formula), WithJsonSchema({"type": ["string", "number"]})]
InputDerivatives = Annotated[int | Literal["generic"] | None, BeforeValidator(_derivatives)]
KnownInitialConditions = Annotated[dict[str, Formula] | list[str] | None, BeforeValidator(_conditions)]
UnknownInputDerivatives = Annotated[int | Literal["free"] | None, BeforeValidator(_free_derivatives)]
KnownParameters = Annotated[dict[str, Formula] | list[str] | None, BeforeValidator(_conditions)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OptionsSection(_Section):
    """What a model file assumes unless a job says otherwise."""

    nonzero_input_derivatives: InputDerivatives = None
    known_initial_conditions: KnownInitialConditions = None
    unknown_input_derivatives: UnknownInputDerivatives = None
    known_parameters: KnownParameters = None
    parameters_only: bool | None = None


class ExpectedSection(_Section):
    """The verdict that `check` compares with. The last three fields are kept for readers; they are not compared."""

    n_unknowns: int | None = None
    rank: int | None = None
    nullspace_dimension: int | None = None
    locally_identifiable_parameters: list[str] | None = None
    nonidentifiable_parameters: list[str] | None = None
    observable_states: list[str] | None = None
    unobservable_states: list[str] | None = None
    identifiable_parameter_functions_count: int | None = None
    published_parameter_functions: list[str] | None = None
    example_identifiable_functions: list[str] | None = None


class ModelSection(_Section):
    """One model as it is written."""

    id: str | None = None
    name: str | None = None
    source: str = ""
    states: list[str] = Field(min_length=1)
    parameters: list[str] = Field(default_factory=list)
    inputs: list[str] = Field(default_factory=list)
    unknown_inputs: list[str] = Field(default_factory=list)
    odes: dict[str, Formula]
    outputs: dict[str, Formula] = Field(min_length=1)
    constants: dict[str, Formula] | list[str] = Field(default_factory=dict)
    options: OptionsSection = Field(default_factory=OptionsSection)
    expected: ExpectedSection = Field(default_factory=ExpectedSection)
    verified_by: str = ""


class GivenOptions(Protocol):
    """Options as a model file, an options file or a job gives them."""

    nonzero_input_derivatives: int | Literal["generic"] | None
    known_initial_conditions: dict[str, str] | list[str] | None
    unknown_input_derivatives: int | Literal["free"] | None
    known_parameters: dict[str, str] | list[str] | None
    parameters_only: bool | None


Numbers = Callable[[str, Mapping[str, str]], Mapping[str, Fraction | None]]


def load_model(document: Document, path: Path, default_name: str) -> Model:
    """The model at `path` of a document. Raises ManifestError with every Problem in it."""
    return _Loader(document, path).load(default_name)


def input_derivatives(given: int | str | None) -> int | None:
    """What an option on derivatives of inputs says, with None for generic (or free) inputs."""
    return given if isinstance(given, int) else None


def changed_options(options: Options, given: GivenOptions, numbers: Numbers | None = None) -> Options:
    """The options, with what is given (not None) in place of what was. Raises ExpressionError where no number is given.

    `numbers` reads the values of a mapping option, by the option's name.
    """
    numbers = numbers or _exact_numbers
    if given.nonzero_input_derivatives is not None:
        options = replace(options, nonzero_input_derivatives=input_derivatives(given.nonzero_input_derivatives))
    if given.unknown_input_derivatives is not None:
        options = replace(options, unknown_input_derivatives=input_derivatives(given.unknown_input_derivatives))
    if given.known_initial_conditions is not None:
        generic = not isinstance(given.known_initial_conditions, Mapping)
        known = Known(_known("known_initial_conditions", given.known_initial_conditions, numbers), generic)
        options = replace(options, known=known)
    if given.known_parameters is not None:
        options = replace(options, known_parameters=_known("known_parameters", given.known_parameters, numbers))
    if given.parameters_only is not None:
        options = replace(options, parameters_only=given.parameters_only)
    return options


def _known(option: str, given: Mapping[str, str] | Iterable[str], numbers: Numbers) -> Mapping[str, Fraction | None]:
    return numbers(option, given) if isinstance(given, Mapping) else dict.fromkeys(given)


def _exact_numbers(_option: str, given: Mapping[str, str]) -> dict[str, Fraction | None]:
    return {name: exact_number(text) for name, text in given.items()}


def exact_number(text: str) -> Fraction:
    """The number that an expression without names comes to. Raises ExpressionError."""
    value = parse(text).expression
    if not isinstance(value, Number):
        raise ExpressionError(f"`{text[:80]}` is not a number", 0, length=len(text))
    return value.value


class _Loader:
    def __init__(self, document: Document, path: Path) -> None:
        self._document = document
        self._path = path
        self._problems: list[Problem] = []
        self._used: set[str] = set()

    def load(self, default_name: str) -> Model:
        value = self._document.value
        for step in self._path:
            value = value[step]
        try:
            section = ModelSection.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self._refuse_field(detail["loc"], detail["type"], detail["msg"])
            raise self._error() from None
        model = self._model(section, default_name)
        if self._problems:
            raise self._error()
        return model

    def _error(self) -> ManifestError:
        problems = tuple(sorted(dict.fromkeys(self._problems), key=lambda p: (p.line, p.column)))
        told = "; ".join(f"{p.line}:{p.column}: {p.message}" for p in problems[:_TOLD])
        more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        first = problems[0]
        return ManifestError(
            f"{first.source}:{told}{more}", problems=problems, hint=first.hint or None, code=first.code
        )

    def _refuse(self, path: Path, code: str, message: str, *, key: bool = False, hint: str = "") -> None:
        problem = self._document.problem((*self._path, *path), f"model/{code}", message, key=key, hint=hint)
        self._problems.append(problem)

    def _refuse_field(self, path: Path, kind: str, message: str) -> None:
        name = f"`{path[-1]}`" if path else "the model"
        if kind == "extra_forbidden":
            known = [*ModelSection.model_fields, *OptionsSection.model_fields, *ExpectedSection.model_fields]
            self._refuse(path, "unknown-key", f"unknown key {name}", key=True, hint=_near(str(path[-1]), known))
        elif kind == "missing":
            self._refuse(path, "missing-key", f"{name} is missing", hint="every model has states, odes and outputs")
        else:
            field = f"`{path[0]}`" if path else "the model"
            why = (
                "a mapping is expected"
                if kind.startswith(("dict_", "model_"))
                else message.removeprefix("Value error, ")
            )
            why = "at least one is needed" if kind == "too_short" else why
            self._refuse(path, "wrong-value", f"{field}: {why[:1].lower()}{why[1:]}")

    def _model(self, section: ModelSection, default_name: str) -> Model:
        declared = self._declarations(section)
        odes = {s: self._formula(("odes", s), f"the equation of `{s}`", t, declared) for s, t in section.odes.items()}
        outputs = {
            o: self._formula(("outputs", o), f"the output `{o}`", t, declared) for o, t in section.outputs.items()
        }
        self._check_odes(section)
        self._check_unused(section)
        return Model(
            name=section.name or section.id or default_name,
            states=tuple(section.states),
            parameters=tuple(section.parameters),
            inputs=tuple(section.inputs),
            unknown_inputs=tuple(section.unknown_inputs),
            odes=odes,
            outputs=outputs,
            constants=self._constants(section.constants),
            options=self._options(section),
            expected=section.expected.model_dump(exclude_none=True),
            source=section.source,
        )

    def _declarations(self, section: ModelSection) -> dict[str, str]:
        """Every declared name and its kind."""
        declared: dict[str, str] = {}
        for kind in ("states", "parameters", "inputs", "unknown_inputs", "constants"):
            names = getattr(section, kind)
            for index, name in enumerate(names):
                path = (kind, index if isinstance(names, list) else name)
                if not _NAME.fullmatch(name):
                    hint = "letters, digits and `_`, not starting with a digit"
                    self._refuse(path, "bad-name", f"{name[:60]!a} cannot be a name", key=True, hint=hint)
                elif name in declared:
                    self._refuse(path, "duplicate-symbol", f"`{name}` is already one of `{declared[name]}`", key=True)
                declared.setdefault(name, kind)
        return declared

    def _formula(self, path: Path, what: str, text: str, declared: Mapping[str, str]) -> Expression:
        parsed = self._parse(path, what, text)
        self._used |= parsed.names.keys()
        for name, offset in parsed.names.items():
            if name not in declared:
                near = _near(name, declared) or "declare it, for example in `parameters`"
                hint = _TIME.replace("NAME", name) if name in ("t", "time") else near
                self._refuse_part(path, f"{what}: `{name}` is not declared", text, offset, len(name), hint)
        return parsed.expression

    def _parse(self, path: Path, what: str, text: str) -> Parsed:
        try:
            return parse(text)
        except ExpressionError as error:
            self._refuse_part(path, f"{what}: {error.message}", text, error.offset, error.length, error.hint)
            return Parsed(Number(Fraction(0)), {})

    def _refuse_part(self, path: Path, message: str, text: str, offset: int, length: int, hint: str) -> None:
        """A problem inside a text: its column counts within the text where that stands unchanged in one line."""
        problem = self._document.problem((*self._path, *path), "model/expression", message, hint=hint)
        start = problem.column - 1
        quote = problem.text[start : start + 1] in ("'", '"')
        if problem.text[start + quote :].startswith(text[: offset + length]):
            problem = replace(problem, column=problem.column + quote + offset, length=length)
        self._problems.append(problem)

    def _check_odes(self, section: ModelSection) -> None:
        for index, state in enumerate(section.states):
            if state not in section.odes:
                self._refuse(("states", index), "missing-ode", f"the state `{state}` has no equation in `odes`")
        for name in section.odes:
            if name not in section.states:
                hint = _near(name, section.states) or "add it to `states`"
                self._refuse(("odes", name), "undeclared-state", f"`{name}` is not a state", key=True, hint=hint)

    def _check_unused(self, section: ModelSection) -> None:
        """A state may be used nowhere; anything else that is declared for nothing is likely a misspelt name."""
        if self._problems:
            return
        for kind in ("parameters", "inputs", "unknown_inputs", "constants"):
            names = getattr(section, kind)
            for index, name in enumerate(names):
                if name not in self._used:
                    path = (kind, index if isinstance(names, list) else name)
                    message = f"`{name}` is declared but used nowhere"
                    self._refuse(path, "unused-symbol", message, key=True, hint="remove it, or use it")

    def _constants(self, given: dict[str, str] | list[str]) -> dict[str, Fraction | None]:
        if isinstance(given, list):
            return dict.fromkeys(given)
        return {name: self._number(("constants", name), text) for name, text in given.items()}

    def _number(self, path: Path, text: str) -> Fraction:
        try:
            return exact_number(text)
        except ExpressionError as error:
            self._refuse_part(path, error.message, text, error.offset, error.length, "give a number such as `1/3`")
            return Fraction(0)

    def _options(self, section: ModelSection) -> Options:
        given = section.options
        self._check_names("known_initial_conditions", given.known_initial_conditions, section.states, "a state")
        self._check_names("known_parameters", given.known_parameters, section.parameters, "a parameter")
        return changed_options(Options(), given, self._known)

    def _check_names(
        self, option: str, given: Mapping[str, str] | list[str] | None, names: list[str], what: str
    ) -> None:
        for index, name in enumerate(given or ()):
            if name not in names:
                at = ("options", option, index if isinstance(given, list) else name)
                self._refuse(at, "undeclared-name", f"`{name}` is not {what}", key=True, hint=_near(name, names))

    def _known(self, option: str, given: Mapping[str, str]) -> dict[str, Fraction | None]:
        return {name: self._number(("options", option, name), text) for name, text in given.items()}


def _near(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean `{found[0]}`?" if found else ""
