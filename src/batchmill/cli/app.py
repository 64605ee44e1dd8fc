"""Runs the command line: finds the command, parses, calls, and maps whatever happens to an exit code.

Errors become words in `failures`; the commands are one file each, listed in `COMMANDS`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer

from batchmill.cli import failures
from batchmill.errors import BatchmillError, UsageError

COMMANDS = (  # in the order in which a new user meets them
    "init",
    "check",
    "schema",
    "plan",
    "run",
    "ls",
    "show",
    "logs",
    "export",
    "resume",
    "retry",
    "cancel",
    "calls",
    "rm",
    "gc",
    "verify",
    "doctor",
)
INTERRUPTED, BROKEN_PIPE = 130, 141
_HELP = "Runs many similar, expensive jobs: described once, within limits, safe from any kill, never paid for twice."
_EPILOG = "\b\nExample:\n  batchmill init\n  batchmill run batchmill.yaml\n  batchmill show last"


def run(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code. Errors are told on stderr, never raised."""
    with suppress(AttributeError, ValueError):  # a stream that was replaced by one that encodes nothing
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _invoke(list(argv))
        sys.stdout.flush()
    except BrokenPipeError:
        return _quiet_pipe()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except BatchmillError as error:
        return failures.tell(error, argv)
    except Exception as error:  # noqa: BLE001 - the one place where what nobody expected becomes a message
        if _was_interrupted(error):
            sys.stderr.write("interrupted\n")
            return INTERRUPTED
        return failures.tell_unexpected(error, argv)
    return code


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether this is but a Ctrl-C: pydantic makes an error of its own of one that comes while it builds a model."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _invoke(argv: list[str]) -> int:
    command = typer.main.get_command(_app(_named(argv)))
    # not `command(...)`: it would print errors and exit by itself
    try:
        with command.make_context("batchmill", argv or ["--help"]) as context:
            code = command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return code if isinstance(code, int) else 0


def _named(argv: Sequence[str]) -> str | None:
    """The command that is called; None when all of them are to be listed. Raises UsageError for one there is not."""
    word = next(iter(argv), "--help")
    if word.startswith("-"):
        return None
    known = [*COMMANDS, *(name for name, _ in _plugins())]
    if word not in known:
        from batchmill.model.near import did_you_mean

        hint = did_you_mean(word, known) or "`batchmill --help` lists the commands"
        raise UsageError(f"there is no command `{word}`", hint=hint)
    return word


def _app(only: str | None) -> typer.Typer:
    """All commands, or only the one that is called: the others need not be imported."""
    app = typer.Typer(
        help=_HELP,
        epilog=_EPILOG,
        rich_markup_mode=None,
        add_completion=False,
        context_settings={"max_content_width": 110, "help_option_names": ["--help", "-h"]},
    )
    app.callback()(_batchmill)
    for name, function, example in _commands(only):
        app.command(name, epilog=f"\b\nExample:\n{example}" if example else None)(function)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from batchmill._version import __version__

        sys.stdout.write(f"batchmill {__version__}\n")
        raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="print the version and exit")
]


def _batchmill(version: _Version = False) -> None:
    """What stands before the command."""


def _commands(only: str | None) -> Iterator[tuple[str, Callable[..., Any], str]]:
    for name in COMMANDS:
        if only in (None, name):
            module = import_module(f"batchmill.cli.{name}")
            yield name, getattr(module, f"{name}_command"), module.EXAMPLE
    if only not in COMMANDS:
        for name, load in _plugins():
            if only == name or (only is None and name not in COMMANDS):
                function = load()
                yield name, function, getattr(function, "example", "")


def _plugins() -> list[tuple[str, Callable[[], Any]]]:
    from batchmill.plugins import command_plugins

    return command_plugins()


def _quiet_pipe() -> int:
    """The reader of our output has left: say nothing, also not when the interpreter flushes at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
