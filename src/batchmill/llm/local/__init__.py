"""Models that run on this machine without a service: their weights, the chat server, the embedder.

`weights` fetches and finds files, `server` and `child` run the chat server, `provider` and `transport` bring requests
to it, `embedder` and `wordpieces` make vectors, `command` is `batchmill models`.
"""

from __future__ import annotations

import os


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
