"""Which display fits where the output goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TextIO

from batchmill.live.base import Display
from batchmill.live.lines import Lines
from batchmill.live.notebook import Notebook
from batchmill.live.quiet import Quiet
from batchmill.live.terminal import Terminal


def choose(output: str, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Display:
    """The display for `output` (`human`, `json` or `quiet`) on a stream, which should be stderr.

    `human` is a live block on a terminal and a cell in a notebook; plain lines elsewhere, in CI, with `NO_COLOR`,
    on a dumb terminal, and for `json`, whose data own stdout.
    """
    if output == "quiet":
        return Quiet()
    if output != "json" and _in_notebook():
        return Notebook()
    if output != "json" and stream.isatty() and not _wants_plain(environ):
        return Terminal(stream)
    return Lines(stream)


def _wants_plain(environ: Mapping[str, str]) -> bool:
    in_ci = environ.get("CI", "").lower() not in ("", "0", "false")
    return in_ci or bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"


def _in_notebook() -> bool:
    # IPython puts itself into sys.modules; asking it is the only way to know the kind of its front end.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
