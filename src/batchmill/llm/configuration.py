"""Where settings come from: TOML files, variables and flags, each checked for itself so that a problem names its place.

What the keys are is not known here; a pydantic model says it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from batchmill import ManifestError, Problem, did_you_mean

PREFIX = "BATCHMILL_"
_LARGEST = 1 << 20  # bytes of a configuration file
_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_.\- ]|"[^"]*"|'[^']*')+?)\s*=""")

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Some settings as they were given. `place` tells the source and the line of one of them."""

    values: Mapping[str, Any]
    place: Callable[[Keys], tuple[str, int]]


def merged(sources: list[Source], model: type[BaseModel]) -> dict[str, Any]:
    """What the sources set, checked, the later ones over the earlier. Raises ManifestError with every problem."""
    problems: list[Problem] = []
    result: dict[str, Any] = {}
    for source in sources:
        try:
            checked = model.model_validate(source.values)
        except ValidationError as error:
            problems += [_problem(source, finding, model) for finding in error.errors(include_input=False)]
            continue
        for key in checked.model_fields_set:
            value = getattr(checked, key)
            result[key] = {**result.get(key, {}), **value} if isinstance(value, dict) else value
    if problems:
        first = problems[0]
        place = f"{first.source}:{first.line}" if first.line else first.source
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ManifestError(
            f"{place}: {first.message}{more}", problems=tuple(problems), hint=first.hint or None, code="config/invalid"
        )
    return result


def file_sources(folder: Path, environ: Mapping[str, str]) -> list[Source]:
    """The user's own file, then the folder's `batchmill.toml` (or the file that `BATCHMILL_CONFIG` names)."""
    base = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or Path.home()) / ".config"
    named = environ.get("BATCHMILL_CONFIG")
    paths = [Path(base) / "batchmill" / "config.toml", Path(named) if named else folder / "batchmill.toml"]
    return [_file_source(path) for path in paths if path.exists() or str(path) == named]


def env_source(environ: Mapping[str, str], model: type[BaseModel]) -> Source:
    """The variables `BATCHMILL_<KEY>`; tables are written as JSON."""
    values: dict[str, Any] = {}
    for key in model.model_fields:
        text = environ.get(PREFIX + key.upper())
        if text:
            values[key] = _table(key, text) if text.lstrip().startswith("{") else text
    return Source(values, lambda path: (PREFIX + path[0].upper(), 0))


def flag_source(flags: Mapping[str, Any]) -> Source:
    """What a command was told; None is not told."""
    given = {key: value for key, value in flags.items() if value is not None}
    return Source(given, lambda path: (f"--{path[0].replace('_', '-')}", 0))


def _table(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        name = PREFIX + key.upper()
        raise ManifestError(
            f"`{name}` is not JSON", code="config/invalid", hint=f"{name}='{{\"name\": ...}}'"
        ) from None


def _file_source(path: Path) -> Source:
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST else None
        if data is None:
            raise ManifestError(f"`{path}` is too large for a configuration file", code="config/invalid")
        text = data.decode("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ManifestError(f"cannot read `{path}`: {reason}", code="config/invalid") from None
    except UnicodeDecodeError:
        raise ManifestError(f"`{path}` is not UTF-8 text", code="config/invalid") from None
    return Source(_toml(path, text), lambda keys: (str(path), line_of(text, keys)))


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(found[1]), int(found[2])) if found else (len(text.splitlines()), 1)
        deep = isinstance(error, RecursionError)
        message = "nested too deeply" if deep else re.sub(r"\s*\(at .*\)", "", str(error)).lower()
        problem = Problem("config/toml", message, source=str(path), line=line, column=column)
        raise ManifestError(f"{path}:{line}: {message}", problems=(problem,), code="config/toml") from None


def line_of(text: str, path: Keys) -> int:
    """The line of a TOML text (from 1) that sets the value at a path, or the table around it; 0 where none does."""
    table: Keys = ()
    best, line = 0, 0
    for number, content in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(content):
            table = keys = _split(header[1])
        elif key := _KEY.match(content):
            keys = table + _split(key[1])
        else:
            continue
        if keys and path[: len(keys)] == keys and len(keys) > best:
            best, line = len(keys), number
    return line


def _split(key: str) -> Keys:
    """The parts of a dotted key, quoted or not."""
    try:
        value: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts = []
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)


def _problem(source: Source, finding: Any, model: type[BaseModel]) -> Problem:
    """A finding of pydantic in our words. The value is never shown: it may be a secret in the wrong place."""
    path = tuple(part for part in finding["loc"] if isinstance(part, str))
    name, line = source.place(path)
    if finding["type"] == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        message = f"`{'.'.join(path)}` is not a setting"
        hint = did_you_mean(path[-1], known) or f"the settings are {', '.join(f'`{key}`' for key in known)}"
        return Problem("config/unknown", message, source=name, line=line, hint=hint)
    said = re.sub(r"^value error, ", "", finding["msg"], flags=re.IGNORECASE)
    return Problem("config/invalid", f"`{'.'.join(path)}`: {said[:1].lower()}{said[1:]}", source=name, line=line)


def _keys_at(model: type[BaseModel], path: Keys) -> list[str]:
    """The keys of the model at a path, looked up in its JSON Schema."""
    schema: Any = model.model_json_schema()
    definitions = schema.get("$defs", {})
    for part in path:
        schema = schema.get("properties", {}).get(part) or schema.get("additionalProperties") or schema
        schema = schema.get("items", schema)
        schema = definitions.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
    return list(schema.get("properties", {}))
