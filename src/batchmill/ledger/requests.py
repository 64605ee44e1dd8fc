"""Requests to the live driver of a run: small files renamed into `requests/`, taken in the order in which they came."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from batchmill.errors import LedgerError
from batchmill.ledger.paths import RunPaths

What = Literal["drain", "stop", "cancel", "retry"]
_counter = itertools.count()


class Request(NamedTuple):
    """What is asked, of one job or (with 0) of the run."""

    what: What
    job: int = 0


def send_request(paths: RunPaths, what: What, job: int = 0) -> Path:
    """Leave a request; the driver finds it at its next look and takes it away. Returns its file.

    Raises LedgerError when it cannot be written.
    """
    name = f"{time.time_ns():020}-{os.getpid()}-{next(_counter)}.json"
    try:
        beside = paths.requests / f".{name}"
        beside.write_text(json.dumps({"what": what, "job": job}))
        return beside.rename(paths.requests / name)
    except OSError as error:
        raise LedgerError(f"run `{paths.id}` cannot be asked to {what}: {error.strerror}") from error


def take_requests(paths: RunPaths) -> list[Request]:
    """All requests that came, each once, oldest first. A file that is none is removed."""
    taken = []
    for file in sorted(paths.requests.glob("[0-9]*.json")):
        try:
            text = file.read_bytes()
            file.unlink()
        except OSError:  # gone: somebody else took it
            continue
        request = _read(text)
        if request is not None:
            taken.append(request)
    return taken


def clear_requests(paths: RunPaths) -> None:
    """Forget requests to a driver that is no more."""
    take_requests(paths)


def _read(text: bytes) -> Request | None:
    try:
        told = json.loads(text)
        request = Request(told["what"], int(told["job"]))
    except (ValueError, KeyError, TypeError):
        return None
    return request if request.what in get_args(What) else None
