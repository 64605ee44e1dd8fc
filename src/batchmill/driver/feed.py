"""Reads for the scheduler, in threads of its own: pending rows, results that exist, digests of input files."""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from batchmill.errors import UsageError
from batchmill.ledger.index import HomeIndex
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from batchmill.ledger.records import Selection
from batchmill.model.commands import Load, Prepare
from batchmill.model.events import Broken, Event, Loaded, Prepared
from batchmill.model.jobs import FileIdentity, Row, Source
from batchmill.model.near import did_you_mean
from batchmill.model.states import Mode
from batchmill.model.text import one_line
from batchmill.plan.keys import digest_file, identity, job_key

HELPERS = 2  # threads that digest files
MOST_NAMES = 2000  # that a mistyped one is compared with
Reuse = Literal["any", "name", "never"]


class Choice(NamedTuple):
    """Which of the missing jobs to run this time: by name (a glob), by group, the first few, or a random few."""

    only: str | None = None
    group: str | None = None
    limit: int | None = None
    sample: int | None = None
    seed: int = 0

    @property
    def first(self) -> int | None:
        """How many jobs it takes from the beginning of the plan; None when it depends on the whole plan."""
        return self.limit if (self.only, self.group, self.sample) == (None, None, None) else None

    @property
    def _wide(self) -> Selection:
        """The jobs that it chooses from."""
        return Selection((self.only,) if self.only is not None else (), self.group)

    def refuse_nothing(self, reader: LedgerReader) -> None:
        """Raises UsageError when no job of the plan, which must be whole, has such a name and group."""
        if reader.matches(self._wide):
            return
        names, groups = reader.names(MOST_NAMES), [group for group in reader.group_counts() if group]
        told, hints = [], []
        if self.only is not None:
            told.append(f"has a name that matches `{self.only}`")
            hints.append(did_you_mean(self.only, names) or f"names are {_some(names)}")
        if self.group is not None:
            told.append(f"is in the group `{self.group}`")
            hints.append(
                did_you_mean(self.group, groups) or (f"groups are {_some(groups)}" if groups else "it has none")
            )
        raise UsageError(f"no job of this run {' and '.join(told)}", hint="; ".join(hints), code="run/no-such-job")

    def selection(self, reader: LedgerReader) -> Selection:
        """The jobs of this choice. What it depends on must be planned. Raises UsageError when there are none."""
        self.refuse_nothing(reader)
        wide = self._wide
        if self.limit is None and self.sample is None:
            return wide
        numbers = reader.pending_numbers(wide)
        if self.sample is not None and self.sample < len(numbers):
            chosen = set(random.Random(self.seed).sample(numbers, self.sample))
            numbers = [number for number in numbers if number in chosen]
        return Selection(numbers=frozenset(numbers[: self.limit]))


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"`{one_line(name, 60)}`" for name in names[:3]) + (", ..." if len(names) > 3 else "")


class FeedSettings(NamedTuple):
    """What a feeder must know of the run."""

    paths: RunPaths
    name: str
    wall_offset: float
    capped_groups: tuple[str, ...]
    choice: Choice | None
    reuse: Mapping[str, Reuse]  # by task
    fresh: bool  # results of other runs do not count
    inline: bool  # every job runs in this process
    skipping: frozenset[str] = frozenset()  # tasks whose jobs are skipped when an input file cannot be read


class Digested(NamedTuple):
    """A helper's answer."""

    row: Row
    digests: tuple[str, ...]
    fresh: tuple[FileIdentity, ...]  # digests that the home did not know
    invalid: str
    skip: str = ""  # the kind, where that skips the job


class Feeder:
    """Answers Load and Prepare. One thread owns the connections; helpers only read files."""

    def __init__(
        self,
        settings: FeedSettings,
        post: Callable[[Event], None],
        loaded: Callable[[LedgerReader], None] = lambda reader: None,
    ) -> None:
        """`loaded` is told, in the feeder's thread, after each reading of jobs."""
        self._settings = settings
        self._post = post
        self._loaded = loaded
        self.error: Exception | None = None  # what ended the thread early
        self._selection: Selection | None = None  # made at the first load, when the plan is whole
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._helpers = ThreadPoolExecutor(HELPERS, "batchmill-digest")
        self._thread = threading.Thread(target=self._run, name="batchmill-feed", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def ask(self, loads: Sequence[Load], prepares: Sequence[Prepare]) -> None:
        """Queue what the scheduler wants read."""
        for item in (*loads, *prepares):
            self._work.put(item)

    def prepared(self) -> Mapping[str, Mapping[str, str]]:
        """The artifacts of `prepare` hooks: task -> name -> path."""
        with LedgerReader(self._settings.paths.ledger) as reader:
            found = reader.prepared()
        objects = self._settings.paths.objects
        return {t: {n: str(objects / d[:2] / d[2:]) for n, d in named.items()} for t, named in found.items()}

    def close(self) -> None:
        """End the threads."""
        self._work.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        self._helpers.shutdown(cancel_futures=True)

    def _run(self) -> None:
        try:
            self._answer_all()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop must not wait for answers for ever
            self.error = error
            why = str(error) if isinstance(error, UsageError) else f"the run cannot be read on: {error}"
            self._post(Broken(time.monotonic(), why))

    def _answer_all(self) -> None:
        settings = self._settings
        with LedgerReader(settings.paths.ledger) as reader, HomeIndex(settings.paths.home) as index:
            while (item := self._work.get()) is not None:
                if isinstance(item, Load):
                    self._post(self._load(reader, index, item))
                    self._loaded(reader)
                elif isinstance(item, Prepare):
                    self._digest(index, item.row)
                else:
                    self._post(self._keyed(reader, index, item))

    # --- rows

    def _load(self, reader: LedgerReader, index: HomeIndex, load: Load) -> Loaded:
        settings = self._settings
        now = time.monotonic()
        if self._selection is None and settings.choice is not None:
            self._selection = settings.choice.selection(reader)
        page = reader.load(
            load.stream, load.after, load.limit, now + settings.wall_offset, settings.capped_groups, self._selection
        )
        rows = self._with_sources(index, [self._adapted(row, now) for row in page.rows])
        due = None if page.next_due is None else page.next_due - settings.wall_offset
        return Loaded(time.monotonic(), load.stream, tuple(rows), page.exhausted, page.after, due)

    def _adapted(self, row: Row, now: float) -> Row:
        """Wall times become monotonic ones (a clock that was set back cannot make the first start lie ahead)."""
        if row.first_started is not None:
            row = row._replace(first_started=min(now, row.first_started - self._settings.wall_offset))
        return row._replace(mode=Mode.INLINE) if self._settings.inline else row

    def _with_sources(self, index: HomeIndex, rows: list[Row]) -> list[Row]:
        """Rows whose key has a result already, here or in another run, say where it is."""
        found = self._elsewhere(index, rows)
        return [self._with_source(row, found) for row in rows] if found or any(row.source for row in rows) else rows

    def _with_source(self, row: Row, found: Mapping[str, Source]) -> Row:
        never = self._reuse(row) == "never"
        source = None if never else row.source or found.get(str(row.key))
        return row if source == row.source else row._replace(source=source)

    def _elsewhere(self, index: HomeIndex, rows: list[Row]) -> dict[str, Source]:
        if self._settings.fresh:
            return {}
        by_scope: dict[Reuse, list[str]] = {}
        for row in rows:
            if row.key is not None and row.source is None and (scope := self._reuse(row)) != "never":
                by_scope.setdefault(scope, []).append(row.key)
        found: dict[str, Source] = {}
        for scope, keys in by_scope.items():
            found |= index.lookup(keys, self._settings.name if scope == "name" else None)
        return found

    def _reuse(self, row: Row) -> Reuse:
        return self._settings.reuse.get(row.task, "name")

    # --- input files

    def _digest(self, index: HomeIndex, row: Row) -> None:
        known = {item: index.digest_of(item) for item in row.inputs}

        def work() -> None:
            self._work.put(_digested(row, known, row.task in self._settings.skipping))

        self._helpers.submit(work)

    def _keyed(self, reader: LedgerReader, index: HomeIndex, item: Digested) -> Prepared:
        row = item.row
        if item.invalid:
            return Prepared(time.monotonic(), row.job, None, None, item.invalid, skip=item.skip)
        for one, digest in zip(row.inputs, item.digests, strict=True):
            if one in item.fresh:
                index.remember_digest(one, digest)
        key = job_key(row.task, row.version, row.params, item.digests)
        keyed = row._replace(key=key, source=reader.succeeded(key))
        (keyed,) = self._with_sources(index, [keyed])
        return Prepared(time.monotonic(), row.job, key, keyed.source, steps=reader.steps(key))


def _digested(row: Row, known: Mapping[FileIdentity, str | None], skips: bool) -> Digested:
    digests: list[str] = []
    fresh: list[FileIdentity] = []
    for planned in row.inputs:
        try:
            if planned.is_missing:
                if os.path.exists(planned.path):  # a folder, perhaps
                    return _invalid(row, planned, "is not a file", "unreadable")
                return _invalid(row, planned, "does not exist", "not_found")
            if identity(planned.path) != planned:
                return _invalid(row, planned, "changed since it was planned; run the same command again")
            digest = known[planned] or digest_file(planned.path)
            if not known[planned]:
                fresh.append(planned)
                if identity(planned.path) != planned:
                    return _invalid(row, planned, "changed while it was read")
        except OSError as error:
            kind = "not_found" if isinstance(error, FileNotFoundError) else "unreadable"
            return _invalid(row, planned, f"cannot be read: {os.strerror(error.errno or 0)}", kind if skips else "")
        digests.append(digest)
    return Digested(row, tuple(digests), tuple(fresh), "")


def _invalid(row: Row, planned: FileIdentity, what: str, skip: str = "") -> Digested:
    return Digested(row, (), (), f"input file `{planned.path}` {what}", skip)
