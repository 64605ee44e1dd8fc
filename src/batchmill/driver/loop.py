"""The one loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from batchmill.core.scheduler import Scheduler
from batchmill.driver.inbox import Inbox
from batchmill.executors.base import Executor
from batchmill.model.commands import Act, Borrow, Load, Prepare
from batchmill.model.events import Event
from batchmill.model.facts import Fact

MOST_UNCOMMITTED = 8  # batches, in one or two transactions; beyond that results wait in the workers' sockets


class Writer(Protocol):
    """The journal, as the loop sees it."""

    @property
    def uncommitted(self) -> int: ...
    def submit(self, batch: int, facts: Sequence[Fact]) -> None: ...


class Feed(Protocol):
    """Who reads the ledger and the input files for the scheduler."""

    def ask(self, loads: Sequence[Load], prepares: Sequence[Prepare]) -> None: ...
    def prepared(self) -> Mapping[str, Mapping[str, str]]: ...


class Quotas(Protocol):
    """Who lends what the user's runs have in common."""

    def ask(self, question: Borrow) -> None: ...


class Observer(Protocol):
    """Who shows what happens."""

    def see(self, events: Sequence[Event], act: Act) -> None: ...


def drive(
    scheduler: Scheduler,
    inbox: Inbox,
    executor: Executor,
    journal: Writer,
    feed: Feed,
    quotas: Quotas,
    observer: Observer,
) -> None:
    """Run until the end of the run is durable.

    Stops and starts act at once. Acks, grants and publications come out of `step` only after the commit of
    what they rest on.
    """
    while not scheduler.finished:
        hold = journal.uncommitted >= MOST_UNCOMMITTED and not scheduler.state.ledger_failed
        events = inbox.wait(scheduler.next_wakeup, hold=hold, gather=scheduler.gather)
        act = scheduler.step(events)
        if act.stops:
            executor.stop(act.stops)
        if act.facts:
            journal.submit(act.batch, act.facts)
        if act.recalls:
            executor.recall(act.recalls)
        if act.prepared:
            executor.set_prepared(feed.prepared())
        if act.starts:
            executor.start(act.starts)
        if act.acks:
            executor.ack(act.acks)
        if act.loads or act.prepares:
            feed.ask(act.loads, act.prepares)
        if act.borrow is not None:
            quotas.ask(act.borrow)
        observer.see(events, act)
