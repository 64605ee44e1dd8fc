"""`--set path=value`: single values of a manifest replaced before it is validated.

A path is `limits.workers`, `matrix.axes.a`, `jobs[0].params.x`, or `defaults."a.b"`; a value is YAML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from batchmill.errors import ManifestError
from batchmill.manifest import yaml_text
from batchmill.manifest.yaml_source import Located, Location, Spot, parse_yaml
from batchmill.manifest.yaml_text import shown

SOURCE = "--set"
_STEP = re.compile(r'(?:^|\.)(?:"([^"]+)"|([^.\[\]"=]+))|\[(\d{1,9})\]')


@dataclass(frozen=True, slots=True)
class Override:
    """One `path=value`: where it goes, the column of each step of its path, and its value with its places."""

    path: Location
    spots: tuple[Spot, ...]
    located: Located


def parse(text: str) -> Override:
    """The override. Raises ManifestError that points into its text."""
    path: list[str | int] = []
    spots: list[Spot] = []
    position = 0
    while step := _STEP.match(text, position):
        group = step.lastindex or 0
        path.append(int(step[3]) if group == 3 else step[group].strip())
        spots.append(Spot(1, step.start(group) + 1, len(step[group])))
        position = step.end()
    if not path or text[position : position + 1] != "=":
        raise _refuse(text, Spot(1, position + 1, 1), "this is not `path=value`")
    return Override(tuple(path), tuple(spots), _value(text, position + 1))


def _value(text: str, start: int) -> Located:
    """The value that starts at a column; blanks stand for the path, so that all columns are those of the text."""
    try:
        return parse_yaml(" " * start + text[start:], SOURCE).shown_as(text)
    except ManifestError as error:
        raise yaml_text.invalid(tuple(replace(problem, text=text) for problem in error.problems)) from None


def apply(values: dict[str, Any], override: Override) -> dict[str, Any]:
    """A copy of the values with one of them replaced. Raises ManifestError where the path leads nowhere."""
    result: dict[str, Any] = dict(values)
    target: Any = result
    for index, step in enumerate(override.path):
        _refuse_wrong_kind(target, override, index)
        if index == len(override.path) - 1:
            target[step] = override.located.value
        else:
            inner = target[step] if isinstance(step, int) else target.get(step)
            target[step] = {} if inner is None else inner.copy() if isinstance(inner, dict | list) else inner
            target = target[step]
    return result


def _refuse_wrong_kind(target: Any, override: Override, index: int) -> None:
    step, text, spot = override.path[index], override.located.text, override.spots[index]
    before = override.path[index - 1] if index else "the manifest"
    if isinstance(step, int) != isinstance(target, list):
        expected = "a list" if isinstance(step, int) else "a mapping"
        raise _refuse(text, spot, f"`{shown(before)}` is not {expected} in this manifest")
    if isinstance(step, int) and step >= len(target):
        raise _refuse(text, spot, f"`{shown(before)}` has only {len(target)} items; the first is `[0]`")
    if not isinstance(target, dict | list):
        raise _refuse(text, spot, f"`{shown(before)}` is not a mapping in this manifest")


def _refuse(text: str, spot: Spot, message: str) -> ManifestError:
    hint = "write for example `--set limits.workers=2` or `--set jobs[0].params.x=3`"
    return yaml_text.single(text, SOURCE, spot, "manifest/override", message, hint)
