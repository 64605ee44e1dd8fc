"""Which attempts go wrong, and how: drawn from a seed, the same for a job whatever happens around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from batchmill.model.jobs import Row
from batchmill.model.outcomes import Outcome
from batchmill.model.states import FailureKind, Mode
from batchmill.testing.scripts import SUCCESS, Action, Call, Crash, Hang, Offload, Script, Step, Work, failure, skipped

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class FaultPlan:
    """What every attempt does. Shares are probabilities per attempt (or per commit), from 0 to 1.

    `scripts` sets what a job does, in the order of its attempts; the last one holds for all that follow. What is
    not set there is drawn from `seed`, the job's number and the attempt's number.
    """

    seed: int = 0
    seconds: tuple[float, float] = (0.001, 2.0)  # of work, shortest and longest; spread evenly over the magnitudes
    raises: float = 0.0
    retry_later: float = 0.0
    permanent: float = 0.0
    skips: float = 0.0
    invalid: float = 0.0
    crashes: float = 0.0
    hangs: float = 0.0
    hogs: float = 0.0  # take `hog` bytes of memory
    hog: int = 1000 * MEGABYTE
    memory: tuple[int, int] = (10 * MEGABYTE, 50 * MEGABYTE)
    steps: float = 0.0  # have up to three steps
    calls: float = 0.0  # make up to three calls
    call: Call = field(default_factory=lambda: Call("service", most=1000, cost=400, tokens=100, seconds=0.2))
    offloads: float = 0.0
    hooks_fail: float = 0.0
    commits_fail: float = 0.0
    lender_fails: float = 0.0  # for good, at a question to it
    scripts: Mapping[int, tuple[Script, ...]] = field(default_factory=dict)

    def script(self, row: Row, attempt: int) -> Script:
        """What this attempt does."""
        fixed = self.scripts.get(row.job)
        if fixed:
            return fixed[min(attempt, len(fixed)) - 1]
        chance = Random(f"{self.seed}:{row.job}:{attempt}")
        end = self._end(row, chance)
        memory = self.hog if chance.random() < self.hogs else chance.randint(*self.memory)
        return Script(self._actions(row, chance), end, memory)

    def hook(self, hook: str, task: str) -> Script:
        """What a hook of a task does."""
        chance = Random(f"{self.seed}:{hook}:{task}")
        end = failure("KeyError") if chance.random() < self.hooks_fail else SUCCESS
        return Script((Work(self._seconds(chance)),), end)

    def commit_fails(self, number: int) -> int:
        """How many times the commit of a transaction fails before it works."""
        chance = Random(f"{self.seed}:commit:{number}")
        return chance.randint(1, 3) if chance.random() < self.commits_fail else 0

    def _seconds(self, chance: Random) -> float:
        shortest, longest = self.seconds
        return float(shortest * (longest / shortest) ** chance.random())

    def _end(self, row: Row, chance: Random) -> Outcome | Crash | Hang:
        ends = (
            (self.raises, failure(chance.choice(("ValueError", "ConnectionError")))),
            (self.retry_later, failure("RetryLater", retry_after=chance.random() * 5)),
            (self.permanent, failure("Permanent", permanent=True)),
            (self.skips, skipped()),
            (self.invalid, failure("ValidationError", kind=FailureKind.INVALID)),
            (self.crashes, Crash(known=chance.random() < 0.5)),
            (self.hangs, Hang(stubborn=chance.random() < 0.5)),
        )
        drawn = chance.random()
        for share, end in ends:
            drawn -= share
            if drawn < 0:
                # inline, a crash or a hang would be the driver's own
                return failure() if row.mode is Mode.INLINE and isinstance(end, Crash | Hang) else end
        return SUCCESS

    def _actions(self, row: Row, chance: Random) -> tuple[Action, ...]:
        seconds = self._seconds(chance)
        kinds: list[Action] = []
        if chance.random() < self.steps:
            kinds += [Step(f"step {n}", seconds / 4) for n in range(chance.randint(1, 3))]
        if chance.random() < self.calls:
            kinds += [self.call] * chance.randint(1, 3)
        if row.mode is Mode.ASYNC and chance.random() < self.offloads:
            kinds.append(Offload(seconds / 2, crashes=chance.random() < self.crashes))
        return (Work(seconds / 2), *kinds, Work(seconds / 2))
