"""Reads file sets: folders walked in a stable order with bounded memory, files named one by one, and lists of files.

Tables are read in `tables`; what a file's jobs are is decided in `plan`.
"""

from __future__ import annotations

import fnmatch
import heapq
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import NamedTuple

from batchmill.errors import PlanError, Problem
from batchmill.model import units
from batchmill.model.jobs import FileIdentity, missing
from batchmill.model.manifest import FilesSection

WINDOW = 100_000  # names of one folder held at a time: about 15 MB
MAX_PROBLEMS = 100

Report = Callable[..., Problem]  # Document.problem


class FileItem(NamedTuple):
    """One file of a set: its path as the user would write it (relative to the manifest), and what it is now."""

    path: str
    label: str  # below the searched folder, without suffix
    identity: FileIdentity


class FileSet:
    """The files of a `files` section: those of its folder in the order of their names (a folder's files before its
    subfolders), then `paths`, then the list; each file once. Iterating it reads the file system anew."""

    def __init__(self, section: FilesSection, folder: str, now: float, *, may_lack: bool = False) -> None:
        """`now` is the wall time that `modified_since: 7d` counts from. With `may_lack`, a file that is named and not
        there is an item whose identity says so, not a problem. Raises ValueError for an unreadable date."""
        self._section = section
        self._may_lack = may_lack
        self._folder = os.path.abspath(folder)
        self._oldest = modified_since(section.modified_since, now)
        self._exclude = [glob(pattern) for pattern in section.exclude]
        self._walk = _Walk(section, self._folder, self._exclude) if section.directory is not None else None

    def check(self, problem: Report) -> list[Problem]:
        """What is missing: the folder, named files, the list, files in it."""
        found: list[Problem] = []
        if self._walk is not None and not os.path.isdir(self._walk.root):
            hint = "paths are relative to the manifest's folder"
            message = f"there is no folder `{self._section.directory}`"
            found.append(problem(("files", "directory"), "plan/missing-folder", message, hint=hint))
        for number, path in enumerate(() if self._may_lack else self._section.paths):
            if reason := _unusable(os.path.join(self._folder, path)):
                where = ("files", "paths", number)
                found.append(problem(where, "plan/missing-file", f"`{path}` {reason}"))
        if self._section.from_ is not None:
            found += self._check_list(self._section.from_, problem)
        return found

    def _check_list(self, name: str, problem: Report) -> list[Problem]:
        if reason := _unusable(os.path.join(self._folder, name)):
            return [problem(("files", "from"), "plan/missing-file", f"the list `{name}` {reason}")]
        found: list[Problem] = []
        for line, path in () if self._may_lack else self._listed():
            reason = _unusable(os.path.join(self._folder, path))
            if reason and len(found) < MAX_PROBLEMS:
                found.append(Problem("plan/missing-file", f"`{path}` {reason}", name, line, 1, len(path), path))
        return found

    def __iter__(self) -> Iterator[FileItem]:
        """The files. Raises PlanError when a folder cannot be read."""
        if self._walk is not None:
            yield from filter(self._wanted, self._walk.items())
        seen: set[str] = set()
        for path in (*self._section.paths, *(path for _, path in self._listed())):
            place = os.path.realpath(os.path.join(self._folder, path))
            if place in seen or (self._walk is not None and self._walk.covers(place)):
                continue
            seen.add(place)
            # a path from the root would drown the name in a table
            label = os.path.basename(path) if os.path.isabs(path) else path
            label = os.path.splitext(label)[0]
            item = _item(path, label, self._folder)
            if item is None and self._may_lack:
                item = FileItem(path, label, missing(os.path.abspath(os.path.join(self._folder, path))))
            if item is not None and not self._excluded(item.path) and self._wanted(item):
                yield item

    def _listed(self) -> Iterator[tuple[int, str]]:
        if self._section.from_ is None:
            return
        with open(os.path.join(self._folder, self._section.from_), encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.strip()

    def _excluded(self, path: str) -> bool:
        return any(pattern(os.path.basename(path), path) for pattern in self._exclude)

    def _wanted(self, item: FileItem) -> bool:
        if item.identity.is_missing:  # it was named: its absence is told
            return True
        size, low, high = item.identity.size, self._section.min_size, self._section.max_size
        if (low is not None and size < low) or (high is not None and size > high):
            return False
        return self._oldest is None or item.identity.mtime_ns >= self._oldest * 1e9


class _Walk:
    """The files below a folder that fit the patterns, in order. Links to folders, and out of the root, are left out."""

    def __init__(self, section: FilesSection, folder: str, exclude: Sequence[Glob]) -> None:
        patterns = [section.pattern] if isinstance(section.pattern, str) else section.pattern
        self.root = os.path.realpath(os.path.join(folder, section.directory or "."))
        self._folder = folder
        self._written = section.directory or "."
        self._patterns = [glob(pattern) for pattern in patterns]
        self._exclude = exclude
        self._hidden = section.hidden
        self._recursive = section.recursive or any("/" in pattern for pattern in patterns)

    def items(self) -> Iterator[FileItem]:
        links: set[str] = set()  # the targets of links inside the root
        folders = [""]
        while folders:
            below = folders.pop()
            for name in self._names(below, self._is_file):
                relative = os.path.join(below, name)
                place = os.path.join(self.root, relative)
                if os.path.islink(place) and not self._new_target(place, links):
                    continue
                path = relative if self._written in (".", "./") else os.path.join(self._written, relative)
                item = _item(path, os.path.splitext(relative)[0], self._folder)
                if item is not None:
                    yield item
            if self._recursive:
                inner = [os.path.join(below, name) for name in self._names(below, self._is_folder)]
                folders += reversed(inner)

    def _new_target(self, link: str, links: set[str]) -> bool:
        target = os.path.realpath(link)
        inside = target.startswith(self.root + os.sep)
        if not inside or target in links or self.covers(target):
            return False
        links.add(target)
        return True

    def covers(self, place: str) -> bool:
        """Whether the walk gives this file (a resolved path) by itself."""
        relative = os.path.relpath(place, self.root)
        if relative.startswith("..") or not self._fits(relative):
            return False
        parents = PurePath(relative).parents
        above = [str(parent) for parent in parents if str(parent) != "."]
        return (self._recursive or not above) and all(self._open(parent) for parent in above)

    def _fits(self, relative: str) -> bool:
        name = os.path.basename(relative)
        return self._open(relative) and any(pattern(name, relative) for pattern in self._patterns)

    def _open(self, relative: str) -> bool:
        name = os.path.basename(relative)
        if name.startswith(".") and not self._hidden:
            return False
        return not any(pattern(name, relative) for pattern in self._exclude)

    def _is_file(self, entry: os.DirEntry[str], relative: str) -> bool:
        try:
            return self._fits(relative) and entry.is_file()
        except OSError:  # a link that leads to itself, or to where nobody may look: as one that leads nowhere
            return False

    def _is_folder(self, entry: os.DirEntry[str], relative: str) -> bool:
        return self._open(relative) and entry.is_dir(follow_symlinks=False)

    def _names(self, below: str, want: Callable[[os.DirEntry[str], str], bool]) -> Iterator[str]:
        """Names in a folder in order, at most WINDOW in memory: a huge folder is scanned once per window."""
        last = ""
        while True:
            names = heapq.nsmallest(WINDOW, self._scan(below, want, last))
            yield from names
            if len(names) < WINDOW:
                return
            last = names[-1]

    def _scan(self, below: str, want: Callable[[os.DirEntry[str], str], bool], last: str) -> Iterator[str]:
        try:
            with os.scandir(os.path.join(self.root, below)) as entries:
                for entry in entries:
                    if entry.name > last and want(entry, os.path.join(below, entry.name)):
                        yield entry.name
        except OSError as error:
            place = os.path.join(self._written, below)
            raise PlanError(f"cannot read the folder `{place}`: {error.strerror or error}") from error


def _item(path: str, label: str, folder: str) -> FileItem | None:
    """The item of a regular file; None when it has just vanished, or is a pipe or a device."""
    place = os.path.abspath(os.path.join(folder, path))
    try:
        found = os.stat(place)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return FileItem(path, label, FileIdentity(place, found.st_size, found.st_mtime_ns, found.st_ino))


def _unusable(place: str) -> str:
    try:
        mode = os.stat(place).st_mode
    except (OSError, ValueError) as error:
        return "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
    return "" if stat.S_ISREG(mode) else "is a folder, not a file" if stat.S_ISDIR(mode) else "is not a regular file"


Glob = Callable[[str, str], object]


def glob(pattern: str) -> Glob:
    """A test of (name, relative path): a pattern with a `/` is for the path (`**/` any folders), else for the name."""
    if "/" not in pattern:
        by_name = re.compile(fnmatch.translate(pattern)).match
        return lambda name, path: by_name(name)
    pieces = [fnmatch.translate(piece)[4:-3] for piece in pattern.removeprefix("./").split("**/")]
    by_path = re.compile("(?s:" + "(?:.*/)?".join(pieces) + r")\Z").match
    return lambda name, path: by_path(path)


def modified_since(text: str | None, now: float) -> float | None:
    """Wall seconds, from a date or time in ISO 8601 (local time unless it says otherwise), or a time ago such as `7d`.

    Raises ValueError.
    """
    if text is None:
        return None
    try:
        return now - units.duration(text.strip().removesuffix("ago"))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise ValueError(f"`{text}` is neither a date such as `2025-01-31` nor a time ago such as `7d`") from None


def listing(items: Iterable[FileItem]) -> Iterator[str]:
    """Each file as one line of text, for the plan's digest."""
    for item in items:
        yield f"{item.path!r} {item.identity[1:]}\n"
