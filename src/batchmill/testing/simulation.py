"""A whole run on a fake clock: the real scheduler, simulated workers, disk and reader, and kills of the driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import NamedTuple

from batchmill.core.policy import Place, Policy
from batchmill.core.scheduler import Scheduler
from batchmill.errors import InternalError
from batchmill.model import events as ev
from batchmill.model.commands import Borrow
from batchmill.model.events import Lent
from batchmill.model.jobs import Row, Source
from batchmill.model.states import JobState, Mode, RunState
from batchmill.testing.clock import INFINITY, FakeClock
from batchmill.testing.executor import SimulatedExecutor
from batchmill.testing.faults import FaultPlan
from batchmill.testing.ledger import SimulatedFeed, SimulatedJournal, SimulatedLedger
from batchmill.testing.lender import SimulatedLender
from batchmill.testing.lines import line

MOST_STEPS = 200_000  # of the scheduler, in one invocation
PATIENCE = 1_000_000.0  # simulated seconds that a run may take
REST = 1.0  # seconds between a kill and the next invocation


class Killed(NamedTuple):
    """The driver was killed: what was not committed is lost, and its workers are gone."""

    at: float


class Opened(NamedTuple):
    """A new invocation of the run began."""

    at: float


class Submitted(NamedTuple):
    """The facts that follow were handed to the journal, as this batch."""

    at: float
    batch: int


def workers(count: int, *, mode: Mode = Mode.PROCESS, concurrency: int = 1) -> tuple[Place, ...]:
    """Slots of one mode, numbered from 0."""
    return tuple(Place(slot, mode, concurrency) for slot in range(count))


def rows(count: int, **fields: object) -> list[Row]:
    """Jobs 1 to `count`, each with a key of its own; `fields` are set in all of them."""
    base = Row(0, "", "task", Mode.PROCESS, "1", "{}", None)._replace(**fields)  # type: ignore[arg-type]
    return [base._replace(job=n, name=f"job-{n}", key=f"key-{n}") for n in range(1, count + 1)]


class Simulation:
    """Runs jobs to their end under a policy and a fault plan. The same arguments give the same history.

    `kills` are times, in seconds from the start, at which the driver is killed; it then starts again over what was
    committed. `asks` are requests to the live run at such times. `keys`, `elsewhere`: as in SimulatedLedger.
    `late` is the most seconds by which the driver wakes up too late.

    >>> simulation = Simulation(7, rows(3), Policy(workers(2)))
    >>> lines = simulation.run()
    >>> simulation.ledger.counts()[JobState.SUCCEEDED]
    3
    """

    def __init__(
        self,
        seed: int,
        jobs: Sequence[Row],
        policy: Policy,
        faults: FaultPlan | None = None,
        *,
        kills: Iterable[float] = (),
        asks: Iterable[tuple[float, str, int]] = (),
        keys: Mapping[int, str | None] | None = None,
        elsewhere: Mapping[str, Source] | None = None,
        chunk: int = 1000,
        late: float = 0.002,
        sample_interval: float | None = None,
        machine_memory: int = 64_000_000_000,
    ) -> None:
        unshared = frozenset(name for name, traits in policy.tasks.items() if not traits.reuses)
        self.ledger = SimulatedLedger(jobs, keys=keys, elsewhere=elsewhere, unshared=unshared)
        self.clock = FakeClock()
        self.history: list[tuple[float, object]] = []
        self.policy = policy
        self.faults = faults or FaultPlan(seed)
        self.chunk, self.late = chunk, late
        self.sample_interval, self.machine_memory = sample_interval, machine_memory
        self.started = self.clock.now
        self.lender = SimulatedLender()
        self.asks_done = 0
        self._seed = seed
        self._kills = deque(sorted(self.started + seconds for seconds in kills))
        self._asks = sorted((self.started + seconds, what, job) for seconds, what, job in asks)
        self.invocations = 0

    # --- a run

    def run(self, *, retry_failed: bool = False) -> list[str]:
        """Run until the scheduler says that the run is over; returns the event log, one line an event.

        Called again it continues the run, as the same command would; `retry_failed` resets failed jobs before.
        Raises InternalError when the run hangs, spins, or states a fact that no sound run could state.
        """
        self.play(retry_failed=retry_failed)
        return self.log()

    def play(self, *, retry_failed: bool = False) -> None:
        """Run without writing the log: `history` has it all."""
        if retry_failed:
            self.ledger.reset_failed(self.clock.now)
        while not self._invoke():
            self.clock.advance(self.clock.now + REST)

    def log(self) -> list[str]:
        """The history so far as text."""
        return [line(at - self.started, item) for at, item in self.history]

    @property
    def state(self) -> RunState:
        """The run's state in the ledger."""
        return self.ledger.state

    def _invoke(self) -> bool:
        """One invocation; False if it was killed."""
        self.invocations += 1
        spent = self.ledger.spent
        invocation = _Invocation(self, Random(f"{self._seed}:{self.invocations}"))
        finished = invocation.drive()
        invocation.executor.close()
        self.clock.forget()
        if not finished:
            self.note(Killed(self.clock.now))
            self.lender.died(self.invocations, self.ledger.spent - spent)
        return finished

    def asks_left(self) -> list[tuple[float, str, int]]:
        """The requests that no invocation has seen yet."""
        return self._asks[self.asks_done :]

    def killed_until(self, when: float) -> bool:
        """Let time pass until `when`, or until the driver is killed, and say so."""
        if self._kills and self._kills[0] <= when:
            self.clock.advance(self._kills.popleft())
            return True
        self.clock.advance(when)
        return False

    def note(self, item: object) -> None:
        """Add to the history."""
        self.history.append((self.clock.now, item))

    def policy_now(self) -> Policy:
        """The policy, with what earlier invocations left behind."""
        self.ledger.recover()
        done = frozenset(key for key, outcome in self.ledger.hooks.items() if outcome.state is JobState.SUCCEEDED)
        next_call = max(self.ledger.calls, default=0) + 1
        waiting = None if self.policy.waiting is None else self.ledger.waiting()
        spent, by_quota = self.ledger.spent, self.ledger.spent_of
        money = replace(self.policy, spent=spent, spent_today=spent, spent_of=by_quota)
        return replace(money, started_hooks=done, next_call=next_call, waiting=waiting)


class _Invocation:
    """One life of the driver: the loop of `batchmill.driver.loop` with simulated parts."""

    def __init__(self, simulation: Simulation, chance: Random) -> None:
        self._of, self._chance = simulation, chance
        clock, faults = simulation.clock, simulation.faults
        policy = simulation.policy_now()
        self._posted: deque[ev.Event] = deque()
        self._reported: deque[ev.Event] = deque()  # by the workers
        self._scheduler = Scheduler(policy, Random(chance.random()).random)
        self._journal = SimulatedJournal(
            simulation.ledger, clock, chance, self._posted.append, simulation.note, faults.commit_fails
        )
        self._feed = SimulatedFeed(simulation.ledger, clock, chance, self._posted.append, policy.limits)
        self._number = simulation.invocations
        self.executor = SimulatedExecutor(
            policy.places,
            faults,
            clock,
            chance,
            self._reported.append,
            simulation.note,
            sample_interval=simulation.sample_interval,
            machine_memory=simulation.machine_memory,
        )

    def drive(self) -> bool:
        """Run to the end; False if the driver is killed before."""
        self._open()
        for _ in range(MOST_STEPS):
            if self._scheduler.finished:
                return True
            if not self._wait():
                return False
            self._turn()
        raise InternalError(f"the scheduler is not done after {MOST_STEPS} steps")

    def _open(self) -> None:
        simulation = self._of
        simulation.note(Opened(simulation.clock.now))
        self.executor.open()
        self._plan()
        for when, what, job in simulation.asks_left():
            simulation.clock.at(when, partial(self._ask, what, job))

    def _plan(self) -> None:
        ledger, clock = self._of.ledger, self._of.clock
        if ledger.plan_done:
            self._posted.append(ev.Planned(clock.now, len(ledger.jobs), True))
            return
        self._journal.submit_plan(self._of.chunk)
        clock.after(self._chance.uniform(0.005, 0.05), self._plan_on)

    def _plan_on(self) -> None:
        if not self._of.ledger.plan_done:
            self._plan()

    def _ask(self, what: str, job: int) -> None:
        self._of.asks_done += 1
        self._posted.append(ev.Asked(self._of.clock.now, what, job))

    def _wait(self) -> bool:
        """Let time pass until there is something to do; False if the driver is killed meanwhile."""
        clock, wakeup = self._of.clock, self._scheduler.next_wakeup
        if wakeup <= self._scheduler.state.now:
            raise InternalError("the scheduler wants to be woken in the past")
        until = clock.now if self._posted or self._reported else min(wakeup, clock.next_time)
        if until - self._of.started > PATIENCE:
            raise InternalError("the run hangs: nothing will ever happen" if until == INFINITY else "the run drags on")
        until += self._chance.uniform(0.0, self._of.late)
        return not self._of.killed_until(until)

    def _turn(self) -> None:
        clock = self._of.clock
        events: list[ev.Event] = [*self._posted, *self._reported, ev.Tick(clock.now)]
        self._posted.clear()
        self._reported.clear()
        act = self._scheduler.step(events)
        self._note(events[:-1])
        self.executor.stop(act.stops)
        if act.facts:
            self._of.note(Submitted(clock.now, act.batch))
            self._note(act.facts)
            self._journal.submit(act.batch, act.facts)
        self.executor.recall(act.recalls)
        self.executor.start(act.starts)
        self.executor.ack(act.acks)
        self._feed.ask(act.loads, act.prepares)
        if act.borrow is not None:
            clock.after(self._chance.uniform(0.0005, 0.005), partial(self._lend, act.borrow))
        for commands in (act.stops, act.recalls, act.starts, act.acks, act.published):
            self._note(commands)

    def _lend(self, question: Borrow) -> None:
        now, broken = self._of.clock.now, self._of.faults.lender_fails
        answer = Lent(now, broken="nobody lends") if self._chance.random() < broken else None
        self._posted.append(answer or self._of.lender.answer(self._number, question, now))

    def _note(self, items: Sequence[object]) -> None:
        for item in items:
            self._of.note(item)
