"""YAML text -> plain values that know their line and column.

Read from libyaml's events, without recursion: PyYAML's own loaders follow YAML 1.1, keep no positions, and die of
deep nesting. Aliases, anchors, tags, duplicate keys and several documents are refused. Keys are always text.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from batchmill.errors import ManifestError, Problem
from batchmill.manifest import yaml_text
from batchmill.manifest.scalars import resolve
from batchmill.manifest.yaml_text import Spot

MAX_DEPTH = 64
MAX_NODES = 5_000_000

Location = tuple[str | int, ...]
"""The keys and list indexes that lead from the root to a value."""

# libyaml through Cython is 5 times faster; the pure parser serves where PyYAML was built without it
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: str | Path) -> Located:
    """The one document of a YAML file (UTF-8, at most 64 MB). Raises ManifestError with every position known."""
    return parse_yaml(yaml_text.read_text(Path(path)), str(path))


def parse_yaml(text: str, source: str = "") -> Located:
    """The one document of a YAML text; `source` names it in messages. Raises ManifestError."""
    yaml_text.refuse_unprintable(text, source)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.YAMLError as error:
        raise yaml_text.syntax_error(error, text, source) from None
    except _Refused as refused:
        raise yaml_text.single(text, source, refused.spot, refused.code, refused.message, refused.hint) from None
    return Located(builder.root, text, source, builder.marks)


class Located:
    """Plain data (`value`: dicts with text keys, lists, scalars; not to be changed) and where each of it stands."""

    def __init__(self, value: Any, text: str, source: str, marks: array[int]) -> None:
        self.value = value
        self.text = text
        self.source = source
        self._marks = marks
        self._lines: list[str] | None = None

    def locate(self, path: Location, *, key: bool = False) -> Spot:
        """Line, column (both from 1) and length of the value at `path`, or with `key` of the key that names it.

        Where the path leads nowhere: of the key (or item) of the last part of it that exists.
        """
        node, value, key_node = 0, self.value, -1
        for step in path:
            child = _child(self._marks, node, value, step)
            if child is None:
                key = True
                break
            key_node, node = child
            value = value[step]
        return self._spot(key_node if key and key_node >= 0 else node)

    def has(self, path: Location) -> bool:
        """Whether there is a value at `path`."""
        value = self.value
        for step in path:
            inside = step in value if isinstance(value, dict) else _is_index(value, step)
            if not inside:
                return False
            value = value[step]
        return True

    def problem(
        self, path: Location, code: str, message: str, *, key: bool = False, hint: str = "", note: str = ""
    ) -> Problem:
        """A Problem at the value (or, with `key`, the key) at `path`."""
        return self.problem_at(self.locate(path, key=key), code, message, hint=hint, note=note)

    def problem_at(self, spot: Spot, code: str, message: str, *, hint: str = "", note: str = "") -> Problem:
        """A Problem at a place in the text."""
        return yaml_text.problem(self._line, self.source, spot, code, message, hint, note)

    def shown_as(self, text: str) -> Located:
        """The same values and places, with another text of the same columns for messages."""
        return Located(self.value, text, self.source, self._marks)

    def _spot(self, node: int) -> Spot:
        if not self._marks:
            return Spot(1, 1, 1)
        line, column, end, _ = self._marks[4 * node : 4 * node + 4]
        length = end - column if end else len(self._line(line + 1).rstrip()) - column
        return Spot(line + 1, column + 1, max(length, 1))

    def _line(self, number: int) -> str:
        if self._lines is None:
            self._lines = yaml_text.split_lines(self.text)
        return self._lines[number - 1] if number <= len(self._lines) else ""


def _is_index(value: Any, step: object) -> bool:
    return isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)


def _child(marks: array[int], node: int, value: Any, step: str | int) -> tuple[int, int] | None:
    """The node numbers of the key (-1 in a list) and the value that `step` leads to."""
    if isinstance(value, dict):
        return next(((k, k + 1) for name, k in _key_nodes(marks, node, value) if name == step), None)
    if not _is_index(value, step):
        return None
    child = node + 1
    for _ in range(int(step)):
        child = marks[4 * child + 3]
    return -1, child


def _key_nodes(marks: array[int], node: int, value: dict[str, Any]) -> Iterator[tuple[str, int]]:
    key_node = node + 1
    for name in value:
        yield name, key_node
        key_node = marks[4 * (key_node + 1) + 3]


class _Refused(Exception):
    def __init__(self, mark: Any, code: str, message: str, hint: str = "", length: int = 1) -> None:
        super().__init__(message)
        self.spot = Spot(mark.line + 1, mark.column + 1, max(length, 1))
        self.code, self.message, self.hint = code, message, hint


_NO_KEY = object()


class _Open:
    """A mapping or sequence that has begun: its value, its node number, and the key that waits for a value."""

    __slots__ = ("key", "node", "value")

    def __init__(self, value: dict[str, Any] | list[Any], node: int) -> None:
        self.value = value
        self.node = node
        self.key: Any = _NO_KEY


class _Builder:
    """Builds the values, and for each node (keys too, in the order of the text) four numbers in `marks`: line,
    column, end column (0: ends on a later line), all from 0, and the number of the node that follows its end."""

    def __init__(self) -> None:
        self.root: Any = None
        self.marks: array[int] = array("I")
        self._open: list[_Open] = []
        self._documents = 0
        self._take = {
            yaml.ScalarEvent: self._scalar,
            yaml.SequenceStartEvent: lambda event: self._start(event, []),
            yaml.MappingStartEvent: lambda event: self._start(event, {}),
            yaml.SequenceEndEvent: self._end,
            yaml.MappingEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }

    def take(self, event: Any) -> None:
        handler = self._take.get(type(event))
        if handler is not None:
            handler(event)

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _Refused(event.start_mark, "yaml/documents", "a second document begins here", "keep one per file", 3)

    def _alias(self, event: Any) -> None:
        message = f"the alias `*{event.anchor}` is not allowed"
        raise _Refused(event.start_mark, "yaml/alias", message, "write the value out", len(event.anchor) + 1)

    def _mark(self, event: Any) -> int:
        if event.anchor is not None:
            message = f"the anchor `&{event.anchor}` is not allowed"
            raise _Refused(event.start_mark, "yaml/anchor", message, "write the value out", len(event.anchor) + 1)
        if event.tag is not None:
            raise _Refused(event.start_mark, "yaml/tag", "tags (`!...`) are not allowed", "leave the tag out")
        start, end = event.start_mark, event.end_mark
        node = len(self.marks) // 4
        if node >= MAX_NODES:
            raise _Refused(start, "yaml/too-large", f"more than {MAX_NODES:,} values", "put the jobs into a `table`")
        self.marks.extend((start.line, start.column, end.column if end.line == start.line else 0, node + 1))
        return node

    def _scalar(self, event: Any) -> None:
        self._mark(event)
        text = event.value
        if "\0" in text:
            raise _Refused(event.start_mark, "yaml/character", "text cannot contain a NUL character")
        parent = self._open[-1] if self._open else None
        if parent is not None and parent.key is _NO_KEY and type(parent.value) is dict:
            self._key(parent, parent.value, event)
        elif event.style:  # quoted or a block: always text
            self._place(text)
        else:
            try:
                self._place(resolve(text))
            except ValueError as error:
                raise _Refused(event.start_mark, "yaml/number", str(error), "quote it if it is text") from None

    def _key(self, parent: _Open, mapping: dict[str, Any], event: Any) -> None:
        if event.value in mapping:
            found = _child(self.marks, parent.node, mapping, event.value)
            first = self.marks[4 * found[0]] + 1 if found else 0
            message = f"the key `{yaml_text.shown(event.value)}` is given twice"
            length = event.end_mark.column - event.start_mark.column
            raise _Refused(event.start_mark, "yaml/duplicate-key", message, f"the first is on line {first}", length)
        parent.key = event.value

    def _start(self, event: Any, value: dict[str, Any] | list[Any]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _Refused(event.start_mark, "yaml/too-deep", f"values are nested deeper than {MAX_DEPTH} levels")
        parent = self._open[-1] if self._open else None
        if parent is not None and parent.key is _NO_KEY and type(parent.value) is dict:
            raise _Refused(event.start_mark, "yaml/key", "a key must be text, not a list or a mapping")
        opened = _Open(value, self._mark(event))
        self._place(value)
        self._open.append(opened)

    def _end(self, event: Any) -> None:
        opened = self._open.pop()
        at, end = 4 * opened.node, event.end_mark
        self.marks[at + 2] = end.column if end.line == self.marks[at] else 0
        self.marks[at + 3] = len(self.marks) // 4

    def _place(self, value: Any) -> None:
        if not self._open:
            self.root = value
            return
        parent = self._open[-1]
        if type(parent.value) is dict:
            parent.value[parent.key] = value
            parent.key = _NO_KEY
        else:
            parent.value.append(value)  # type: ignore[union-attr]


__all__ = ["MAX_DEPTH", "MAX_NODES", "Located", "Location", "ManifestError", "Spot", "parse_yaml", "read_yaml"]
