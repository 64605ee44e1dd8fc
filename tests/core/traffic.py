"""Calls of several runs to one service on a fake clock: real desks, a real lender, and services of many shapes."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from batchmill.core.calls import CallDesk, Granted
from batchmill.core.policy import Policy
from batchmill.model.commands import Borrow
from batchmill.model.events import CallAsked, LimitSeen
from batchmill.model.limits import Limits, QuotaLimit
from batchmill.testing import FakeClock, SimulatedLender

QUOTA = "service/model/key"


@dataclass
class Bucket:
    """A service that refuses what its token bucket does not hold, and says when it will, if it says anything."""

    rate: float  # a second
    capacity: float
    says: Callable[[float], float] = lambda wait: wait
    level: float = field(init=False)
    at: float = 0.0
    admitted: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.level = self.capacity

    def arrives(self, now: float) -> float | None:
        """None when it is admitted, else the seconds that the refusal asks to wait."""
        self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level >= 1.0:
            self.level -= 1.0
            self.admitted += 1
            return None
        self.refused += 1
        return self.says((1.0 - self.level) / self.rate)


class Run:
    """One run: `callers` jobs that call again and again until `calls` are answered in all."""

    def __init__(self, world: World, number: int, limits: Limits, callers: int, calls: int, cost: int) -> None:
        self.world, self.number, self.calls, self.cost = world, number, calls, cost
        self.desk = CallDesk(Policy((), limits, shared=world.lender is not None))
        self.limit: QuotaLimit | None = None
        self.answered = self.left = self.most_open = self.open = 0
        self.refused: list[CallAsked] = []
        self.left_at: list[float] = []
        self.alive = True
        self._tickets = 0
        self._woken = float("inf")
        for job in range(callers):
            self.ask(job)

    def ask(self, job: int) -> None:
        """A job wants to call."""
        self._tickets += 1
        self.desk.ask(CallAsked(0.0, 0, job, self._tickets, QUOTA, "", self.world.tokens, self.cost, self.limit))
        self.turn()

    def turn(self) -> None:
        """What the scheduler does in a step."""
        if not self.alive:
            return
        clock = self.world.clock
        granted, refused = self.desk.admit(clock.now)
        self.refused += refused
        for one in granted:
            clock.after(self.world.commit, partial(self._leaves, one))
        question = self.desk.borrow(clock.now)
        if question is not None and self.world.lender is not None:
            clock.after(self.world.chance.uniform(0.0005, 0.002), partial(self._lent, question))
        wakeup = self.desk.next_wakeup(clock.now)
        if clock.now < wakeup < self._woken:
            self._woken = wakeup
            clock.at(wakeup, self._wake)

    def _wake(self) -> None:
        self._woken = float("inf")
        self.turn()

    def _lent(self, question: Borrow) -> None:
        if self.alive and self.world.lender is not None:
            now = self.world.clock.now
            self.desk.lent(self.world.lender.answer(self.number, question, now), now)
            self.turn()

    def _leaves(self, granted: Granted) -> None:
        if self.alive:
            self.left += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            self.left_at.append(self.world.clock.now)
            self.world.serve(self, granted)

    def ends(self, granted: Granted, wait: float | None, cost: int | None = None) -> None:
        """The service answered, or refused and asked to `wait`."""
        self.open -= 1
        if not self.alive:
            return
        now, asked = self.world.clock.now, granted.asked
        if wait is not None:
            seen = LimitSeen(now, QUOTA, None, now + wait if wait else 0.0, asked.job, asked.ticket, refused=True)
            self.desk.limit_seen(seen, now)
        spent = asked.cost if cost is None else cost
        self.desk.settle(asked.job, asked.ticket, asked.tokens, spent, True, now, wait is not None)
        self.answered += wait is None
        if self.answered + len(self.desk._open) < self.calls:
            self.ask(asked.job)
        self.turn()


class World:
    """A clock, a service and the runs that call it. `serve` is set by the kind of service."""

    def __init__(self, *, shared: bool = False, seed: int = 1, latency: float = 0.05, tokens: int = 1) -> None:
        self.clock, self.chance = FakeClock(), Random(seed)
        self.lender = SimulatedLender() if shared else None
        self.latency, self.commit, self.tokens = latency, 0.003, tokens
        self.runs: list[Run] = []
        self.serve: Callable[[Run, Granted], None] = self._never
        self.started = self.clock.now

    def _never(self, run: Run, granted: Granted) -> None:
        raise AssertionError("no service was set")

    def run(self, limits: Limits, *, callers: int = 50, calls: int = 10**9, cost: int = 0) -> Run:
        """Start a run."""
        run = Run(self, len(self.runs), limits, callers, calls, cost)
        self.runs.append(run)
        run.turn()
        return run

    def limited_by(self, bucket: Bucket) -> None:
        """A service with a rate limit."""

        def serve(run: Run, granted: Granted) -> None:
            self.clock.after(self.latency / 2 + abs(self.chance.gauss(0, 0.002)), partial(arrives, run, granted))

        def arrives(run: Run, granted: Granted) -> None:
            self.clock.after(self.latency / 2, partial(run.ends, granted, bucket.arrives(self.clock.now)))

        self.serve = serve

    def until(self, done: Callable[[], bool], most: float = 10_000.0) -> float:
        """Let time pass; the seconds since the start."""
        while not done():
            if self.clock.next_time > self.started + most:
                raise AssertionError("nothing more will happen")
            self.clock.advance(self.clock.next_time)
        return self.clock.now - self.started

    def after(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.clock.advance(self.clock.now + seconds)


class Slots:
    """A service with so many slots and a queue: gamma-distributed service times of a coefficient of variation."""

    def __init__(self, world: World, slots: int, seconds: float = 1.0, spread: float = 0.0) -> None:
        self.world, self.seconds, self.spread = world, seconds, spread
        self.free = [0.0] * slots
        world.serve = self.serve

    def draw(self, mean: float) -> float:
        """One service time."""
        if self.spread == 0.0:
            return mean
        shape = self.spread**-2
        return self.world.chance.gammavariate(shape, mean / shape)

    def serve(self, run: Run, granted: Granted) -> None:
        """Answer when a slot was free for as long as it takes."""
        now = self.world.clock.now
        end = max(heapq.heappop(self.free), now) + self.draw(self.seconds)
        heapq.heappush(self.free, end)
        self.world.clock.at(end, partial(run.ends, granted, None))


class Degrading(Slots):
    """A service that every further request makes slower for all, by Gunther's universal scalability law: the best
    number in flight is `peak`."""

    def __init__(self, world: World, peak: int, spread: float = 0.0) -> None:
        super().__init__(world, 1, spread=spread)
        self.peak, self.inside = peak, 0

    def serve(self, run: Run, granted: Granted) -> None:
        """Answer after a time that grows with the number of those inside."""
        self.inside += 1
        n = self.inside
        mean = 1 + 0.05 * (n - 1) + 0.95 / self.peak**2 * n * (n - 1)
        self.world.clock.after(self.draw(mean), partial(self._done, run, granted))

    def _done(self, run: Run, granted: Granted) -> None:
        self.inside -= 1
        run.ends(granted, None)
