"""One request of a job through a batch lane: gathered, waited for, settled at the price of batches; or asked live."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from typing import Any

from batchmill import QuotaLimit
from batchmill.llm.bills import Bill, dollars
from batchmill.llm.cache import ReplyCache, Stored
from batchmill.llm.exchange import Desk, Done, Exchange
from batchmill.llm.failures import Failure
from batchmill.llm.lanes.lane import Lane, held, lane_of
from batchmill.llm.lanes.store import Line
from batchmill.llm.lanes.watch import Answer
from batchmill.llm.messages import Reply
from batchmill.llm.service import cache_of_user

_NO_LIMIT = QuotaLimit(concurrency=1_000_000)  # nothing leaves with the grant
_TURNS = 5  # with batches that never came to the provider
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
            mine = found is not None and found.owner == self._desk.owner
            if found is not None and found.state == "open":
                answer = await lane.wait(self._ctx, line, found.batch)
            elif mine:  # that batch is over: what it brought is in the cache, or was no reply
                return None if cache is None else self._stored(cache)
            elif self._lane == "auto" and not await lane.is_worth_it(self._ctx):
                return None
            else:
                answer = await self._given(lane, line)
            if not answer.anew:
                return self._ended(answer, cache)
            if cache is not None and (done := self._stored(cache)) is not None:
                return done
        return None

    def _line(self) -> Line:
        owner = self._desk.owner
        id = self._key if self._mode == "on" else blake2b(self._key + owner, digest_size=20).digest()
        return Line(id, self._key, owner)

    async def _given(self, lane: Lane, line: Line) -> Answer:
        """Reserve what the line may cost, and put it into the next batch."""
        price = self._model.price
        bill = Bill(self._request, self._model.tokens, None if price is None else price.in_batches)
        data = lane.offer.line(line.id.hex(), self._request)
        async with self._ctx.call(
            quota=lane.quota,
            key=self._key.hex(),
            tokens=bill.expected,
            cost=None if bill.most is None else dollars(bill.most),
            limit=_NO_LIMIT,
        ) as call:
            self._requests += 1
            answer = await lane.give(self._ctx, line, data, bill.most)
            if answer.anew:
                call.settle({"model": self._request.model}, sent=False)
            elif not answer.is_known:
                call.settle({"model": self._request.model}, answered=False)
            else:
                self._settle(bill, call, answer)
            return answer

    def _settle(self, bill: Bill, call: Any, answer: Answer) -> None:
        bill.batch = answer.remote
        reply, failure = self._reading(answer)
        if answer.body is not None:
            bill.status = 200
        self._add(bill.settle(call, reply, failure, self._purpose))

    def _reading(self, answer: Answer) -> tuple[Reply | None, Failure | None]:
        return (None, answer.failure) if answer.body is None else self._read(answer.body)

    def _ended(self, answer: Answer, cache: ReplyCache | None) -> Done | None:
        reply, failure = self._reading(answer)
        if failure is None:
            assert reply is not None
            return self._done(reply)
        if answer.is_open or failure.kind in _FINAL:
            raise self._error(failure)
        return None


def kind_of(desk: Desk) -> type[Exchange]:
    """What exchanges requests as the settings say."""
    if desk.service.settings.lanes.export:
        from batchmill.llm.lanes.files import ExportExchange

        return ExportExchange
    return BatchExchange
