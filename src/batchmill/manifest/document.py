"""A manifest as a whole: read, overridden, translated, validated and checked; it knows where each value stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchmill.errors import ManifestError, Problem
from batchmill.manifest import checks, plain, yaml_text
from batchmill.manifest.findings import Finding, dotted
from batchmill.manifest.foreign import Origins, Part, Translated, origin, translate
from batchmill.manifest.overrides import SOURCE, Override, apply, parse
from batchmill.manifest.validation import validate
from batchmill.manifest.yaml_source import Located, Location, read_yaml
from batchmill.model.manifest import Manifest


@dataclass(frozen=True)
class _Places:
    """Where the values of a document stand: in overrides, in the file, or (from Python) only by their names."""

    file: Located | None = None
    overrides: tuple[Override, ...] = ()

    def problem(self, location: Location, finding: Finding) -> Problem:
        code, message, hint, note, key = finding.code, finding.message, finding.hint, finding.note, finding.key
        for override in reversed(self.overrides):
            depth, text = len(override.path), override.located
            if location[:depth] == override.path and not (key and len(location) == depth):
                return text.problem(location[depth:], code, message, key=key, hint=hint, note=note)
            if location and override.path[: len(location)] == location and not self._in_file(location):
                spot = override.spots[len(location) - 1]
                return text.problem_at(spot, code, message, hint=hint, note=note)
        if self.file is None:
            return Problem(code, message, source=dotted(location), note=note, hint=hint)
        return self.file.problem(location, code, message, key=key, hint=hint, note=note)

    def _in_file(self, location: Location) -> bool:
        return self.file is not None and self.file.has(location)


@dataclass(frozen=True)
class Document:
    """A valid manifest and where it comes from.

    `folder` is what its relative paths mean; `name` the manifest's name or the file's stem; `text` what the file
    holds; `foreign` the name of a foreign format, else empty. `parts` are the documents to plan one after the
    other: a foreign workflow has one for each of its tasks, everything else has only itself.
    """

    manifest: Manifest
    folder: Path
    name: str
    text: str = ""
    path: Path | None = None
    foreign: str = ""
    places: _Places = field(default_factory=_Places, repr=False)
    origins: Origins = field(default=(), repr=False)
    further: tuple[Document, ...] = field(default=(), repr=False)

    @property
    def parts(self) -> tuple[Document, ...]:
        """This document and, for a foreign workflow, those of its further tasks, in order."""
        return (self, *self.further)

    def problem(
        self, location: Location, code: str, message: str, *, hint: str = "", note: str = "", key: bool = False
    ) -> Problem:
        """A Problem at the value (or, with `key`, the key) at a location such as `("files", "directory")`."""
        return _problem(Finding(location, code, message, hint, note, key), self.places, self.origins)


def read(path: str | Path, overrides: Sequence[str] = (), *, known_tasks: Collection[str] = ()) -> Document:
    """The document in a YAML file, with `path=value` overrides. Raises ManifestError with all that is wrong."""
    path = Path(path)
    located = read_yaml(path)
    if not isinstance(located.value, dict):
        message = "the manifest is empty" if located.value is None else "a manifest is a mapping of keys to values"
        found = located.problem((), "manifest/type", message, hint="begin with `task:` and `jobs:`")
        raise yaml_text.invalid((found,))
    base = Document(Manifest(), path.absolute().parent, path.stem, located.text, path, places=_Places(located))
    return _document(located.value, base, overrides, known_tasks)


def from_values(
    values: Mapping[str, Any],
    *,
    folder: str | Path = ".",
    name: str = "batch",
    overrides: Sequence[str] = (),
    known_tasks: Collection[str] = (),
) -> Document:
    """The document of plain values (tuples, ranges, paths and `Job`s too), which have no lines: problems name keys.

    `known_tasks` are names of tasks that are not installed as plug-ins. Raises ManifestError.
    """
    plain_values = plain.plain(values)
    base = Document(Manifest(), Path(folder).absolute(), name, plain.text(plain_values))
    return _document(plain_values, base, overrides, known_tasks)


def _document(values: dict[str, Any], base: Document, overrides: Sequence[str], known: Collection[str]) -> Document:
    changes = tuple(parse(text) for text in overrides)
    for change in changes:
        values = apply(values, change)
    places = replace(base.places, overrides=changes)
    translated = translate(values) or Translated("", (Part(values),))
    problems: dict[Problem, None] = {}
    manifests: list[Manifest] = []
    for part in translated.parts:
        manifest, findings = validate(part.values)
        findings = [*findings, *checks.find(part.values, known=known, foreign=bool(translated.format))]
        found = (_problem(finding, places, part.origins) for finding in (*part.findings, *findings))
        problems |= dict.fromkeys(found)
        manifests += [manifest] if manifest is not None else []
    if problems:
        raise yaml_text.invalid(tuple(sorted(problems, key=lambda p: (p.source == SOURCE, p.line, p.column))))
    documents = [
        replace(base, manifest=m, name=m.name or base.name, foreign=translated.format, places=places, origins=p.origins)
        for m, p in zip(manifests, translated.parts, strict=True)
    ]
    return replace(documents[0], further=tuple(documents[1:]))


def _problem(finding: Finding, places: _Places, origins: Origins) -> Problem:
    location = origin(finding.location, origins)
    problem = places.problem(location, finding)
    if finding.also is None:
        return problem
    other = origin(finding.also, origins)
    line = places.problem(other, finding).line
    return replace(problem, note=f"the first is on line {line}" if line else f"the first is `{dotted(other)}`")


__all__ = ["Document", "ManifestError", "from_values", "read"]
