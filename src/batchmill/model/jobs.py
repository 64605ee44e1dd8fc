"""A job as a user describes it, as the plan fixes it, and as the scheduler holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from batchmill.model.limits import Retry
from batchmill.model.states import Mode


@dataclass(frozen=True, slots=True)
class Job:
    """One unit of work as a user describes it: a task's parameters, and what this job does differently."""

    params: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    task: str | None = None
    timeout: float | None = None
    memory: int | None = None
    retry: Retry | None = None
    priority: int = 0
    group: str | None = None


class FileIdentity(NamedTuple):
    """What tells at planning, without reading it, that an input file is still the same."""

    path: str  # absolute
    size: int
    mtime_ns: int
    inode: int

    @property
    def is_missing(self) -> bool:
        """Whether there was no such file at planning, for a task that skips what it cannot read."""
        return self.size < 0


def missing(path: str) -> FileIdentity:
    """The identity of a file that is not there."""
    return FileIdentity(path, -1, 0, 0)


class PlannedJob(NamedTuple):
    """One job of a plan. `key` is None until its input files are digested (just before its start)."""

    number: int  # the plan number, from 1: it is the job
    name: str
    generated: bool  # a generated name that is taken already gets `~2`
    task: str
    mode: Mode
    version: str
    params: str  # canonical JSON
    key: str | None
    inputs: tuple[FileIdentity, ...] = ()
    group: str | None = None
    lane: int = 0  # the group's ordinal under `order: group`, else 0
    priority: int = 0
    timeout: float | None = None
    memory: int | None = None
    retry: Retry | None = None
    invalid: str | None = None  # why this job cannot run at all: planned and recorded as failed


class Source(NamedTuple):
    """The run and job that a cached result comes from (`run` is empty for this run itself)."""

    run: str
    job: int


class SavedStep(NamedTuple):
    """A finished step of a job: its name, the digest of its arguments, and its value as JSON."""

    name: str
    arguments: str
    value: bytes


class Row(NamedTuple):
    """A pending job as the scheduler holds it in its window."""

    job: int
    name: str
    task: str
    mode: Mode
    version: str
    params: str
    key: str | None
    inputs: tuple[FileIdentity, ...] = ()
    group: str | None = None
    lane: int = 0
    priority: int = 0
    timeout: float | None = None
    memory: int | None = None
    retry: Retry | None = None
    attempts: int = 0  # charged attempts since the last fresh start, and all attempts ever:
    total_attempts: int = 0
    deaths: int = 0
    first_started: float | None = None  # of this retry round: wall time in the ledger, monotonic in the scheduler
    steps: tuple[SavedStep, ...] = ()
    source: Source | None = None  # a result that already exists for this key
