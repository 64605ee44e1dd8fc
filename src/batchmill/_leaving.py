"""How a process ends at once: to take the interpreter apart, module by module, takes longer than many a command."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import NoReturn

_ended: list[int] = []  # the code, once there is one


def prepare() -> None:
    """To be called first of all: what is registered first with `atexit` is called last, when all threads have ended."""
    _open_streams()
    atexit.register(_leave)


def _open_streams() -> None:
    """Where whoever started this process closed a standard stream, the next file that is opened would get its number,
    and whoever prints would write into that file."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: in this order, the stream's own
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good


def end(code: int) -> NoReturn:
    """End with an exit code, after everything else that waits for the end."""
    _ended.append(code)
    sys.exit(code)


def _leave() -> None:
    with contextlib.suppress(OSError, ValueError):  # where that fails, the interpreter tells it in its own way
        sys.stdout.flush()
        sys.stderr.flush()
        if _ended:
            os._exit(_ended[-1])
