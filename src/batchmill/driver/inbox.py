"""Where everything arrives that the scheduler must know: worker sockets, other threads, signals, requests, time."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from batchmill.executors.base import Executor
from batchmill.model.events import Event, Tick

MOST_EVENTS = 256  # taken from the workers in one turn
LONGEST_WAIT = 1.0  # seconds: the clock is looked at even when nothing happens
REQUEST_INTERVAL = 0.5  # seconds between two looks into the requests folder


class Inbox:
    """One waiting place. `post` may be called from any thread and from signal handlers."""

    def __init__(self, executor: Executor, take_requests: Callable[[float], list[Event]]) -> None:
        self._executor = executor
        self._take_requests = take_requests
        self._requests_at = 0.0
        self._turn_at = 0.0
        self._posted: deque[Event] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._posts_only = select.poll()
        self._posts_only.register(self._wake, select.POLLIN)
        self._all = select.poll()
        self._all.register(self._wake, select.POLLIN)
        self._all.register(executor.fileno(), select.POLLIN)

    def post(self, event: Event) -> None:
        """Hand over an event, and wake the loop."""
        self._posted.append(event)
        os.eventfd_write(self._wake, 1)

    def wait(self, until: float, *, hold: bool, gather: float = 0.0) -> list[Event]:
        """What happened, at the latest at `until`. `hold` leaves results in the workers' sockets unread: the
        disk is behind, and what is not read need not be kept in memory. A turn begins no sooner than `gather`
        seconds after the one before: what comes meanwhile shares it, and its commit."""
        timeout = min(max(until - time.monotonic(), 0.0), LONGEST_WAIT)
        waiter = self._posts_only if hold else self._all
        if not self._posted:
            waiter.poll(timeout * 1000)
        early = self._turn_at + gather - time.monotonic()
        if early > 0:
            time.sleep(early)
        self._turn_at = time.monotonic()
        return self._collect(hold)

    def _collect(self, hold: bool) -> list[Event]:
        now = time.monotonic()
        events: list[Event] = []
        if not hold:  # first: signals that come while an inline attempt runs must be known when it ends
            events += self._executor.receive(now, MOST_EVENTS)
        with suppress(BlockingIOError):  # nobody posted
            os.eventfd_read(self._wake)
        while self._posted:
            events.append(self._posted.popleft())
        if now >= self._requests_at:
            self._requests_at = now + REQUEST_INTERVAL
            events += self._take_requests(now)
        events.append(Tick(now))
        return events

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self._wake)
