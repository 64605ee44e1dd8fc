"""What a display is told: one frozen snapshot of a live run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class RunInfoLite(NamedTuple):
    """What a display knows of a run before anything happens."""

    id: str
    task: str
    workers: int  # attempts that may run at one time
    continued: bool = False  # an earlier invocation left it unfinished


class Running(NamedTuple):
    """An attempt that runs: where, for how many seconds, its own progress, and its worker's memory in bytes."""

    slot: int
    job: str
    attempt: int
    seconds: float
    done: float | None = None
    total: float | None = None
    stage: str = ""
    rss: int = 0


class Finished(NamedTuple):
    """The job that ended last: its state (or `cached`) and the first words of its result or message."""

    job: str
    state: str
    words: str


class Failed(NamedTuple):
    """A job that failed for good. `number` counts the failures that this display was told of, from 1."""

    number: int
    job: str
    kind: str
    message: str


class GroupFacts(NamedTuple):
    """Jobs of one group: ended, planned so far (0 when unknown), failed."""

    done: int
    total: int
    failed: int


class RequestFacts(NamedTuple):
    """Metered requests of this invocation: answered, spared by a reply at hand, and the tokens of the answers."""

    answered: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """A live run at one moment. Times are seconds, sizes bytes, money micro-cents.

    `counts` are jobs by state, with `cached` (of the succeeded ones) and `retried` (jobs tried more than
    once). `running` are the attempts that run longest, out of `running_total`. `eta` is None while nobody can know.
    `failures` are the latest, oldest first.
    """

    elapsed: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    total: int = 0
    planning_done: bool = True
    running: tuple[Running, ...] = ()
    running_total: int = 0
    queued: tuple[str, ...] = ()
    last: Finished | None = None
    failures: tuple[Failed, ...] = ()
    groups: Mapping[str, GroupFacts] = field(default_factory=dict)
    memory: int = 0
    jobs_per_hour: float | None = None
    eta: float | None = None
    typical: float | None = None  # median seconds of an attempt
    spent: int = 0
    requests: RequestFacts = field(default_factory=RequestFacts)
    waiting: tuple[str, ...] = ()
    stopping: str = ""  # why the run is draining or stopping

    @property
    def tokens_per_second(self) -> float:
        """Tokens in and out, over the whole invocation."""
        tokens = self.requests.tokens_in + self.requests.tokens_out
        return tokens / self.elapsed if self.elapsed else 0.0

    @property
    def done(self) -> int:
        """Jobs that ended, in whatever state."""
        return sum(self.counts.get(state, 0) for state in ("succeeded", "failed", "skipped", "cancelled"))
