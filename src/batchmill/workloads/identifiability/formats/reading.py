"""Which reader a file goes to, by its ending or its keys; and imported models as documents that `loading` checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from batchmill import ManifestError, Problem
from batchmill.workloads.identifiability.formats import julia, nullstrike, strikegoldd
from batchmill.workloads.identifiability.formats.draft import Draft
from batchmill.workloads.identifiability.formats.source import Source, read_source

ENDINGS = (".py", ".m", ".jl", ".xml", ".sbml", ".ant", ".antimony")


def is_foreign(path: str) -> bool:
    """Whether an importer reads this file. A YAML file is looked into: a PEtab problem is known by its keys."""
    ending = os.path.splitext(path)[1].lower()
    return ending in ENDINGS or (ending in (".yaml", ".yml") and _is_petab(path))


def _is_petab(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False  # whoever reads it says so
    return any(line.startswith(b"format_version") for line in head.splitlines())


def drafts_of(path: str, **options: Any) -> list[Draft]:
    """The models of a file as drafts. `options` are those of `read`. Raises ManifestError."""
    ending = Path(path).suffix.lower()
    if ending in (".yaml", ".yml"):
        from batchmill.workloads.identifiability.formats.petab import read_problems

        return read_problems(path)
    reader = _reader(ending)
    if reader is None:
        raise ManifestError(f"{path}: no importer knows this ending", hint=f"known are {', '.join(ENDINGS)}, and PEtab")
    return reader(read_source(path), **options)


def _reader(ending: str) -> Callable[..., list[Draft]] | None:
    # each of these imports what it needs only when it is asked for
    if ending in (".xml", ".sbml"):
        from batchmill.workloads.identifiability.formats.sbml import read_models

        return read_models
    if ending in (".ant", ".antimony"):
        from batchmill.workloads.identifiability.formats.antimony_text import read_models as read_antimony

        return read_antimony
    readers = {".py": nullstrike.read_models, ".m": strikegoldd.read_models, ".jl": julia.read_models}
    return readers.get(ending)


class Imported:
    """An imported file as a document: its value is a model, or `models`, and problems stand in the foreign text."""

    def __init__(self, path: str, drafts: list[Draft]) -> None:
        self.source = Source(path, drafts[0].source.text if drafts else "")
        models = [draft.native() for draft in drafts]
        self.value: Mapping[str, Any] = models[0] if len(models) == 1 else {"models": models}
        self._models = models
        self._drafts = drafts

    def models(self, wanted: str = "") -> list[tuple[dict[str, Any], list[str]]]:
        """Each model, or the one `wanted`, and notes on what was left out or assumed. Raises ManifestError."""
        found = [
            (model, draft.notes)
            for model, draft in zip(self._models, self._drafts, strict=True)
            if not wanted or wanted in self._names_of(draft)
        ]
        if not found:
            names = ", ".join(f"`{draft.name}`" for draft in self._drafts[:10])
            raise ManifestError(f"`{self.source.path}` holds no model `{wanted[:80]}`", hint=f"it holds {names}")
        return found

    def names(self) -> set[str]:
        """Every name that a reference may give one of the models."""
        return {name for draft in self._drafts for name in self._names_of(draft)}

    def _names_of(self, draft: Draft) -> set[str]:
        return {draft.name, draft.variable or draft.name, self.source.stem if len(self._drafts) == 1 else draft.name}

    def problem(
        self, path: tuple[str | int, ...], code: str, message: str, *, key: bool = False, hint: str = "", note: str = ""
    ) -> Problem:
        """A Problem where the model, its equation or its name stands in the foreign file."""
        draft = self._drafts[0]
        if path[:1] == ("models",):
            draft, path = self._drafts[int(path[1])], path[2:]
        offset = draft.places.get(path[:2], draft.places.get(path[:1], 0))
        return draft.source.problem(message, draft.source.place(offset), code.removeprefix("model/"), hint=hint)


def document_of(path: str, **options: Any) -> Imported:
    """A foreign file as a document for `loading.load_model`. Raises ManifestError."""
    return Imported(path, drafts_of(path, **options))


def files_of(path: str) -> list[str]:
    """Every file that a model is read from: the file itself and, for a PEtab problem, those that it names.

    A problem that cannot be read names none: whoever reads it says why.
    """
    if os.path.splitext(path)[1].lower() in (".yaml", ".yml") and is_foreign(path):
        from batchmill.workloads.identifiability.formats.petab import files_named

        try:
            return [path, *files_named(path)]
        except ManifestError:
            return [path]
    return [path]
