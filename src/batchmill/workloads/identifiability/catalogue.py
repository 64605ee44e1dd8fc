"""Where models come from: the bundled ones by name, files by path, one of several in a file as `file#name`."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from batchmill import ManifestError, read_yaml
from batchmill.workloads.identifiability.formats.reading import ENDINGS, Imported, document_of, files_of, is_foreign
from batchmill.workloads.identifiability.loading import Document, load_model
from batchmill.workloads.identifiability.model import Model

Identity = tuple[tuple[int, int, int], ...]
_FOLDER = Path(__file__).parent / "models"


@cache
def bundled_names() -> tuple[str, ...]:
    """The names of the models that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


@cache
def bundled_digest() -> str:
    """A short digest of all bundled models: part of the task's version, so that an edit is never served stale."""
    digest = hashlib.blake2b(digest_size=4)
    for name in bundled_names():
        digest.update(name.encode() + b"\0" + (_FOLDER / f"{name}.yaml").read_bytes() + b"\0")
    return digest.hexdigest()


def is_file(reference: str) -> bool:
    """Whether a reference names a file rather than a bundled model."""
    return "#" in reference or "/" in reference or Path(reference).suffix in (".yaml", ".yml", *ENDINGS)


def file_of(reference: str) -> str:
    """The path in a reference to a file."""
    return reference.partition("#")[0]


def input_files(reference: str) -> list[str]:
    """Every file that a reference is read from: none for a bundled model, several for a PEtab problem."""
    return files_of(file_of(reference)) if is_file(reference) else []


def check_reference(reference: str) -> str:
    """`reference`, unless it names nothing that could exist. Raises ValueError with the nearest bundled name."""
    if is_file(reference) or reference in bundled_names():
        return reference
    folded = {name.lower(): name for name in bundled_names()}
    near = difflib.get_close_matches(reference.lower(), folded, n=1)
    hint = f"did you mean `{folded[near[0]]}`?" if near else f"known are {', '.join(bundled_names())}; or give a file"
    raise ValueError(f"there is no bundled model `{reference[:80]}`; {hint}")


def find_model(reference: str) -> Model:
    """The model that a reference names. Raises ManifestError."""
    check_reference(reference)
    path, _, wanted = reference.partition("#")
    if not is_file(reference):
        return _bundled(reference)
    try:
        states = [os.stat(file) for file in files_of(path)]
    except OSError as error:
        raise ManifestError(
            f"cannot read `{error.filename or path}`: {(error.strerror or str(error)).lower()}"
        ) from None
    return _read_model(path, wanted, tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states))


@cache
def _bundled(name: str) -> Model:
    return load_model(read_yaml(_FOLDER / f"{name}.yaml"), (), name)


def list_models(path: str) -> list[str]:
    """References to all models in a file. Raises ManifestError when it is no file of models."""
    document = _document(path)
    if not _holds_several(document):
        load_model(document, (), Path(path).stem)
        return [path]
    references = [f"{path}#{name}" for name, _ in _several(document)]
    if not references:
        raise ManifestError(f"`{path}` holds no models")
    return references


# a worker analyses many models of one file, and one model under many options
@lru_cache(maxsize=256)
def _read_model(path: str, wanted: str, identity: Identity) -> Model:
    document = _read_document(path, identity)
    stem = Path(path).stem
    if not _holds_several(document):
        model = load_model(document, (), stem)
        other = document.names() if isinstance(document, Imported) else {document.value.get("id")}
        if wanted and wanted not in {model.name, stem, *other}:
            raise ManifestError(f"`{path}` holds the model `{model.name}`, not `{wanted}`")
        return model
    models = dict(_several(document))
    if wanted in models:
        return load_model(document, ("models", models[wanted]), wanted)
    near = difflib.get_close_matches(wanted, models, n=1)
    hint = f"did you mean `{path}#{near[0]}`?" if near else f"write `{path}#{next(iter(models), 'id')}`"
    raise ManifestError(f"`{path}` holds {len(models)} models, none of them `{wanted}`", hint=hint)


@lru_cache(maxsize=4)
def _read_document(path: str, _identity: Identity) -> Document:
    return _document(path)


def _document(path: str) -> Document:
    return document_of(path) if is_foreign(path) else read_yaml(path)


def _holds_several(document: Document) -> bool:
    return isinstance(document.value, dict) and "models" in document.value


def _several(document: Document) -> Iterator[tuple[str, int]]:
    """The name and index of each item under `models`. Raises ManifestError for one without a name, or a second one."""
    seen: dict[str, int] = {}
    models = document.value["models"]
    if not isinstance(models, list):
        raise _refusal(document, ("models",), "`models` must be a list")
    for index, item in enumerate(models):
        name = item.get("id") or item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise _refusal(document, ("models", index), "a model in a list needs an `id`")
        if name in seen:
            raise _refusal(document, ("models", index), f"there are two models `{name[:80]}`")
        seen[name] = index
        yield name, index


def _refusal(document: Document, path: tuple[str | int, ...], message: str) -> ManifestError:
    problem = document.problem(path, "model/list", message)
    return ManifestError(f"{problem.source}:{problem.line}:{problem.column}: {message}", problems=(problem,))
