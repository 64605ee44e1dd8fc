"""Formats that people already have, translated into manifests; what is wrong still points into their own text.

- experiments: `config: {output_dir, dataset, analyze, save_stats}`, `jobs`, `matrix: {base_params, axes}`
- workflow: `name`, `tasks: [{name, protocol: llm/v1, method, params: {directory, file_pattern, files, ...}}]`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batchmill.manifest import template
from batchmill.manifest.findings import Finding, did_you_mean, listed
from batchmill.manifest.yaml_source import Location
from batchmill.manifest.yaml_text import shown

Values = dict[str, Any]
Origins = tuple[tuple[Location, Location], ...]
"""Pairs of a location in our manifest and the foreign one it came from, the more specific first."""

# short names of the parameters of experiments manifests, for job names such as `matrix_leaf50_thresh0.1`
SHORT_NAMES = {
    "min_depth": "depth",
    "min_hyponyms": "hypo",
    "min_leaf": "leaf",
    "min_leaf_size": "leaf",
    "semantic_threshold": "thresh",
    "semantic_arrangement_threshold": "arrange",
    "semantic_arrangement_min_cluster": "cluster",
    "semantic_model": "model",
}
_CONFIG = ("output_dir", "dataset", "analyze", "save_stats")
_ENTRY = ("name", "protocol", "method", "params")
_METHODS = ("llm/chat", "llm/vision")
_FILES = {"directory": "directory", "file_pattern": "pattern", "files": "paths"}


@dataclass(frozen=True, slots=True)
class Part:
    """One manifest: its values, where they came from, and what was wrong with the foreign ones."""

    values: Values
    origins: Origins = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Translated:
    """The name of the foreign format and its manifests, one for each task."""

    format: str
    parts: tuple[Part, ...]


def translate(values: Values) -> Translated | None:
    """The manifests that a foreign format means, or None when the values are not of one."""
    if "task" in values:
        return None
    if "config" in values:
        return Translated("experiments", (_experiments(values),))
    if isinstance(values.get("tasks"), list):
        entries = enumerate(values["tasks"])
        parts = tuple(_workflow_part(values, index, entry) for index, entry in entries)
        empty = Finding(("tasks",), "manifest/no-jobs", "there are no tasks", "add one with `protocol` and `method`")
        return Translated("workflow", parts or (Part({"task": "documents", "jobs": [{}]}, (), (empty,)),))
    return None


def origin(location: Location, origins: Origins) -> Location:
    """The foreign location of one of ours."""
    for ours, theirs in origins:
        if location[: len(ours)] == ours:
            return theirs + location[len(ours) :]
    return location


# --- experiments ---------------------------------------------------------------------------------------------


def _experiments(values: Values) -> Part:
    config = values["config"]
    findings = tuple(_section_findings(config, ("config",), _CONFIG))
    settings = config if isinstance(config, dict) else {}
    shared = {key: settings[key] for key in ("dataset", "analyze", "save_stats") if key in settings}
    translated: Values = {"task": "wildcards", **{key: value for key, value in values.items() if key != "config"}}
    given = values.get("defaults", {})
    translated["defaults"] = {**shared, **given} if isinstance(given, dict) else given
    if "output_dir" in settings:
        translated["output"] = settings["output_dir"]
    translated |= _named_matrix(values.get("matrix"))
    origins: list[tuple[Location, Location]] = [(("output",), ("config", "output_dir"))]
    origins += [(("defaults", key), ("config", key)) for key in shared]
    return Part(translated, tuple(origins), findings)


def _named_matrix(matrix: Any) -> Values:
    """The matrix with a name template of short names, unless it has one or an axis cannot be named."""
    if not isinstance(matrix, dict) or "name" in matrix:
        return {}
    sections = (matrix.get(section) for section in ("axes", "paired"))
    axes = [name for section in sections if isinstance(section, dict) for name in section]
    if not axes or any(re.search("[{}:]", name) or name != name.strip() for name in axes):
        return {}
    parts = "_".join(f"{SHORT_NAMES.get(name, name)}{{{name}}}" for name in axes)
    return {"matrix": {**matrix, "name": f"matrix_{parts}"}}


# --- workflow ------------------------------------------------------------------------------------------------


def _workflow_part(values: Values, index: int, entry: Any) -> Part:
    here: Location = ("tasks", index)
    findings = tuple(_entry_findings(values, entry, here))
    entry = entry if isinstance(entry, dict) else {}
    params = entry["params"] if isinstance(entry.get("params"), dict) else {}
    name = entry["name"] if isinstance(entry.get("name"), str) else f"task {index + 1}"
    translated: Values = {key: value for key, value in values.items() if key != "tasks"}
    translated["task"] = "documents"
    own = {"method": entry["method"]} if "method" in entry else {}
    # what is set for the whole workflow, with `--set` or `--model`, holds over what its tasks say
    given = values.get("defaults", {})
    over = given if isinstance(given, dict) else {}
    translated["defaults"] = own | {key: value for key, value in params.items() if key not in _FILES} | over
    files = {ours: params[theirs] for theirs, ours in _FILES.items() if theirs in params}
    if files:
        translated["files"] = {**files, "as": "file", "group": template.escape(name)}
    else:
        translated["jobs"] = [{"name": name, "group": name}]
    origins: list[tuple[Location, Location]] = [
        *((("defaults", key), ("defaults", key)) for key in over),
        *((("files", ours), (*here, "params", theirs)) for theirs, ours in _FILES.items()),
        (("files",), (*here, "params")),
        (("defaults", "method"), (*here, "method")),
        (("defaults",), (*here, "params")),
        (("jobs", 0), here),
    ]
    return Part(translated, tuple(origins), findings)


def _entry_findings(values: Values, entry: Any, here: Location) -> Iterator[Finding]:
    yield from _section_findings(entry, here, _ENTRY)
    if not isinstance(entry, dict):
        return
    for key in ("name", "protocol", "method"):
        if key not in entry:
            yield Finding((*here, key), "manifest/missing-key", f"a task needs `{key}`", f"add `{key}:`", key=True)
    yield from _choice(entry, here, "protocol", ("llm/v1",))
    yield from _choice(entry, here, "method", _METHODS)
    if not isinstance(entry.get("name", ""), str):
        yield Finding((*here, "name"), "manifest/type", "`name` must be text", "quote it")
    if not isinstance(entry.get("params", {}), dict):
        yield Finding((*here, "params"), "manifest/type", "`params` must be a mapping", "list `model`, `messages`, ...")
    names = [other.get("name") if isinstance(other, dict) else None for other in values["tasks"]]
    first, index = names.index(entry.get("name")), int(here[1])
    if isinstance(entry.get("name"), str) and first < index:
        message = f"two tasks are named `{shown(entry['name'])}`"
        also: Location = ("tasks", first, "name")
        yield Finding((*here, "name"), "manifest/duplicate-job", message, "give each a name of its own", also=also)


def _choice(entry: Values, here: Location, key: str, allowed: tuple[str, ...]) -> Iterator[Finding]:
    if key in entry and entry[key] not in allowed:
        message = f"`{key}` must be {listed(allowed)}, not `{shown(entry[key])}`"
        yield Finding((*here, key), "manifest/value", message, did_you_mean(entry[key], allowed))


def _section_findings(section: Any, here: Location, known: tuple[str, ...]) -> Iterator[Finding]:
    name = str(here[0]) if len(here) == 1 else "task"
    if not isinstance(section, dict):
        yield Finding(here, "manifest/type", f"`{name}` must be a mapping", f"known keys: {', '.join(known)}")
        return
    for key in section:
        if key not in known:
            hint = did_you_mean(key, known, f"known keys: {', '.join(known)}")
            message, note = f"unknown key `{shown(key)}` in `{name}`", f"not a `{name}` key"
            yield Finding((*here, key), "manifest/unknown-key", message, hint, note, key=True)
