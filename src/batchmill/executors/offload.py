"""Functions on their way from an async job to a process worker, and their values on the way back.

The bytes go over sockets between the driver and its own children only, and the driver never opens them.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from batchmill.errors import JobFailed


def pack_function(fn: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """A function and its arguments; lambdas, closures and functions of notebooks too."""
    import cloudpickle

    return bytes(cloudpickle.dumps((fn, args)))


def run_packed(payload: bytes) -> bytes:
    """Call the packed function; its value, or the exception that it raised, packed. Raises what kills an attempt."""
    import cloudpickle

    fn, args = pickle.loads(payload)
    try:
        return bytes(cloudpickle.dumps((True, fn(*args))))
    except Exception as error:  # noqa: BLE001 - it is raised again in the job that asked
        return bytes(cloudpickle.dumps((False, error)))


def unpack_value(value: bytes | None, refused: str) -> Any:
    """The value of an offloaded function. Raises its exception, or JobFailed when its process came to an end."""
    if value is None:
        raise JobFailed(refused or "the offloaded function was not run", kind="crashed")
    succeeded, content = pickle.loads(value)
    if succeeded:
        return content
    raise content
