"""A table's row -> a job: which cells are options of the job, and what untyped text means to the task's parameters."""

from __future__ import annotations

import json
import re
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from batchmill.model.manifest import JobSection
from batchmill.plan.binding import Fault, Unfit
from batchmill.plan.tables import TableRow

OPTIONS = ("name", "task", "timeout", "memory", "retry", "priority", "group")
_JSON_SCALAR = re.compile(r"-?(?:0|[1-9]\d{0,300})(?:\.\d+)?(?:[eE][+-]?\d{1,3})?|true|false|null")


def options_of(row: TableRow) -> JobSection:
    """The job's own name, task, limits, priority and group. `retry` is a number of attempts, or a mapping.

    Raises Unfit.
    """
    given = {key: row.cells[key] for key in OPTIONS if key in row.cells}
    for key in ("name", "task", "group"):
        if isinstance(given.get(key), int | float):
            given[key] = str(given[key])
    if "retry" in given:
        retry = _parsed(given["retry"]) if isinstance(given["retry"], str) else given["retry"]
        given["retry"] = {"attempts": retry} if isinstance(retry, int | float) else retry
    try:
        return JobSection.model_validate(given)
    except ValidationError as error:
        raise Unfit([_fault(detail) for detail in error.errors(include_url=False, include_input=False)]) from None


def _fault(detail: ErrorDetails) -> Fault:
    message = detail["msg"].removeprefix("Value error, ")
    return Fault(detail["loc"], f"`{detail['loc'][0]}`: {message[:1].lower()}{message[1:]}")


def params_of(row: TableRow, model: type[BaseModel]) -> dict[str, Any]:
    """The cells that are parameters. Untyped text is left to the model where it has a type for it; a parameter of any
    type takes what JSON would read: `3` is a number, `007` and `yes` are texts."""
    own = {key: value for key, value in row.cells.items() if key not in OPTIONS}
    if row.kind == "json":
        return own
    return {key: _typed(value, _annotation(model, key)) for key, value in own.items()}


def _annotation(model: type[BaseModel], name: str) -> Any:
    for field_name, field in model.model_fields.items():
        if name == (field.alias or field_name):
            return field.annotation
    return Any


def _typed(cell: Any, annotation: Any) -> Any:
    if not isinstance(cell, str):  # of a sheet: 7 may be meant as the text "7"
        return json.dumps(cell) if annotation is str else cell
    if annotation is Any:
        return _parsed(cell)
    return cell if _mentions_text(annotation) or cell[:1] not in ("[", "{") else _parsed(cell)


def _mentions_text(annotation: Any) -> bool:
    """Whether text is a value of this type as it stands; a list of texts is no text."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_mentions_text(part) for part in get_args(annotation))
    return annotation is str


def _parsed(cell: str) -> Any:
    if not _JSON_SCALAR.fullmatch(cell) and cell[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell
