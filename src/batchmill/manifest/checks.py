"""What a manifest must satisfy beyond its structure, found on the plain values so that everything is reported at once.

What needs the disk (do the files exist, what is in the table) is not checked here but by the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

from batchmill import plugins
from batchmill.manifest import template
from batchmill.manifest.findings import MAX_FINDINGS, Finding, did_you_mean, listed
from batchmill.manifest.yaml_source import Location
from batchmill.manifest.yaml_text import shown
from batchmill.model.manifest import NO_SOURCE, RangeAxis
from batchmill.model.states import FailureKind

Values = dict[str, Any]

_SOURCES = ("jobs", "matrix", "files", "table")
_FILE_FIELDS = ("path", "stem", "folder")
_REQUIRED = {"python": ("function", "module:name"), "shell": ("command", "a command line")}
_TRIED_VALUES = 1000  # so many values of an axis are tried against a format


def find(values: Values, *, known: Collection[str] = (), foreign: bool = False) -> list[Finding]:
    """All that is wrong beyond the structure. `known` are task names besides the installed ones; the task of a
    foreign format need not be installed before the run."""
    tasks = sorted({*plugins.task_names(), *known})
    findings = (
        *(() if foreign else islice(_unknown_tasks(values, tasks), MAX_FINDINGS)),
        *_missing_task(values, tasks),
        *_missing_jobs(values),
        *_missing_files(values),
        *islice(_duplicate_names(values), MAX_FINDINGS),
        *islice(_axes(values), MAX_FINDINGS),
        *islice(_combinations(values), MAX_FINDINGS),
        *_templates(values),
        *islice(_task_parameters(values), MAX_FINDINGS),
        *islice(_retried(values), MAX_FINDINGS),
    )
    return list(dict.fromkeys(findings))


def _mapping(values: Values, *path: str) -> Values:
    found: Any = values
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _list(values: Values, *path: str) -> list[Any]:
    found = _mapping(values, *path[:-1]).get(path[-1])
    return found if isinstance(found, list) else []


def _jobs(values: Values) -> Iterator[tuple[int, Values]]:
    return ((index, job) for index, job in enumerate(_list(values, "jobs")) if isinstance(job, dict))


# --- tasks and sources ---------------------------------------------------------------------------------------


def _unknown_tasks(values: Values, tasks: Collection[str]) -> Iterator[Finding]:
    named: list[tuple[Location, Any]] = [(("task",), values.get("task"))]
    named += [(("jobs", index, "task"), job.get("task")) for index, job in _jobs(values)]
    for location, name in named:
        if isinstance(name, str) and name not in tasks:
            hint = did_you_mean(name, tasks, f"installed tasks: {listed(tasks, 'and')}")
            yield Finding(location, "manifest/unknown-task", f"there is no task `{shown(name)}`", hint)


def _missing_task(values: Values, tasks: Collection[str]) -> Iterator[Finding]:
    if "task" in values or (values.get("table") and not (values.get("files") or values.get("matrix"))):
        return  # the rows of a table may name their tasks
    jobs = list(_jobs(values))
    if values.get("files") or values.get("matrix") or not jobs or any("task" not in job for _, job in jobs):
        hint = f"add `task:`, one of {listed(tasks)}"
        yield Finding((), "manifest/no-task", "no task is named: nothing says what is done for each job", hint)


def _missing_jobs(values: Values) -> Iterator[Finding]:
    matrix = values.get("matrix")
    combines = not isinstance(matrix, dict) or any(matrix.get(key) for key in ("axes", "paired", "include"))
    if any(values.get(key) for key in ("jobs", "files", "table")) or (matrix and combines):
        return
    given = next((key for key in _SOURCES if key in values), None)
    hint = "describe them under `jobs`, `matrix`, `files` or `table`"
    yield Finding((given,) if given else (), "manifest/no-jobs", "there are no jobs", hint)


def _missing_files(values: Values) -> Iterator[Finding]:
    """Said by the model too, but only when nothing else is wrong with the file set."""
    files = values.get("files")
    if isinstance(files, dict) and not any(files.get(key) for key in ("directory", "paths", "from")):
        yield Finding(("files",), "manifest/no-source", NO_SOURCE, "add one of them", key=True)


def _duplicate_names(values: Values) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, job in _jobs(values):
        name = job.get("name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            message, hint = f"two jobs are named `{shown(name)}`", "give each job a name of its own"
            also = ("jobs", first[name], "name")
            yield Finding(("jobs", index, "name"), "manifest/duplicate-job", message, hint, also=also)


def _task_parameters(values: Values) -> Iterator[Finding]:
    """`function` of `python` and `command` of `shell`, where it is plain to see that nothing gives them."""
    shared = _mapping(values, "defaults")
    yield from _bad_function(("defaults",), shared, values.get("task"))
    for index, job in _jobs(values):
        task, params = job.get("task", values.get("task")), _mapping(job, "params")
        yield from _lacking(("jobs", index), task, {*shared, *params})
        yield from _bad_function(("jobs", index, "params"), params, task)
    source = next((key for key in ("matrix", "files") if values.get(key)), None)
    if source and not _list(values, "matrix", "include"):
        yield from _lacking((source,), values.get("task"), _known_fields(values))


def _lacking(location: Location, task: Any, given: Collection[str]) -> Iterator[Finding]:
    key, meaning = _REQUIRED.get(task if isinstance(task, str) else "", ("", ""))
    if key and key not in given:
        message = f"the task `{task}` needs the parameter `{key}`"
        hint = f"add `{key}: {meaning}` to `defaults` or to the job's `params`"
        yield Finding(location, "manifest/missing-parameter", message, hint, key=True)


def _bad_function(location: Location, params: Values, task: Any) -> Iterator[Finding]:
    if task != "python" or "function" not in params:
        return
    given = params["function"]
    module, colon, name = given.partition(":") if isinstance(given, str) else ("", "", "")
    if not (colon and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))):
        message = f"`function` must be `module:name`, not `{shown(given)}`"
        yield Finding((*location, "function"), "manifest/value", message, "write for example `analysis:fit`")


def _retried(values: Values) -> Iterator[Finding]:
    """A misspelt failure kind would silently be taken for the name of an exception class."""
    sections: list[tuple[Location, Values]] = [((), values), *((("jobs", i), job) for i, job in _jobs(values))]
    kinds = [kind.value for kind in FailureKind]
    for location, section in sections:
        for index, name in enumerate(_list(section, "retry", "on")):
            if isinstance(name, str) and name.islower() and name not in kinds and (hint := did_you_mean(name, kinds)):
                message = f"`{shown(name)}` is neither a failure kind nor looks like an exception class"
                yield Finding((*location, "retry", "on", index), "manifest/value", message, hint)


# --- axes ----------------------------------------------------------------------------------------------------


def _axes(values: Values) -> Iterator[Finding]:
    for section in ("axes", "paired"):
        for name, axis in _mapping(values, "matrix", section).items():
            yield from _axis(("matrix", section, name), name, axis)
    yield from _pairs(values)


def _axis(location: Location, name: str, axis: Any) -> Iterator[Finding]:
    numbers = _range(axis)
    if axis == []:
        message, hint = f"the axis `{shown(name)}` has no values", "give it a value, or remove it"
        yield Finding(location, "manifest/empty-axis", message, hint)
    elif numbers is not None and numbers.bounds()[2] == 0:
        message = f"the range of `{shown(name)}` has a step of 0"
        yield Finding((*location, "range", 2), "manifest/range", message, "a step is above or below zero")
    elif numbers is not None and not numbers.count:
        start, stop, step = numbers.bounds()
        message = f"the range of `{shown(name)}` is empty: from {start} to below {stop} by {step}"
        hint = "write [start, stop, step]; a range ends before its stop"
        yield Finding((*location, "range"), "manifest/empty-axis", message, hint)


def _range(axis: Any) -> RangeAxis | None:
    """The range, when the axis is a well-formed one."""
    if not isinstance(axis, dict) or set(axis) != {"range"}:
        return None
    try:
        return RangeAxis.model_validate(axis, strict=True)
    except ValueError:
        return None


def _count(axis: Any) -> int | None:
    numbers = _range(axis)
    return len(axis) if isinstance(axis, list) else numbers.count if numbers is not None else None


def _pairs(values: Values) -> Iterator[Finding]:
    counts = {name: count for name, axis in _mapping(values, "matrix", "paired").items() if (count := _count(axis))}
    if len(set(counts.values())) > 1:
        odd = next(name for name, count in counts.items() if count != next(iter(counts.values())))
        sizes = ", ".join(f"`{shown(name)}` has {count}" for name, count in counts.items())
        message = f"paired axes need equally many values: {sizes}"
        yield Finding(("matrix", "paired", odd), "manifest/paired", message, "give each the same number", key=True)
    for name in sorted(_mapping(values, "matrix", "paired").keys() & _mapping(values, "matrix", "axes").keys()):
        message = f"`{shown(name)}` is both in `axes` and in `paired`"
        also = ("matrix", "axes", name)
        yield Finding(("matrix", "paired", name), "manifest/paired", message, "keep one", key=True, also=also)


def _axis_names(values: Values) -> list[str]:
    return [*_mapping(values, "matrix", "axes"), *_mapping(values, "matrix", "paired")]


def _combinations(values: Values) -> Iterator[Finding]:
    """Keys of `include` and `exclude` that are no axis. Without axes, `include` alone lists the combinations."""
    axes = _axis_names(values)
    for section in ("exclude", "include") if axes else ("exclude",):
        for index, combination in enumerate(_list(values, "matrix", section)):
            for key in combination if isinstance(combination, dict) else ():
                if key not in axes:
                    message = f"`{shown(key)}` in `{section}` is no axis"
                    hint = did_you_mean(key, axes, f"the axes are {listed(axes, 'and')}" if axes else "")
                    yield Finding(("matrix", section, index, key), "manifest/not-an-axis", message, hint, key=True)


# --- name templates ------------------------------------------------------------------------------------------


def _templates(values: Values) -> Iterator[Finding]:
    matrix = _mapping(values, "matrix")
    files = _mapping(values, "files")
    yield from _template(("matrix", "name"), matrix.get("name"), values, _known_fields(values))
    yield from _template(("matrix", "group"), matrix.get("group"), values, _known_fields(values))
    yield from _template(("files", "group"), files.get("group"), values, _known_fields(values))
    yield from _template(("table", "name"), _mapping(values, "table").get("name"), values, None)
    yield from _lacking_axes(values, matrix.get("name"))


def _known_fields(values: Values) -> set[str]:
    """What a template may name: every parameter of the product, and of files their path, stem and folder."""
    files = _mapping(values, "files")
    known = {*_axis_names(values), *_mapping(values, "matrix", "base_params"), *_mapping(values, "defaults")}
    known.update(key for entry in _list(values, "matrix", "include") if isinstance(entry, dict) for key in entry)
    return known.union([*_FILE_FIELDS, str(files.get("as", "path"))] if files else [])


def _template(location: Location, text: Any, values: Values, known: set[str] | None) -> Iterator[Finding]:
    """Problems of one template; `known` is None where the names are known only later."""
    if not isinstance(text, str):
        return
    try:
        parsed = template.parse(text)
    except template.TemplateError as error:
        yield Finding(location, "manifest/template", f"`{location[-1]}`: {shown(str(error), 200)}")
        return
    for field in parsed.fields:
        if known is not None and field not in known:
            names = sorted(known)
            hint = did_you_mean(field, names, f"known names: {listed(names, 'and')}")
            message = f"the template names `{{{shown(field)}}}`, which is no axis or parameter"
            yield Finding(location, "manifest/template", message, hint)
    for piece in parsed.pieces:
        if not isinstance(piece, str):
            yield from _format(location, *piece, values)


def _format(location: Location, field: str, spec: str, values: Values) -> Iterator[Finding]:
    """A format that a value of the axis does not fit, such as `.2f` for a text."""
    axis = _mapping(values, "matrix", "axes").get(field, _mapping(values, "matrix", "paired").get(field))
    numbers = _range(axis)
    some = axis[:_TRIED_VALUES] if isinstance(axis, list) else [numbers.at(0)] if numbers and numbers.count else []
    for value in some:
        try:
            template.Template(((field, spec),)).render({field: value})
        except template.TemplateError as error:
            yield Finding(location, "manifest/template", f"in `{{{shown(field)}:{spec}}}`, {shown(str(error), 200)}")
            return


def _lacking_axes(values: Values, text: Any) -> Iterator[Finding]:
    if not isinstance(text, str):
        return
    try:
        fields = template.parse(text).fields
    except template.TemplateError:
        return
    varying = [[name] for name, axis in _mapping(values, "matrix", "axes").items() if (_count(axis) or 0) > 1]
    paired = _mapping(values, "matrix", "paired")
    if any((_count(axis) or 0) > 1 for axis in paired.values()):
        varying.append(list(paired))
    for names in varying:
        if not set(names) & set(fields):
            axes = f"the axis {listed(names)}" if len(names) == 1 else f"the paired axes {listed(names, 'and')}"
            message = f"the name template lacks {axes}: jobs would share names"
            yield Finding(("matrix", "name"), "manifest/template", message, f"add `{{{names[0]}}}` to it")
