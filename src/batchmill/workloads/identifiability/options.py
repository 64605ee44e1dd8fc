"""What a job assumes: options in its parameters over those of an options file over those of the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from batchmill import ManifestError, read_yaml
from batchmill.workloads.identifiability.expressions import ExpressionError
from batchmill.workloads.identifiability.formats import read_options
from batchmill.workloads.identifiability.loading import GivenOptions, OptionsSection, changed_options
from batchmill.workloads.identifiability.model import Model

NO_FILE = "default"
"""The value of `options_file` on an axis that means none."""


def label_of(options_file: str | None) -> str:
    """The name of a configuration: the stem of its options file."""
    return NO_FILE if options_file in (None, NO_FILE) else Path(str(options_file)).stem


def assuming(model: Model, given: GivenOptions, options_file: str | None) -> Model:
    """The model under a job's options, its known parameters as constants. Raises ManifestError."""
    if options_file not in (None, NO_FILE):
        model = _changed(model, _read(str(options_file)), f"`{options_file}`: ")
    return _changed(model, given, "").resolved()


def _read(path: str) -> OptionsSection:
    """The options in a YAML file (there, or under `options`), or in an options file of NullStrike."""
    value = _plain(path)
    try:
        return OptionsSection.model_validate(value)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name, why = detail["loc"][0] if detail["loc"] else "options", detail["msg"].removeprefix("Value error, ")
        known = ", ".join(OptionsSection.model_fields)
        raise ManifestError(f"`{path}`: `{name}`: {why[:1].lower()}{why[1:]}", hint=f"options are {known}") from None


def _plain(path: str) -> Any:
    if Path(path).suffix == ".py":
        options = read_options(path)
        if "nonzero_unknown_input_derivatives" in options:
            options["unknown_input_derivatives"] = options.pop("nonzero_unknown_input_derivatives")
        return options
    value = read_yaml(path).value
    return value["options"] if isinstance(value, dict) and set(value) == {"options"} else value


def _changed(model: Model, given: GivenOptions, where: str) -> Model:
    _check(model, where, "known_initial_conditions", given.known_initial_conditions, model.states, "a state")
    _check(model, where, "known_parameters", given.known_parameters, model.parameters, "a parameter")
    try:
        return replace(model, options=changed_options(model.options, given))
    except ExpressionError as error:
        raise ManifestError(f"{where}a known value cannot be read: {error.message}") from None


def _check(
    model: Model, where: str, option: str, given: Iterable[str] | None, names: tuple[str, ...], what: str
) -> None:
    unknown = [name for name in given or () if name not in names]
    if unknown:
        raise ManifestError(
            f"{where}`{option}` names `{unknown[0]}`, which is not {what} of `{model.name}`",
            hint=f"there are {', '.join(names)}" if names else "it has none",
        )
