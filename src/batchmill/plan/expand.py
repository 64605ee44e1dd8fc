"""Pure expansion: axes into combinations (by mixed-radix index, never materialised), default names, group templates.

Reading files and tables is in `sources`; turning a combination into a job with a key is in `binding` and `plan`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Protocol, overload

from batchmill.model.jobs import FileIdentity
from batchmill.model.manifest import JobSection, MatrixSection, RangeAxis
from batchmill.model.tasks import ShortName
from batchmill.model.text import one_line

MAX_NAME = 200

Params = dict[str, Any]


class Template(Protocol):
    """A parsed name or group template."""

    @property
    def fields(self) -> Any:
        """The names between its braces."""

    def render(self, values: Mapping[str, Any]) -> str:
        """The text with its fields filled in."""


class _Numbers(Sequence[int | float]):
    """The numbers of a range, made when asked for."""

    def __init__(self, axis: RangeAxis) -> None:
        self._axis = axis
        self._count = axis.count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> int | float: ...
    @overload
    def __getitem__(self, index: slice) -> list[int | float]: ...
    def __getitem__(self, index: int | slice) -> int | float | list[int | float]:
        if isinstance(index, slice):
            return [self._axis.at(i) for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._axis.at(index % self._count)


def axis_values(axis: Sequence[Any] | RangeAxis) -> Sequence[Any]:
    """The values of an axis; a range stays lazy."""
    if not isinstance(axis, RangeAxis):
        return axis
    start, _, step = axis.bounds()
    if isinstance(start, int) and isinstance(step, int) and step:
        return range(start, start + axis.count * step, step)
    return _Numbers(axis)


class Axis(NamedTuple):
    """One digit of the mixed-radix index: a parameter and its values, or several that advance together."""

    names: tuple[str, ...]
    values: tuple[Sequence[Any], ...]
    size: int


class Matrix:
    """Every combination of the axes, the last axis fastest, without the excluded ones, then the included ones."""

    def __init__(self, section: MatrixSection) -> None:
        """The section is checked: each axis has values, and the paired ones equally many."""
        self.axes = [Axis((n,), (v,), len(v)) for n, v in ((n, axis_values(a)) for n, a in section.axes.items())]
        if section.paired:
            columns = tuple(axis_values(axis) for axis in section.paired.values())
            self.axes.append(Axis(tuple(section.paired), columns, len(columns[0])))
        self.include = section.include
        self.exclude = section.exclude
        names = [name for axis in self.axes for name in axis.names]
        self._all_names = frozenset(names)
        self.varying = [name for axis in self.axes if axis.size > 1 for name in axis.names] or names
        only_included = bool(self.include) and not self.axes
        self.size = 0 if only_included else math.prod(axis.size for axis in self.axes)

    def at(self, index: int) -> Params:
        """The combination of this index, excluded or not."""
        found: Params = {}
        for names, values, size in reversed(self.axes):
            index, digit = divmod(index, size)
            if len(names) == 1:
                found[names[0]] = values[0][digit]
            else:
                found.update((name, column[digit]) for name, column in zip(names, values, strict=True))
        return found

    def count(self) -> int:
        """How many combinations there are. With exclusions they are counted one by one: 1 s a million."""
        kept = sum(1 for _ in self._kept()) if self.exclude else self.size
        return kept + len(self.include)

    def rows(self, start: int = 0) -> Iterator[Params]:
        """The combinations from the one numbered `start` (from 0) on."""
        if not self.exclude:
            yield from map(self.at, range(start, self.size))
            start = max(0, start - self.size)
        else:
            for row in self._kept():
                if start:
                    start -= 1
                else:
                    yield row
        yield from map(dict, self.include[start:])

    def _kept(self) -> Iterator[Params]:
        return (row for row in map(self.at, range(self.size)) if not any(_matches(row, e) for e in self.exclude))

    def label(self, row: Params, short_names: Mapping[str, ShortName]) -> str:
        """What distinguishes a combination, such as `leaf50_thresh0.1`: short name and value of what varies."""
        names = self.varying if row.keys() == self._all_names else row
        return labelled({name: row[name] for name in names}, short_names)


def _rendered(template: Template | None, values: Params) -> str | None:
    """None also where a field has no value here: an included combination may lack an axis."""
    try:
        return None if template is None else template.render(values)
    except ValueError:
        return None


def _matches(row: Params, pattern: Params) -> bool:
    return all(name in row and _same(row[name], value) for name, value in pattern.items())


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def labelled(params: Params, short_names: Mapping[str, ShortName]) -> str:
    """Parameters in a name, such as `leaf50_thresh0.1`: short names and values."""
    marks = [(short_names.get(name, ShortName(name)), value) for name, value in params.items()]
    return "_".join([mark.text + (mark.value or value_text)(value) for mark, value in marks])


def value_text(value: Any) -> str:
    """A parameter's value in a name: text as it is, numbers in their shortest form, the rest as compact JSON."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int or kind is float:
        return repr(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def job_name(text: str) -> str:
    """A name fit to be shown and typed: one line, no control characters, at most 200 characters, not empty."""
    if len(text) > MAX_NAME or not text.isprintable() or not text:
        text = one_line(text[: 8 * MAX_NAME])[:MAX_NAME].rstrip() or "job"
    return text


class Piece(NamedTuple):
    """What one file contributes to its jobs: parameters, its part of their names, its template fields, itself."""

    params: Params
    label: str = ""
    fields: Mapping[str, str] = {}
    file: FileIdentity | None = None
    invalid: str | None = None


class Draft(NamedTuple):
    """A job before its parameters are checked (or, when `ready` is set, after it). Listed jobs have `options`."""

    params: Params
    name: str = ""
    group: str | None = None
    generated: bool = True
    options: JobSection | None = None
    file: FileIdentity | None = None
    invalid: str | None = None
    ready: Any = None


class Product:
    """Pieces of files (outer) times combinations of the matrix (inner), named and grouped."""

    def __init__(
        self,
        matrix: Matrix | None,
        fixed: Params,
        short_names: Mapping[str, ShortName],
        name: Template | None = None,
        group: Template | None = None,
    ) -> None:
        """`fixed` are the parameters that all jobs of the product share."""
        self.matrix = matrix
        self._fixed = fixed
        self._short_names = short_names
        self._name = name
        self._group = group
        self._templated = name is not None or group is not None

    @cached_property
    def per_piece(self) -> int:
        """How many jobs each piece gives."""
        return 1 if self.matrix is None else self.matrix.count()

    def drafts(self, pieces: Iterable[Piece], start: int = 0) -> Iterator[Draft]:
        """The jobs from the `start`-th (from 0) on."""
        whole, start = divmod(start, self.per_piece or 1) if start else (0, 0)
        for piece in islice(pieces, whole, None):
            yield from self._of(piece, start)
            start = 0

    def _of(self, piece: Piece, start: int) -> Iterator[Draft]:
        fixed = {**self._fixed, **piece.params}
        label = piece.label or "matrix"
        for row in self.matrix.rows(start) if self.matrix is not None else ({},):
            params = {**fixed, **row}
            name = group = None
            if self._templated:
                values = {**params, **piece.fields}
                name, group = _rendered(self._name, values), _rendered(self._group, values)
            if name is None:
                name = label
                if self.matrix is not None and (own := self.matrix.label(row, self._short_names)):
                    name = f"{label}_{own}"
            yield Draft(params, job_name(name), group, True, None, piece.file, piece.invalid)
