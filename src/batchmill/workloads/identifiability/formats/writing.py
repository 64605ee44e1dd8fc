"""A model as YAML: plain, in the order a reader expects, and read back by `loading` to the same model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ORDER = (
    "id",
    "name",
    "source",
    "states",
    "parameters",
    "inputs",
    "unknown_inputs",
    "constants",
    "odes",
    "outputs",
    "options",
    "expected",
)
_WIDTH = 110
# what YAML 1.2 would take for something else than a text, or could not hold in one line without quotes
_PLAIN = re.compile(r"(?:-(?=[\w(]))?[A-Za-z_(\d](?:[\w .*/+()<>-]|,(?! )|;(?= ))*(?<! )", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,12})?", re.ASCII)
_NUMBER_LIKE = re.compile(r"[-+]?(0[xob])?[\d.]+([eE][-+]?\d*)?", re.ASCII)
_WORDS = {"null", "true", "false"}


def write_native(model: Mapping[str, Any]) -> str:
    """The text of a model file. A mapping with `models` becomes a file of several."""
    if "models" in model:
        items = ["\n".join(_indented(_lines(item))) for item in model["models"]]
        return "models:\n" + "\n".join(items) + "\n"
    return "\n".join(_lines(model)) + "\n"


def _lines(model: Mapping[str, Any]) -> list[str]:
    keys = [key for key in _ORDER if key in model] + [key for key in model if key not in _ORDER]
    return [line for key in keys for line in _entry(key, model[key])]


def _indented(lines: list[str]) -> list[str]:
    return [("  - " if index == 0 else "    ") + line for index, line in enumerate(lines)]


def _entry(key: str, value: Any) -> list[str]:
    key = _scalar(key)
    if isinstance(value, Mapping):
        inner = [f"  {line}" for name, item in value.items() for line in _entry(str(name), item)]
        return [f"{key}:", *inner] if inner else [f"{key}: {{}}"]
    if isinstance(value, list | tuple):
        return _list(key, [_scalar(item) for item in value])
    return [f"{key}: {_scalar(value)}"]


def _list(key: str, items: list[str]) -> list[str]:
    """In one line where it fits, else wrapped between brackets."""
    line = f"{key}: [{', '.join(items)}]"
    if len(line) <= _WIDTH:
        return [line]
    lines = [f"{key}: ["]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > _WIDTH or len(lines) == 1:
            lines.append("  ")
        lines[-1] += f"{item}, " if lines[-1].strip() else f"  {item}, "
    return [line.rstrip() for line in lines] + ["]"]


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if _NUMBER.fullmatch(text):
        return text  # a formula that is a number is read as one
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not _NUMBER_LIKE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
