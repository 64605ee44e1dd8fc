"""What one attempt came to, as the worker (or, for a death, the executor) tells it."""

from __future__ import annotations

from typing import NamedTuple

from batchmill.model.states import JobState


class Blob(NamedTuple):
    """A file of immutable content: its digest (hex SHA-256), its size, and where it waits to be adopted.

    `waiting` is a file name under the run's `tmp/` (empty once it lies in `objects/`).
    """

    digest: str
    size: int
    waiting: str = ""


class Artifact(NamedTuple):
    """A file that a job made, under the name it gave."""

    name: str
    blob: Blob


class LogSlice(NamedTuple):
    """Where an attempt's captured output stands: a file under the run's `logs/`, and the bytes in it."""

    file: str
    start: int
    end: int


class Usage(NamedTuple):
    """When an attempt ran and what it took. Monotonic seconds, CPU seconds, bytes."""

    started: float
    ended: float
    cpu: float = 0.0
    peak_rss: int = 0


class Outcome(NamedTuple):
    """The end of one attempt. Exactly one of `result` and `result_blob` is set when it succeeded."""

    state: JobState  # SUCCEEDED, FAILED, SKIPPED or CANCELLED
    usage: Usage
    kind: str | None = None  # of a failure, a FailureKind; of a skip, the task's own word
    message: str = ""
    exceptions: tuple[str, ...] = ()  # class names, from the raised class to its bases
    traceback: str = ""
    retry_after: float | None = None  # RetryLater
    permanent: bool = False
    result: bytes | None = None  # JSON
    result_blob: Blob | None = None  # JSON that is over 64 KB
    metrics: bytes | None = None  # JSON object of flat columns
    artifacts: tuple[Artifact, ...] = ()
    log: LogSlice | None = None
    signal: int | None = None
    exit_code: int | None = None
    resting_rss: int = 0  # of the worker after the attempt, bytes
