"""One request of a job through a batch lane: gathered, waited for, settled at the price of batches; or asked live."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

from batchmill import Context, QuotaLimit
from batchmill.llm.bills import Bill, dollars
from batchmill.llm.cache import ReplyCache, Stored
from batchmill.llm.exchange import Desk, Done, Exchange
from batchmill.llm.failures import Failure
from batchmill.llm.lanes.lane import Lane, held, lane_of, store_of_user
from batchmill.llm.lanes.offers import unanswered
from batchmill.llm.lanes.store import Found, Line
from batchmill.llm.lanes.watch import GONE, Answer
from batchmill.llm.messages import Reply
from batchmill.llm.service import cache_of_user, give_up_cache

_NO_LIMIT = QuotaLimit(concurrency=1_000_000)  # nothing leaves with the grant
_TURNS = 5  # with batches that never came to the provider
_NO_BATCHES = frozenset({404, 405, 501})
_FINAL = frozenset({"too_long", "refusal"})  # of lines that would fail alike when asked live


class BatchExchange(Exchange):
    """See the module."""

    async def _ask(self, cache: ReplyCache | None) -> Done:
        lane = await lane_of(self._service, self._model, self._ctx)
        if lane is not None and (done := await self._by_lane(lane)) is not None:
            return done
        return await super()._ask(cache)

    async def _join(self, flight: asyncio.Future[None]) -> None:
        await held(self._ctx, flight)

    def _may_use(self, stored: Stored) -> bool:
        """Replies of batches are kept whatever the mode: they are for who asked."""
        return self._mode == "on" or stored.owner == self._desk.owner

    # --- the way through

    async def _by_lane(self, lane: Lane) -> Done | None:
        """The reply from a batch; None: it is to be asked live. Raises ModelError."""
        line, cache = self._line(), cache_of_user(self._ctx.log)
        for _ in range(_TURNS):
            found = lane.find(line)
            if found is not None and found.state == "open":
                answer = await self._awaited(lane, line, found)
            elif found is not None and self._is_mine(found):
                return self._brought(found, cache)
            elif self._lane == "auto" and not await lane.is_worth_it(self._ctx):
                return None
            else:
                answer = await self._given(lane, line)
            if not answer.anew:
                self._learn(lane, answer)
                return self._ended(answer)
            if cache is not None and (done := self._stored(cache)) is not None:
                return done
        return None

    def _is_mine(self, found: Found) -> bool:
        return found.owner == self._desk.owner

    async def _awaited(self, lane: Lane, line: Line, found: Found) -> Answer:
        """What comes of a line that is in a batch already: that of an earlier attempt of this job, which a kill ended,
        or another's."""
        answer = await lane.wait(self._ctx, line, found.batch)
        if self._is_mine(found):
            self._requests += 1
            self._close(self._bill(), self._earlier, answer)
        elif answer.body is not None:
            reply, failure = self._read(answer.body)
            if reply is not None:
                super()._note_hit(reply, failure)
        return answer

    def _brought(self, found: Found, cache: ReplyCache | None) -> Done | None:
        """What a batch of this job that is over brought: a reply that is in the cache, and of no use there, or none."""
        if found.batch.status == GONE:
            return None  # and it may be billed
        try:
            stored = None if cache is None or found.state != "done" else cache.get(self._key)
        except sqlite3.Error as error:
            give_up_cache(self._ctx.log, error)
            stored = None
        body = None if stored is None else stored.body
        failure = unanswered("missing", "its batch brought no reply") if body is None else None
        answer = Answer(body, failure, found.batch.remote)
        self._close(self._bill(), self._earlier, answer)
        return self._ended(answer)

    def _note_hit(self, reply: Reply, failure: Failure | None) -> None:
        """A reply of a batch that this job paid for, and did not live to see, is no hit."""
        store = store_of_user(self._ctx.log)
        found = None if store is None else store.find(self._line().id)
        if found is None or found.state == "failed" or not self._is_mine(found):
            super()._note_hit(reply, failure)
            return
        bill = self._bill()
        bill.batch, bill.status = found.batch.remote, 200
        bill.settle(self._earlier, reply, failure, self._purpose)

    def _line(self) -> Line:
        owner = self._desk.owner
        id = self._key if self._mode == "on" else blake2b(self._key + owner, digest_size=20).digest()
        return Line(id, self._key, owner)

    async def _given(self, lane: Lane, line: Line) -> Answer:
        """Reserve what the line may cost, and put it into the next batch."""
        self._earlier.settle({"model": self._request.model}, sent=False)  # a kill came before it was in any batch
        bill = self._bill()
        data = lane.offer.line(line.id.hex(), self._request)
        async with self._ctx.call(
            quota=self._quota,
            key=self._key.hex(),
            tokens=bill.expected,
            cost=None if bill.most is None else dollars(bill.most),
            limit=_NO_LIMIT,
        ) as call:
            self._requests += 1
            answer = await lane.give(self._ctx, line, data, bill.most)
            self._close(bill, call, answer)
            return answer

    def _bill(self) -> Bill:
        price = self._model.price
        return Bill(self._request, self._model.tokens, None if price is None else price.in_batches)

    @property
    def _earlier(self) -> _Earlier:
        """The call of an earlier attempt of the job."""
        return _Earlier(self._ctx, self._quota, self._key.hex())

    @property
    def _quota(self) -> str:
        """Batches have limits of their own."""
        return f"{self._model.quota}/batch"

    def _close(self, bill: Bill, call: Any, answer: Answer) -> None:
        """Settle what a line came to."""
        if answer.anew or not answer.is_known:
            call.settle({"model": self._request.model}, sent=not answer.anew, answered=False)
            return
        bill.batch = answer.remote
        reply, failure = self._reading(answer)
        if answer.body is not None:
            bill.status = 200
        self._add(bill.settle(call, reply, failure, self._purpose))

    def _reading(self, answer: Answer) -> tuple[Reply | None, Failure | None]:
        return (None, answer.failure) if answer.body is None else self._read(answer.body)

    def _learn(self, lane: Lane, answer: Answer) -> None:
        """Nothing more is gathered for an address that has no batches."""
        failure = answer.failure
        if failure is not None and not failure.sent and failure.status in _NO_BATCHES and not lane.is_closed:
            lane.is_closed = True
            self._ctx.log(f"`{self._request.model}` is asked live: there are no batches at its address")

    def _ended(self, answer: Answer) -> Done | None:
        reply, failure = self._reading(answer)
        if failure is None:
            assert reply is not None
            return self._done(reply)
        if answer.is_open or failure.kind in _FINAL:
            raise self._error(failure)
        return None


class _Earlier(NamedTuple):
    """Stands for the call of an earlier attempt whose end nobody saw."""

    ctx: Context
    quota: str
    key: str

    def settle(
        self,
        usage: dict[str, Any],
        *,
        tokens: int = 0,
        cost: Decimal | int | None = 0,
        sent: bool = True,
        answered: bool = True,
    ) -> None:
        """Say what it came to; where that is still not known, nothing is said."""
        if answered or not sent:
            self.ctx.call_found(quota=self.quota, key=self.key, usage=usage, tokens=tokens, cost=cost or 0, sent=sent)


def kind_of(desk: Desk) -> type[Exchange]:
    """What exchanges requests as the settings say."""
    if desk.service.settings.lanes.export:
        from batchmill.llm.lanes.files import ExportExchange

        return ExportExchange
    return BatchExchange
