"""What an exception of a task means: the failed or skipped outcome that it becomes.

Whether it was the engine that cancelled a job is known to the scheduler alone.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from batchmill.errors import BatchmillError, ManifestError, Permanent, RetryLater, Skip
from batchmill.executors.runner import InvalidJob
from batchmill.model.outcomes import Outcome, Usage
from batchmill.model.states import FailureKind, JobState

_CAP = 10 * 1024  # characters of a message, and of a traceback
_ENGINE = str(Path(__file__).parent)


def outcome_of(error: BaseException, usage: Usage) -> Outcome:
    """The outcome of an attempt that ended with this exception, also with one that ends programs."""
    if isinstance(error, Skip):
        return Outcome(JobState.SKIPPED, usage, kind=clean(error.kind) or None, message=_message(error))
    return Outcome(
        JobState.FAILED,
        usage,
        kind=_kind(error),
        message=_named(error),
        exceptions=tuple(c.__name__ for c in type(error).__mro__ if c is not object),
        traceback="" if isinstance(error, InvalidJob) else clean(_traceback(error)),
        retry_after=error.after if isinstance(error, RetryLater) else None,
        permanent=isinstance(error, Permanent),
    )


def _kind(error: BaseException) -> FailureKind:
    if isinstance(error, MemoryError):
        return FailureKind.MEMORY
    if isinstance(error, InvalidJob | ManifestError) or (isinstance(error, Permanent) and error.invalid):
        return FailureKind.INVALID
    return FailureKind.ERROR


def _named(error: BaseException) -> str:
    """The message with the exception's class, as Python shows it; our own and the plain ones speak for themselves."""
    message, name = _message(error), type(error).__name__
    plain = isinstance(error, BatchmillError | InvalidJob | RetryLater | Permanent | SystemExit | MemoryError)
    return message if plain or message.startswith(name) else f"{name}: {message}"


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the task called `exit({error.code!r})`"
    try:
        text = str(error)
        if isinstance(error, BatchmillError) and error.hint:
            text += f"; hint: {error.hint}"
    except Exception as broken:  # noqa: BLE001 - the user's own __str__ may raise anything; the name still tells
        text = f"{type(error).__name__} (its text raised {type(broken).__name__})"
    if not text and isinstance(error, MemoryError):
        text = "out of memory"
    return clean(text or type(error).__name__)


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, _own_frames(error.__traceback__)))
    except Exception as broken:  # noqa: BLE001 - formatting runs the user's __str__ and __repr__
        return f"the traceback cannot be shown: {type(broken).__name__}"


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the engine's frames above the task."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_ENGINE):
        trace = trace.tb_next
    return trace


def clean(text: str) -> str:
    """Text that can be stored: no lone surrogates, and long ones lose their middle."""
    if len(text) > _CAP:
        text = f"{text[: _CAP // 4]}\n[... {len(text) - _CAP} characters left out ...]\n{text[-3 * _CAP // 4 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
