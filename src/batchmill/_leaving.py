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
    atexit.register(_leave)


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
