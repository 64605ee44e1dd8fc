"""JSON as it is written: UTF-8, exact integers, non-finite numbers as the strings `NaN`, `Infinity`, `-Infinity`."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json


def json_text(value: Any, indent: int | None = None) -> str:
    """The value as JSON text. Lone surrogates, which UTF-8 cannot hold, are written as escapes."""
    try:
        return to_json(value, inf_nan_mode="strings", indent=indent).decode()
    except (PydanticSerializationError, UnicodeEncodeError):
        finite = json.loads(json.dumps(value), parse_constant=str)
        return json.dumps(finite, indent=indent, allow_nan=False)
