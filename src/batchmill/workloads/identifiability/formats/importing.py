"""`batchmill identifiability import`: files of other tools become model files, each checked before it is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from batchmill import ManifestError
from batchmill.workloads.identifiability.formats.reading import Imported, document_of
from batchmill.workloads.identifiability.formats.writing import write_native
from batchmill.workloads.identifiability.loading import load_model


class Written(NamedTuple):
    """A model file that was written, what it came from, and what was left out or assumed."""

    source: str
    path: str
    model: str
    notes: tuple[str, ...]


class Imports(NamedTuple):
    """What an import did: files written, and errors by the file they are about."""

    written: tuple[Written, ...]
    refused: tuple[tuple[str, ManifestError], ...]


def import_files(paths: Iterable[str], out: str, *, outputs: Iterable[str] | None = None) -> Imports:
    """Write `<out>/<model>.yaml` for every model of every file; a file that cannot be read hinders no other.

    `file#name` is one model of a file. Never overwrites: a file that is there, or a name that comes twice, is
    refused. Raises ManifestError when `out` cannot be made.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ManifestError(f"cannot make `{out}`: {(error.strerror or str(error)).lower()}") from None
    options = {} if outputs is None else {"outputs": tuple(outputs)}
    written: list[Written] = []
    refused: list[tuple[str, ManifestError]] = []
    for path in paths:
        try:
            file, _, wanted = path.partition("#")
            document = document_of(file, **options)
            check(document)
            written.extend(_write(path, model, notes, folder) for model, notes in document.models(wanted))
        except ManifestError as error:
            refused.append((path, error))
    return Imports(tuple(written), tuple(refused))


def check(document: Imported) -> None:
    """Read what would be written as a model file is read. Raises ManifestError at places of the foreign file."""
    several = document.value.get("models")
    if several is None:
        load_model(document, (), str(document.value["id"]))
    for index, model in enumerate(several or ()):
        load_model(document, ("models", index), str(model["id"]))


def _write(path: str, model: Mapping[str, Any], notes: Iterable[str], folder: Path) -> Written:
    name = str(model["id"])
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:100] or "model"
    target = folder / f"{safe}.yaml"
    try:
        # "x" also refuses to follow a link that stands there
        with open(target, "x", encoding="utf-8", newline="\n") as file:
            file.write(write_native(model))
    except FileExistsError:
        raise ManifestError(
            f"{path}: `{os.fspath(target)}` is already there", hint="remove it, or write into another folder"
        ) from None
    except OSError as error:
        raise ManifestError(f"cannot write `{target}`: {(error.strerror or str(error)).lower()}") from None
    return Written(path, os.fspath(target), name, tuple(notes))
