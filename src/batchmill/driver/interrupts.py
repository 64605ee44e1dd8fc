"""Signals as events: the first asks for a drain, the second for a stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from batchmill.model.events import Asked, Event

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def as_events(post: Callable[[Event], None], interrupt: Callable[[], None]) -> Iterator[list[int]]:
    """While inside, SIGINT, SIGTERM and SIGHUP arrive through `post`; yields the list of those received.

    From the second on, `interrupt` is called too: it may raise KeyboardInterrupt in what runs in this thread.
    Python allows all this in the main thread alone; in any other the signals stay as they are.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        post(Asked(time.monotonic(), "drain", 0, number))
        if len(received) > 1:
            interrupt()

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
