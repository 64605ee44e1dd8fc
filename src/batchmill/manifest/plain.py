"""Python values -> the plain data that a YAML file would hold, for batches that are described in Python."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from batchmill.model.jobs import Job
from batchmill.model.limits import Failures, Rate, Retry


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as dicts, lists and scalars; a Python `range` that is an axis stays lazy."""
    found: dict[str, Any] = _plain(values)
    matrix = values.get("matrix")
    for section in ("axes", "paired"):
        axes = matrix.get(section) if isinstance(matrix, Mapping) else None
        for name, axis in axes.items() if isinstance(axes, Mapping) else ():
            if isinstance(axis, range):
                found["matrix"][section][name] = {"range": [axis.start, axis.stop, axis.step]}
    return found


def text(values: dict[str, Any]) -> str:
    """The values as JSON, which is YAML too: what the run keeps as its manifest."""
    return json.dumps(values, indent=1, ensure_ascii=False, default=str) + "\n"


def _plain(value: Any) -> Any:
    match value:
        case Rate() | Failures() | PurePath():
            return str(value)
        case Job():
            return _without_none({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
        case Retry():
            return _without_none(value._asdict() | {"backoff": value.backoff._asdict()})
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset() | range():
            return [_plain(inner) for inner in value]
    tolist = getattr(value, "tolist", None)  # numpy arrays and scalars
    return tolist() if callable(tolist) else value


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items() if value is not None}
