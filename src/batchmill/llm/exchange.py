"""One request of a job, until there is a reply or no more hope: cache, grant, transport, settlement, another try.

Each HTTP request is one `ctx.call`, so one row of the ledger. A reply is on disk before it is read.
"""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from batchmill import Context, __version__
from batchmill.llm import failures
from batchmill.llm.answers import ModelError
from batchmill.llm.bills import Bill, Purpose, describe, dollars
from batchmill.llm.cache import ReplyCache, Stored, reply_key
from batchmill.llm.failures import Failure
from batchmill.llm.messages import Reply, Request
from batchmill.llm.providers.base import Malformed
from batchmill.llm.retries import Patience
from batchmill.llm.routes import USELESS, Way
from batchmill.llm.secrets import conceal_bytes
from batchmill.llm.service import Model, Service, cache_of_user, give_up_cache
from batchmill.llm.settings import CacheMode, Lane
from batchmill.llm.streaming import collect
from batchmill.llm.structured import prompted
from batchmill.llm.transport import HttpReply, TransportError


class Desk(NamedTuple):
    """Who asks: the job, what it shares with others, and what it wants of the cache."""

    ctx: Context
    service: Service
    cache: CacheMode = "on"
    max_age: float | None = None
    lane: Lane = "live"

    @property
    def owner(self) -> bytes:
        """The job in its run."""
        return bytes.fromhex(self.ctx.idempotency_key)


class Done(NamedTuple):
    """A reply, what it took this time (`requests` that left, and their `cost`), and what it is `worth`.

    Money is in micro-cents; None where the price is unknown.
    """

    reply: Reply
    requests: int
    cost: int | None
    worth: int | None


class Exchange:
    """See the module. `run` is called once."""

    def __init__(self, desk: Desk, model: Model, request: Request, purpose: Purpose, variant: str = "") -> None:
        self._ctx, self._service, self._mode, self._max_age, self._lane = desk
        self._desk, self._model = desk, model
        if not model.provider.sees and request.images:
            raise ModelError(f"`{request.model}` takes no images", failure="unsupported", model=request.model)
        native = request.schema is None or model.provider.native_schema
        self._request = request if native else prompted(request)
        self._purpose = purpose
        self._key = reply_key(self._request, model.provider.family, variant)
        self._requests = 0
        self._cost: int | None = 0

    async def run(self) -> Done:
        """The reply, from wherever. Raises ModelError, Permanent when a limit refuses, UsageError."""
        cache = self._cache()
        if cache is None:
            return await self._ask(None)
        flights, key = self._service.flights, self._key
        if self._mode == "fresh":
            key += self._desk.owner
        while (flight := flights.get(key)) is not None:
            await self._join(flight)  # the same request is on its way: its reply will do
        if (found := self._stored(cache)) is not None:
            return found
        flight = flights[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._ask(cache)
        finally:
            del flights[key]
            flight.set_result(None)

    async def _join(self, flight: asyncio.Future[None]) -> None:
        """Wait for another's request, which may have to wait for limits: that is no time of this job."""
        from batchmill.llm.lanes.lane import held  # rarely needed, and it brings the lanes

        await held(self._ctx, flight)

    # --- the cache ---------------------------------------------------------------------------------------------------

    def _cache(self) -> ReplyCache | None:
        # a function answers otherwise once it is edited
        if self._mode == "off" or self._model.provider.family == "python":
            return None
        return cache_of_user(self._ctx.log)

    def _stored(self, cache: ReplyCache) -> Done | None:
        """What is kept under the key, if it can be read by now."""
        try:
            stored = cache.get(self._key, self._max_age)
        except sqlite3.Error as error:
            give_up_cache(self._ctx.log, error)
            return None
        if stored is None or stored.reader == __version__ or not self._may_use(stored):
            return None
        reply, failure = self._read(stored.body)
        if reply is None or (failure is not None and failure.retry):
            cache.put_later(self._key, stored.body, stored.owner, __version__)
            return None
        self._note_hit(reply, failure)
        if failure is not None:
            raise self._error(failure)
        if self._purpose.on_text is not None:
            self._purpose.on_text(reply.text)
        return self._done(reply)

    def _may_use(self, stored: Stored) -> bool:
        """Whoever wants fresh replies takes those of the same job in the same run: it asked for them."""
        return self._mode != "fresh" or stored.owner == self._desk.owner

    def _note_hit(self, reply: Reply, failure: Failure | None) -> None:
        """Tell the ledger that no request had to leave."""
        details: dict[str, Any] = {"model": self._request.model}
        if self._purpose.stage:
            details["stage"] = self._purpose.stage
        describe(details, reply, reply.usage)
        if failure is not None:
            details["failure"] = failure.kind
        elif rung := self._purpose.judge(reply):
            details["rung"] = rung
        self._ctx.cache_hit(quota=self._model.quota, key=self._key.hex(), usage=details)

    async def _keep(self, cache: ReplyCache | None, body: bytes) -> None:
        """Bring a reply to disk, before anybody reads it."""
        if cache is None:
            return
        try:
            await cache.put(self._key, conceal_bytes(body), self._desk.owner)
        except sqlite3.Error as error:
            give_up_cache(self._ctx.log, error)

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, cache: ReplyCache | None) -> Done:
        balancer = self._model.balancer
        patience: Patience | None = None
        while True:
            way = balancer.pick()
            answers = way.answers
            reply, failure = await self._attempt(way, cache)
            if failure is None:
                assert reply is not None
                balancer.went_well(way)
                return self._done(reply)
            patience = patience or Patience(1 + self._service.settings.retry_attempts)
            elsewhere = balancer.failed(way, failure)
            wait = patience.wait(failure, balancer.is_down(way, failure, answers))
            if wait is None and (patience.is_only or not (elsewhere and failure.kind in USELESS)):
                raise self._error(failure)
            if wait and not elsewhere:
                await self._sleep(wait)

    async def _attempt(self, way: Way, cache: ReplyCache | None) -> tuple[Reply | None, Failure | None]:
        """One request: its reply, or what went wrong, or both."""
        model, quota = self._model, way.endpoint.quota
        bill = Bill(self._request, model.tokens, model.price)
        way.in_use += 1
        try:
            async with self._ctx.call(
                quota=quota,
                key=self._key.hex(),
                tokens=bill.expected,
                cost=None if bill.most is None else dollars(bill.most),
                limit=model.limit_for(quota),
            ) as call:
                self._requests += 1
                reply, failure = await self._exchanged(bill, call, way, cache)
                self._add(bill.settle(call, reply, failure, self._purpose))
                return reply, failure
        finally:
            way.in_use -= 1

    async def _exchanged(
        self, bill: Bill, call: Any, way: Way, cache: ReplyCache | None
    ) -> tuple[Reply | None, Failure | None]:
        model, started = self._model, time.monotonic()
        got: HttpReply | TransportError | Malformed
        try:
            if self._purpose.on_text is None:
                sent = model.provider.encode(self._request, way.endpoint)
                got = await model.transport.send(sent, self._service.timeouts)
            else:
                got = await self._streamed(way, self._purpose.on_text)
        except (TransportError, Malformed) as error:
            got = error
        bill.seconds = time.monotonic() - started
        failure = failures.classify(model.provider.family, got)
        if not isinstance(got, HttpReply):
            return None, failure
        bill.status = got.status
        self._tell_limits(call, got, failure)
        if failure is not None:
            return None, failure
        await self._keep(cache, got.body)
        reply, failure = self._read(got.body)
        if failure is not None and failure.retry and cache is not None:
            cache.put_later(self._key, got.body, self._desk.owner, __version__)
        return reply, failure

    async def _streamed(self, way: Way, on_text: Callable[[str], None]) -> HttpReply:
        """The whole reply, whose text is told while it comes."""
        model = self._model
        sent = model.provider.encode(self._request, way.endpoint, stream=True)
        return await collect(model.provider, model.transport.stream(sent, self._service.timeouts), on_text)

    def _read(self, body: bytes) -> tuple[Reply | None, Failure | None]:
        """The reply in a body of status 200, and what is wrong with it."""
        try:
            reply = self._model.provider.decode(body)
        except Malformed as error:
            return None, failures.classify(self._model.provider.family, error)
        return reply, failures.judge(reply)

    def _tell_limits(self, call: Any, reply: HttpReply, failure: Failure | None) -> None:
        """Pass on what the reply tells of limits: always when it is a refusal, else often enough."""
        if failure is None and not self._model.is_time_to_look(time.monotonic()):
            return
        limit, pause, remaining, remaining_tokens = self._model.provider.seen(reply, time.time())
        refused = failure is not None and failure.kind == "rate_limited"
        if failure is not None and failure.after is not None:
            pause = failure.after if refused else 0.0
        if refused or pause or limit is not None:
            left = {"remaining": remaining, "remaining_tokens": remaining_tokens}
            call.limit_seen(limit, pause=pause, refused=refused, **left)

    def _done(self, reply: Reply) -> Done:
        price, usage = self._model.price, reply.usage
        worth = 0 if usage is None else None if price is None else price.cost(usage)
        return Done(reply, self._requests, self._cost, worth)

    def _add(self, cost: int | None) -> None:
        self._cost = None if cost is None or self._cost is None else self._cost + cost

    async def _sleep(self, seconds: float) -> None:
        """Wait without losing the job's time: in a plain process task, its context waits itself."""
        waiting = self._ctx.sleep(seconds)
        if inspect.isawaitable(waiting):
            await waiting

    def _error(self, failure: Failure) -> ModelError:
        name = self._request.model
        return ModelError(f"`{name}`: {failure.message}", failure=failure.kind, model=name)


async def exchange(desk: Desk, request: Request, purpose: Purpose, variant: str = "") -> Done:
    """The reply to one request, see Exchange.run. Raises ModelError, Permanent when a limit refuses, UsageError."""
    model = desk.service.known(request.model) or await desk.service.open(request.model)
    kind = Exchange
    if desk.lane != "live" or desk.service.settings.lanes.export:
        from batchmill.llm.lanes.exchange import kind_of

        kind = kind_of(desk)
    return await kind(desk, model, request, purpose, variant).run()
