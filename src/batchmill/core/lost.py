"""Calls whose end nobody saw: whoever finds out what came of one, in a later attempt of its job, settles it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class LostCall(NamedTuple):
    """A call that may be billed, at its most `cost` in micro-cents; `call` is its number in the run."""

    call: int
    job: int
    quota: str
    key: str
    cost: int


class LostCalls:
    """All of them, by what they were for."""

    def __init__(self, calls: Iterable[LostCall] = ()) -> None:
        self._calls: dict[tuple[int, str, str], list[LostCall]] = {}
        for call in calls:
            self.add(call)

    def add(self, call: LostCall) -> None:
        """One more."""
        self._calls.setdefault((call.job, call.quota, call.key), []).append(call)

    def take(self, job: int, quota: str, key: str) -> LostCall | None:
        """The last one of a job for a key, which is lost no longer; None: there is none."""
        calls = self._calls.get((job, quota, key))
        if calls is None:
            return None
        call = calls.pop()
        if not calls:
            del self._calls[job, quota, key]
        return call
