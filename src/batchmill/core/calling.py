"""What the scheduler does with metered calls: a step's share of `calls`, where they wait, and of `lost`."""

from __future__ import annotations

from batchmill.core import closing
from batchmill.core.calls import Granted
from batchmill.core.lost import LostCall
from batchmill.core.slots import Stopping
from batchmill.core.state import State
from batchmill.core.stopping import stop
from batchmill.model import commands as do
from batchmill.model import events as ev
from batchmill.model import facts
from batchmill.model.states import Mode

NO_PRICE = "the price of this call is unknown, and a budget is set: give its price, or remove the budget"


def asked(s: State, event: ev.CallAsked) -> None:
    """A job asks for a call."""
    running = s.find(event.slot, event.job)
    if running is None:
        return
    inline = s.slots[event.slot].place.mode is Mode.INLINE  # where it has left already
    if event.unpriced and not inline and s.desk.must_know_price(event.quota):
        s.act.acks.append(do.Ack(event.slot, event.job, event.ticket, NO_PRICE))
        return
    running.wait_begins(event.ticket, s.now)
    s.desk.ask(event)


def admit(s: State) -> None:
    """Let calls leave that may, and ask the lender for what they lack."""
    if s.desk.waiting:
        _admit_waiting(s)
    s.act.borrow = s.desk.borrow(s.now)


def _admit_waiting(s: State) -> None:
    granted, refused = s.desk.admit(s.now)
    for call in granted:
        _reserve(s, call)
        s.ack(do.Ack(call.asked.slot, call.asked.job, call.asked.ticket))
    for asked in refused:
        _refuse(s, asked)
    if refused:
        closing.watch(s)


def _reserve(s: State, granted: Granted) -> None:
    call, asked, *_ = granted
    s.record(facts.CallReserved(s.now, asked.job, call, asked.quota, asked.key, asked.tokens, asked.cost))


def _refuse(s: State, asked: ev.CallAsked) -> None:
    """No money will be left for this call: its job goes back to pending, so that a raised budget continues it."""
    running = s.find(asked.slot, asked.job)
    if running is not None:
        stop(s, s.slots[asked.slot], running, Stopping.RELEASE)


def settled(s: State, event: ev.CallSettled) -> None:
    """A call is over."""
    if event.sent and (late := s.desk.has_left(event.job, event.ticket, s.now)) is not None:
        _reserve(s, late)
    granted = s.desk.settle(event.job, event.ticket, event.tokens, event.cost, event.sent, s.now, event.failed)
    if not event.sent:
        s.wait_ends(event.slot, event.job, event.ticket)  # it may have given up waiting
    if granted is None:
        return
    if event.sent:
        state = "settled" if event.answered else "unknown"
        s.record(facts.CallClosed(event.at, granted.call, state, event.tokens, event.cost, event.usage))
        if not event.answered:
            s.lost.add(LostCall(granted.call, event.job, granted.asked.quota, granted.asked.key, event.cost))
    else:
        s.record(facts.CallClosed(event.at, granted.call, "released", 0, 0, event.usage))


def cached(s: State, event: ev.CallCached) -> None:
    """A request needed not leave."""
    if s.find(event.slot, event.job) is not None:
        s.record(facts.CallCached(event.at, event.job, s.desk.next_number(), event.quota, event.key, event.usage))


def found(s: State, event: ev.CallFound) -> None:
    """It turned out what became of a call of an earlier attempt."""
    if s.find(event.slot, event.job) is None:
        return
    lost = s.lost.take(event.job, event.quota, event.key)
    if lost is not None:
        state, tokens, cost = ("settled", event.tokens, event.cost) if event.sent else ("released", 0, 0)
        s.desk.correct(event.quota, cost - lost.cost)
        s.record(facts.CallClosed(event.at, lost.call, state, tokens, cost, event.usage))
    elif event.sent and not event.failed:
        s.record(facts.CallCached(event.at, event.job, s.desk.next_number(), event.quota, event.key, event.usage))


def limit_seen(s: State, event: ev.LimitSeen) -> None:
    """A service told something of its limits."""
    s.desk.limit_seen(event, s.now)


def lent(s: State, event: ev.Lent) -> None:
    """The lender answered."""
    s.desk.lent(event, s.now)
    if event.broken:
        s.note(event.broken)
