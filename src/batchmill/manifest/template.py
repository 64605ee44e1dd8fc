"""Name templates: `{axis}`, `{axis:spec}`, and `{{`, `}}` for braces. Our own, never `str.format`: no attributes,
no indexing, no widths that fill the memory."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# [[fill]align][sign][#][0][width][grouping][.precision][type]; a fill is any printable character but a brace
_SPEC = re.compile(r"(?:[^{}\x00-\x1f]?[<>=^])?[-+ ]?#?0?\d{0,2}[,_]?(?:\.\d{1,2})?[bdoxXeEfFgG%s]?")
_PIECES = re.compile(r"\{\{|\}\}|\{([^{}:]+)(?::([^{}]*))?\}|[{}]")


class TemplateError(ValueError):
    """A template is malformed, or a value does not fit its format; the message is in plain words."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal texts and (name, spec) pairs, in order."""

    pieces: tuple[str | tuple[str, str], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names it takes, in order, each once."""
        return tuple(dict.fromkeys(piece[0] for piece in self.pieces if not isinstance(piece, str)))

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for these values. Raises TemplateError for a name without a value, or a spec that does not fit."""
        return "".join(piece if isinstance(piece, str) else _field(*piece, values) for piece in self.pieces)


def parse(text: str) -> Template:
    """The template. Raises TemplateError for a lone brace or a spec outside the safe subset."""
    pieces: list[str | tuple[str, str]] = []
    position = 0
    for found in _PIECES.finditer(text):
        pieces.append(text[position : found.start()])
        position = found.end()
        pieces.append(_piece(found))
    pieces.append(text[position:])
    return Template(tuple(piece for piece in pieces if piece))


def escape(text: str) -> str:
    """The template that renders to exactly this text."""
    return text.replace("{", "{{").replace("}", "}}")


def _piece(found: re.Match[str]) -> str | tuple[str, str]:
    if found[0] in ("{{", "}}"):
        return found[0][0]
    if found[1] is None:
        raise TemplateError(f"a lone `{found[0]}`: write `{{name}}`, or `{2 * found[0]}` for the brace itself")
    spec = found[2] or ""
    if not _SPEC.fullmatch(spec):
        raise TemplateError(f"`{spec}` is not a number or text format: write for example `{{{found[1]}:.2f}}`")
    return found[1].strip(), spec


def _field(name: str, spec: str, values: Mapping[str, Any]) -> str:
    if name not in values:
        raise TemplateError(f"there is no value for `{{{name}}}`")
    value = values[name]
    if not spec:
        return value if isinstance(value, str) else _plain(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        value = _plain(value)
    try:
        return format(value, spec)
    except (ValueError, OverflowError):
        raise TemplateError(f"`{spec}` does not fit the value `{_plain(value)}`") from None


def _plain(value: Any) -> str:
    """A value as it would be written in a manifest: `true`, `null`, `0.1`, `[1,2]`."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
