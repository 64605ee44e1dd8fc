"""The jobs of one document: explicit jobs, then the rows of its table, then its files times its matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from batchmill.errors import Problem
from batchmill.manifest.document import Document
from batchmill.model.jobs import PlannedJob
from batchmill.model.limits import Backoff, Retry
from batchmill.model.manifest import JobSection, RetrySection
from batchmill.model.tasks import Task
from batchmill.plan import keys
from batchmill.plan.binding import Ready, Unfit, best_effort
from batchmill.plan.checker import Checker
from batchmill.plan.expand import Draft
from batchmill.plan.listed import ExplicitJobs, Rows
from batchmill.plan.product import Combinations


class Source(Protocol):
    """One of the sources of jobs."""

    @property
    def ranked(self) -> bool:
        """Whether jobs may have priorities of their own."""

    def count(self) -> int | None:
        """How many jobs; None while only making them would tell."""

    def drafts(self, start: int = 0) -> Iterator[Draft]:
        """The jobs from the `start`-th (from 0) on."""

    def digest_parts(self) -> dict[str, str]:
        """Digests of all that decides them."""


class Part:
    """One document's jobs. Making it checks what can be checked, and appends what is wrong to `problems`."""

    def __init__(self, document: Document, tasks: Callable[[str], Task], now: float, problems: list[Problem]) -> None:
        self.checker = checker = Checker(document, tasks, problems)
        manifest = self.manifest = checker.manifest
        self.sources: list[Source] = [ExplicitJobs(checker)]
        if manifest.table is not None:
            self.sources.append(Rows(checker, manifest.table))
        if manifest.matrix is not None or manifest.files is not None:
            combinations = Combinations(checker, now)
            if not problems and combinations.is_empty and not any(source.count() for source in self.sources):
                hint = "look at `pattern`, `exclude` and the sizes; `recursive: true` searches folders below, too"
                checker.problem(("files",), "no file fits", hint, "plan/no-files")
            self.sources.append(combinations)

    def digest_parts(self) -> dict[str, str]:
        """Digests of everything that decides which jobs there are, and their parameters and inputs."""
        manifest = self.manifest
        found = {
            "task": keys.digest([manifest.task, sorted(self.checker.versions)]),
            "filled in": self.checker.filled_in.hexdigest(),
            "defaults": keys.digest(manifest.defaults),
            "order": keys.digest([manifest.order, manifest.seed]),
        }
        for source in self.sources:
            found |= source.digest_parts()
        return found

    def planned(self, draft: Draft, number: int, lane: int) -> PlannedJob:
        """The job of a draft. Parameters that do not fit make it invalid."""
        own = draft.options
        binder = self.checker.find((own.task if own is not None else None) or self.manifest.task or "")
        ready, invalid = draft.ready, draft.invalid
        if ready is None and invalid is None:
            try:
                ready = binder.ready(draft.params, draft.file)
            except Unfit as unfit:
                invalid = str(unfit)
        task = binder.task
        if ready is None:
            inputs = (draft.file,) if draft.file is not None else ()
            ready = Ready(best_effort(draft.params), task.version, inputs, None)
        params, version, inputs, key, usual = ready
        priority, timeout, memory, retry = (0, None, None, None) if own is None else self._options(own)
        if timeout is None and self.manifest.limits.timeout is None:
            timeout = usual
        return PlannedJob(
            number, draft.name, draft.generated, task.name, task.mode, version, params, key, inputs,
            draft.group, lane, priority, timeout, memory, retry, invalid,
        )  # fmt: skip

    def _options(self, own: JobSection) -> tuple[int, float | None, int | None, Retry | None]:
        retry = None if own.retry is None else merged_retry(self.manifest.retry, own.retry)
        return own.priority, own.timeout, own.memory, retry


def merged_retry(base: RetrySection, own: RetrySection) -> Retry:
    """The retry policy of a job: what it says itself, over what the manifest says."""
    back_off = {**base.backoff.model_dump(), **own.backoff.model_dump(exclude_unset=True)}
    whole = {**base.model_dump(), **own.model_dump(exclude_unset=True)}
    on = whole["on"]
    return Retry(whole["attempts"], None if on is None else tuple(on), Backoff(**back_off), whole["max_elapsed"])
