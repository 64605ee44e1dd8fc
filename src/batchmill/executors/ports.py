"""What a job's Context needs of the executor it runs in: say something, or ask and wait for the answer."""

from __future__ import annotations

import itertools
from typing import Protocol

from batchmill.model.commands import Ack
from batchmill.model.events import CallAsked, Event, LullAsked, OffloadAsked, StepDone

Question = StepDone | CallAsked | OffloadAsked | LullAsked


class Port(Protocol):
    """One end of the line between a job and the driver."""

    slot: int
    tickets: itertools.count[int]  # no number comes twice from one slot, also after its worker was replaced
    may_wait: bool  # False where waiting would stop other jobs: only `ask_later` is allowed there
    offloads: bool  # whether the driver runs functions in other processes for this port

    def tell(self, event: Event) -> None:
        """Send an event; waits while the driver is slow to read."""

    def hint(self, event: Event) -> None:
        """Send an event that may be lost."""

    def ask(self, question: Question) -> Ack:
        """Send a question and wait for its answer."""

    async def ask_later(self, question: Question) -> Ack:
        """The same, for coroutines."""

    def log(self, job: int, text: str) -> None:
        """Add a line to the job's captured output."""
