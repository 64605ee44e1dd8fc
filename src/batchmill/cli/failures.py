"""Errors as people and programs read them, on stderr, and the exit code that each one means."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from batchmill.cli.output import wants_colour
from batchmill.errors import BatchmillError, HomeError, InternalError, ManifestError, UsageError
from batchmill.model.text import clean, one_line

SCHEMA_VERSION = 1
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})  # none of them is our mistake


def tell(error: BatchmillError, argv: Sequence[str]) -> int:
    """Write the error as the invocation wants it, JSON or words; returns its exit code."""
    sys.stderr.write((_as_json(error) if _wants_json(argv) else _as_words(error)) + "\n")
    return error.exit_code


def tell_unexpected(error: Exception, argv: Sequence[str]) -> int:
    """Tell an error that nobody mapped: one of the parser's or of the disk, or a defect, whose traceback goes to a
    file."""
    return tell(_usage(error) or _of_the_disk(error) or _defect(error), argv)


def _wants_json(argv: Sequence[str]) -> bool:
    """Asked of the words themselves: the error may be that they do not parse."""
    return "--output=json" in argv or ("--output", "json") in pairwise(argv)


def _as_json(error: BatchmillError) -> str:
    import dataclasses

    from batchmill.report.encode import json_text

    problems = [dataclasses.asdict(problem) for problem in getattr(error, "problems", ())]
    told = {"code": error.code, "message": error.message, "hint": error.hint, "problems": problems}
    return json_text({"schema_version": SCHEMA_VERSION, "error": told})


def _as_words(error: BatchmillError) -> str:
    if isinstance(error, ManifestError):
        from batchmill.manifest.messages import render

        return render(error, colour=wants_colour(sys.stderr))
    text = f"error[{error.code}]: {clean(error.message)}"
    return f"{text}\n\nhint: {clean(error.hint)}" if error.hint else text


# --- what the parser of the command line says ------------------------------------------------------------------------


def _usage(error: Exception) -> UsageError | None:
    """A parser's error in our own words. Its classes moved between versions of typer, their shape did not."""
    if not hasattr(error, "format_message"):
        return None
    command = getattr(getattr(error, "ctx", None), "command_path", "batchmill")
    option = getattr(error, "option_name", None)
    if option is not None and "no such option" in str(error).lower():
        return UsageError(f"`{command}` has no option `{one_line(option, 60)}`", hint=_near_option(error, option))
    words = _in_our_words(one_line(error.format_message(), 300))
    return UsageError(f"{words}", hint=f"`{command} --help` shows what it takes")


def _in_our_words(message: str) -> str:
    """`Invalid value for '--workers': 'x' is not a valid int.` -> ``invalid value for `--workers`: `x` is not ...``."""
    quoted = re.sub(r"'([^']*)'", r"`\1`", message.rstrip(".").replace("Value error, ", ""))
    return quoted[:1].lower() + quoted[1:]


def _near_option(error: Exception, option: str) -> str:
    from batchmill.model.near import did_you_mean

    context: Any = getattr(error, "ctx", None)
    names = [name for parameter in context.command.params for name in parameter.opts] if context else []
    otherwise = f"`{context.command_path if context else 'batchmill'} --help` lists its options"
    return did_you_mean(option, [name for name in names if name.startswith("--")]) or otherwise


# --- what the disk says ----------------------------------------------------------------------------------------------


def _of_the_disk(error: Exception) -> HomeError | None:
    if not isinstance(error, OSError) or error.errno not in _DISK:
        return None
    where = f"`{error.filename}`" if error.filename else "stdout or a temporary file"
    return HomeError(f"{where} cannot be written: {(error.strerror or '').lower()}", code="disk/unwritable")


# --- what nobody expected --------------------------------------------------------------------------------------------


def _defect(error: Exception) -> InternalError:
    message = f"{type(error).__name__}: {one_line(str(error), 300)}"
    written = _write_traceback(error)
    hint = f"the traceback is in `{written}`; please report it" if written else "please report it"
    return InternalError(f"batchmill failed: {message}", hint=hint)


def _write_traceback(error: Exception) -> str:
    """The name of the new file in the temporary folder; empty when none can be written."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="batchmill-error-", suffix=".txt", delete=False) as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return ""
    return file.name
