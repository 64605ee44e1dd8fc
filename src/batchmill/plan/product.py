"""Files times matrix: the jobs that are made, not listed. Every value of an axis is checked before anything runs;
what only fails in combination becomes an invalid job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from batchmill.errors import PlanError
from batchmill.manifest import template
from batchmill.model.manifest import FilesSection, MatrixSection
from batchmill.model.tasks import Invalid
from batchmill.plan import keys
from batchmill.plan.binding import Binder, Fault, Ready, Unfit
from batchmill.plan.checker import Checker, Location
from batchmill.plan.expand import Axis, Draft, Matrix, Piece, Product
from batchmill.plan.sources import FileItem, FileSet


class Combinations:
    """The combinations of a matrix, for each of the files if there are any."""

    ranked = False

    def __init__(self, checker: Checker, now: float) -> None:
        """Checks the files' sources, and every value of the axes."""
        manifest = checker.manifest
        self._checker = checker
        self._matrix_section = manifest.matrix or MatrixSection()
        self._files_section = manifest.files
        self._matrix = None if manifest.matrix is None else Matrix(manifest.matrix)
        self._fixed = {**manifest.defaults, **self._matrix_section.base_params}
        self._probed: list[Ready] = []
        self._first: Piece | None = None
        self._binder = checker.binder(None, ("task",))
        self._files = None if manifest.files is None else self._file_set(manifest.files, now)
        self._product = self._make_product()
        if self._binder is not None:
            self._first = self._first_piece()
            self._check(self._binder)

    @property
    def is_empty(self) -> bool:
        """Whether no file fits."""
        return self._first is None

    def count(self) -> int | None:
        """How many; None while only walking the files could tell."""
        return self._product.per_piece if self._files_section is None else None

    def drafts(self, start: int = 0) -> Iterator[Draft]:
        """From the `start`-th (from 0) on. Raises PlanError when a folder cannot be read."""
        return self._product.drafts(self._pieces(), start)

    def digest_parts(self) -> dict[str, str]:
        """Digests of the matrix and of the listing of the files. Walks the folders once."""
        section = self._matrix_section
        matrix = [section.model_dump(mode="json"), list(section.axes), list(section.paired)]
        probed = [[ready.version, ready.inputs] for ready in self._probed]
        listing = blake2b(digest_size=16)
        for item in self._files or ():
            listing.update(f"{item.path!r} {item.identity[1:]}\n".encode("utf-8", "surrogateescape"))
        files = self._files_section and self._files_section.model_dump(mode="json", include={"as_", "group"})
        return {"matrix": keys.digest([matrix, probed]), "files": keys.digest([files, listing.hexdigest()])}

    def _file_set(self, section: FilesSection, now: float) -> FileSet | None:
        try:
            may_lack = self._binder is not None and self._binder.task.unreadable == "skip"
            files = FileSet(section, self._checker.folder, now, may_lack=may_lack)
        except ValueError as error:
            self._checker.problem(("files", "modified_since"), str(error), code="plan/files")
            return None
        problems = files.check(self._checker.document.problem)
        self._checker.problems += problems
        return None if problems else files

    def _make_product(self) -> Product:
        names = self._binder.task.short_names if self._binder is not None else {}
        group = self._matrix_section.group or (self._files_section.group if self._files_section else None)
        return Product(self._matrix, self._fixed, names, _template(self._matrix_section.name), _template(group))

    # --- checks ------------------------------------------------------------------------------------------------

    def _check(self, binder: Binder) -> None:
        """Try each value of each axis, with the others at their first."""
        piece, matrix = self._sample(), self._matrix
        start = {} if matrix is None else matrix.at(0) if matrix.axes else next(matrix.rows(), {})
        base = {**self._fixed, **piece.params, **start}
        faults = self._faults(binder, base, piece)
        layers = ((("matrix", "base_params"), self._matrix_section.base_params),)
        for fault in faults:
            if fault.location and fault.location[0] not in start:
                self._checker.place(fault, layers, ("files",) if matrix is None else ("matrix",))
        general = [fault for fault in faults if not fault.location]
        for axis in matrix.axes if matrix is not None else ():
            for digit in range(axis.size) if isinstance(axis.values[0], list) else sorted({0, axis.size - 1}):
                found = self._check_value(binder, axis, digit, base, piece)
                general = [fault for fault in general if fault in found]
        for fault in general if self._files_section is None else ():  # whatever the values: no combination is to blame
            self._checker.problem(("matrix",), fault.message, fault.hint)

    def _sample(self) -> Piece:
        """The first file that can be used, to try values with; without one, what is known of any."""
        section = self._files_section
        if section is None:
            return Piece({})
        first = self._first
        return first if first is not None and first.invalid is None else Piece({section.as_: "file"}, invalid="none")

    def _check_value(
        self, binder: Binder, axis: Axis, digit: int, base: Mapping[str, Any], piece: Piece
    ) -> list[Fault]:
        """Only faults of this axis are told: others are told already, or concern a combination. Returns all."""
        values = {name: column[digit] for name, column in zip(axis.names, axis.values, strict=True)}
        faults = self._faults(binder, {**base, **values}, piece)
        for fault in faults:
            if fault.location and fault.location[0] in values:
                place = self._place_of(str(fault.location[0]), digit)
                place = place[:-1] if fault.key else place
                self._checker.problem(place, fault.message, fault.hint, key=fault.key)
        return faults

    def _faults(self, binder: Binder, raw: Mapping[str, Any], piece: Piece) -> list[Fault]:
        try:
            self._probed.append(self._checker.ready(binder, raw, piece.file))
        except Unfit as unfit:
            if piece.invalid is None:
                return unfit.faults
            return [f for f in unfit.faults if f.location and not f.absent and f.location[0] not in piece.params]
        return []

    def _place_of(self, name: str, digit: int) -> Location:
        section = "axes" if name in self._matrix_section.axes else "paired"
        listed = isinstance(getattr(self._matrix_section, section)[name], list)
        return ("matrix", section, name, digit if listed else "range")

    # --- files ---------------------------------------------------------------------------------------------------

    def _first_piece(self) -> Piece | None:
        try:
            return next(self._pieces(), None)
        except PlanError as error:
            self._checker.problem(("files",), error.message, error.hint or "", "plan/files")
            return None

    def _pieces(self) -> Iterator[Piece]:
        if self._files_section is None:
            yield Piece({})
            return
        expand = self._binder.task.expand if self._binder is not None else None
        for item in self._files or ():
            whole = _piece(item, self._files_section.as_)
            if expand is None:
                yield whole
            else:
                yield from _expanded(item, whole, expand)


def _template(text: str | None) -> template.Template | None:
    return None if text is None else template.parse(text)


def _piece(item: FileItem, parameter: str) -> Piece:
    folder, name = os.path.split(item.path)
    fields = {"path": item.path, "stem": os.path.splitext(name)[0], "folder": folder}
    return Piece({parameter: item.path}, item.label, fields, item.identity)


def _expanded(item: FileItem, whole: Piece, expand: Callable[[str], list[dict[str, Any]] | Invalid]) -> Iterator[Piece]:
    """One piece for each part that the task finds in a file. The task gets the absolute path; in the parameters it is
    replaced by the path as the user would write it."""
    place = item.identity.path
    try:
        found = expand(place)
    except Exception as error:  # noqa: BLE001 - the task reads a stranger's file; other files go on
        found = Invalid(f"{type(error).__name__}: {error}")
    if isinstance(found, Invalid):
        yield whole._replace(invalid=found.reason)
        return
    for number, params in enumerate(found, start=1):
        own = {key: _as_written(value, place, item.path) for key, value in params.items()}
        texts = (value for value in own.values() if isinstance(value, str) and value.startswith(item.path))
        inside = next(texts, item.path)[len(item.path) :] or (f"_{number}" if len(found) > 1 else "")
        yield whole._replace(params=own, label=whole.label + inside)


def _as_written(value: Any, place: str, path: str) -> Any:
    return path + value[len(place) :] if isinstance(value, str) and value.startswith(place) else value
