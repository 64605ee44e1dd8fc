"""The states and failure kinds of jobs and runs, spelled as they are stored and shown."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands. `running` is not a state: it is read from the worker slots."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class FailureKind(StrEnum):
    """Why an attempt failed."""

    ERROR = "error"  # the task raised
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"  # a signal or an exit code ended the worker
    INVALID = "invalid"  # bad input or bad output
    LIMIT = "limit"  # a cap of that job


class RunState(StrEnum):
    """Where a run stands."""

    PLANNING = "planning"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # by policy: budget, deadline, max failures, a selection
    INTERRUPTED = "interrupted"  # by a signal, or its driver died
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


UNPREPARED = "`prepare` of task"  # begins the reason of a run that stopped because a `prepare` failed


class Mode(StrEnum):
    """Where the attempts of a task run."""

    PROCESS = "process"
    ASYNC = "async"
    INLINE = "inline"
