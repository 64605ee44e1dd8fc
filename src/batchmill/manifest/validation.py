"""Values -> Manifest, and everything that pydantic finds wrong as findings in our own words."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from batchmill.manifest import schema
from batchmill.manifest.findings import MAX_FINDINGS, Finding, did_you_mean, label, listed
from batchmill.manifest.scalars import resolve
from batchmill.manifest.yaml_source import Location
from batchmill.manifest.yaml_text import shown
from batchmill.model.manifest import Manifest

_OTHER_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def validate(values: dict[str, Any]) -> tuple[Manifest | None, list[Finding]]:
    """The Manifest, or None and all that is wrong with the values."""
    try:
        return Manifest.model_validate(values, strict=True), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        found: dict[Location, Finding] = {}
        for detail in islice(details, MAX_FINDINGS):
            finding = _finding(detail, values)
            found.setdefault(finding.location, finding)
        return None, list(found.values())


def _finding(detail: ErrorDetails, values: dict[str, Any]) -> Finding:
    location, value = _follow(detail["loc"], values)
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(location, values)
        case "missing":
            return _missing(location)
        case "value_error":
            words = str(detail.get("ctx", {}).get("error", ""))
            return Finding(location, "manifest/unit", f"`{shown(label(location))}`: {words}")
        case "no_source":
            return Finding(location, "manifest/no-source", detail["msg"], "add one of them", key=True)
    return _wrong(location, value)


def _follow(loc: Location, values: object) -> tuple[Location, object]:
    """The location without the names of union members that pydantic puts between, and the value there."""
    location: list[str | int] = []
    value: Any = values
    for step in loc:
        inside = step in value if isinstance(value, dict) else isinstance(value, list) and isinstance(step, int)
        if inside:
            value = value[step]
            location.append(step)
        elif step == loc[-1] and not str(step).startswith("<"):  # the name of something missing
            location.append(step)
    return tuple(location), value


def _unknown_key(location: Location, values: dict[str, Any]) -> Finding:
    key, section = str(location[-1]), location[:-1]
    known = schema.keys_at(section)
    elsewhere = [name for name in schema.sections_with(key) if (name,) != section]
    otherwise = f"`{key}` belongs in {listed(elsewhere)}" if elsewhere else f"known keys: {', '.join(known)}"
    where = f" in {_owner(section, values)}" if section else ""
    note = f"not a {_kind(section)} key"
    message = f"unknown key `{shown(key)}`{where}"
    return Finding(location, "manifest/unknown-key", message, did_you_mean(key, known, otherwise), note, key=True)


def _kind(section: Location) -> str:
    if not section:
        return "manifest"
    return "job" if section[0] == "jobs" and len(section) == 2 else f"`{label(section).partition('[')[0]}`"


def _owner(section: Location, values: dict[str, Any]) -> str:
    if section[0] != "jobs" or len(section) != 2:
        return f"`{label(section)}`"
    name = values["jobs"][section[1]].get("name")
    return f"job `{shown(name)}`" if isinstance(name, str) else f"job {int(section[1]) + 1}"


def _missing(location: Location) -> Finding:
    owner, key = label(location[:-1]) or "the manifest", location[-1]
    hint = f"add `{key}:`, {words}" if (words := schema.words(schema.at(location))) else ""
    return Finding(location, "manifest/missing-key", f"`{owner}` needs `{key}`", hint, key=True)


def _wrong(location: Location, value: object) -> Finding:
    allowed = schema.at(location)
    name = shown(label(location)) if location else "the manifest"
    if value is None:
        hint = f"give {schema.words(allowed)}, or remove the key"
        return Finding(location, "manifest/type", f"`{name}` is empty", hint)
    options = schema.choices(allowed)
    message = f"`{name}` must be {schema.words(allowed, value)}, not {_given(value, allowed)}"
    hint = did_you_mean(value, options) if options else _slip(value, schema.types(allowed))
    return Finding(location, "manifest/value" if options else "manifest/type", message, hint)


def _given(value: object, allowed: list[schema.Schema]) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else f"a list of {len(value)}" if _is_list(allowed) else "a list"
    if isinstance(value, str) and not value:
        return "an empty text"
    return f"the text `{shown(value)}`" if _reads_otherwise(value) else f"`{shown(value)}`"


def _reads_otherwise(value: object) -> bool:
    """Whether a text would be a number or a boolean without its quotes."""
    if not isinstance(value, str) or len(value) > 100:
        return False
    try:
        return not isinstance(resolve(value), str)
    except ValueError:
        return True


def _is_list(allowed: list[schema.Schema]) -> bool:
    return "array" in schema.types(allowed)


def _slip(value: object, types: set[str]) -> str:
    """A hint for what YAML makes of a value that was meant as another type."""
    if isinstance(value, str) and "boolean" in types and value.lower() in _OTHER_BOOLEANS:
        return f"write `{_OTHER_BOOLEANS[value.lower()]}`"
    if isinstance(value, str) and types & {"integer", "number"} and _reads_otherwise(value):
        return "remove the quotes"
    if isinstance(value, int | float) and types == {"string"}:
        return f'quote it: `"{shown(value)}"`'
    return f"write `[{shown(value)}]`" if types == {"array"} and isinstance(value, str | int | float) else ""
