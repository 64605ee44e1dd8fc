"""The lane of one model: requests of many jobs gathered into batches, and the batches that are under way."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from batchmill import Context, UsageError
from batchmill.llm import endpoints
from batchmill.llm.cache import state_folder
from batchmill.llm.lanes.anthropic import AnthropicBatches
from batchmill.llm.lanes.offers import Offer, Speaker
from batchmill.llm.lanes.openai import OpenAIBatches
from batchmill.llm.lanes.store import Batch, Found, LaneStore, Line
from batchmill.llm.lanes.watch import ANEW, Answer, Gathered, Watch
from batchmill.llm.prices import OWN_MACHINES
from batchmill.llm.providers import reading
from batchmill.llm.providers.anthropic import VERSION, Anthropic
from batchmill.llm.providers.base import Endpoint, Malformed, Provider
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.service import Model, Service, cache_of_user
from batchmill.llm.settings import Settings
from batchmill.llm.transport import HttpRequest, Timeouts, Transport
from batchmill.llm.transport.http import AiohttpTransport

_MOST_BODY = 1 << 32  # bytes of results, which are read line by line
_FOREVER = 30 * 86_400.0  # seconds
_Value = TypeVar("_Value")


class _Given(NamedTuple):
    """A line that waits for its batch to leave."""

    line: Line
    data: bytes
    most: int | None
    future: asyncio.Future[Answer]


class Lane:
    """See the module. For one event loop."""

    def __init__(self, shared: Gathered, model: Model, place: str, least: int, quiet: float) -> None:
        self._shared, self._model, self._place = shared, model, place
        self.offer, self._store = shared.offer, shared.store
        self._least, self._quiet = least, quiet
        self._given: dict[bytes, _Given] = {}
        self._size = self._arrivals = 0
        self._count: asyncio.Future[bool] | None = None  # whether enough ask, while they are counted
        self._asking = 0
        self._watches: dict[str, Watch] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._room = self.offer.most_lines  # of a batch, as far as is known
        self.is_closed = False  # there are no batches at this address
        self._gate = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, line: Line) -> Found | None:
        """Where a line is, or was last."""
        return self._store.find(line.id)

    async def is_worth_it(self, ctx: Context) -> bool:
        """Whether enough requests come together for a batch; the answer takes as long as more of them come."""
        if self._given:
            return True
        self._asking += 1
        self._arrivals += 1
        if self._count is None:
            self._count = asyncio.get_running_loop().create_future()
            self._spawn(self._counted(self._count, self._until_quiet()))
            self._spawn(self._counted(self._count, self._until_all_wait(ctx)))
        if self._asking >= self._least and not self._count.done():
            self._count.set_result(True)
        try:
            return await held(ctx, self._count)
        finally:
            self._asking -= 1

    async def _counted(self, count: asyncio.Future[bool], end: Awaitable[None]) -> None:
        await end
        if not count.done():
            count.set_result(False)
        if self._count is count:
            self._count = None

    async def give(self, ctx: Context, line: Line, data: bytes, most: int | None) -> Answer:
        """Put a line into the next batch; returns what came of it."""
        if len(self._given) >= self.offer.most_lines or self._size + len(data) > self.offer.most_bytes:
            self._leave()
        future = asyncio.get_running_loop().create_future()
        if not self._given:
            self._spawn(self._leave_after(self._until_quiet()))
            self._spawn(self._leave_after(self._until_all_wait(ctx)))
        self._given[line.id] = _Given(line, data, most, future)
        self._size += len(data)
        self._arrivals += 1
        try:
            return await held(ctx, future)
        except asyncio.CancelledError:
            future.cancel()
            if self._given.get(line.id, None) is not None and self._given[line.id].future is future:
                self._size -= len(self._given.pop(line.id).data)
            raise

    async def wait(self, ctx: Context, line: Line, batch: Batch) -> Answer:
        """What comes of a line that is in a batch already."""
        watch = self._watches.get(batch.id)
        if watch is None or watch.is_over:
            watch = self._watch(Watch(self._shared, batch.id), batch.id)
        return await held(ctx, watch.wait(line.id))

    # --- gathering

    async def _until_quiet(self) -> None:
        """Until no request has come for a while."""
        seen = -1
        while seen != self._arrivals:
            seen = self._arrivals
            await asyncio.sleep(self._quiet)

    async def _until_all_wait(self, ctx: Context) -> None:
        """Until nobody is left in the run who could bring another request, now or while results are read."""
        seen = -1
        while seen != self._arrivals:
            seen = self._arrivals
            await ctx.lull()
            if read := [self._watching[id] for id, watch in self._watches.items() if watch.is_read]:
                await asyncio.wait(read)
                seen = -1

    async def _leave_after(self, end: Awaitable[None]) -> None:
        given = self._given
        await end
        if given is self._given:
            self._leave()

    def _leave(self) -> None:
        """The batch is closed: the next line begins another."""
        given, self._given, self._size = self._given, {}, 0
        lines = list(given.values())
        for start in range(0, len(lines), self._room):
            self._spawn(self._send_in_turn(lines[start : start + self._room]))

    async def _send_in_turn(self, given: list[_Given]) -> None:
        """Where the provider had too much waiting, a batch leaves when the one before it is over."""
        async with self._gate:
            if self._room < self.offer.most_lines:
                if self._watching:
                    await asyncio.wait(self._watching.values(), return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(self._shared.poll)
            await self._send(given)

    async def _send(self, given: list[_Given]) -> None:
        """Write the batch down, then hand it over."""
        costs = [one.most for one in given]
        cost = None if None in costs else sum(cost for cost in costs if cost is not None)
        batch = Batch(uuid4().hex, self._place, self._model.name, "intended", "", time.time(), len(given), cost)
        try:
            mine = await asyncio.to_thread(self._store.intend, batch, [one.line for one in given])
        except (OSError, sqlite3.Error) as error:
            for one in given:
                _fail(one.future, error)
            return
        watch = Watch(self._shared, batch.id, [one.data for one in given if one.line.id in mine])
        for one in given:
            if one.line.id in mine:
                watch.wait(one.line.id, one.future)
            elif not one.future.done():
                one.future.set_result(ANEW)  # another process was faster
        if mine:
            self._watch(watch, batch.id)

    # --- tasks

    def _watch(self, watch: Watch, id: str) -> Watch:
        self._watches[id] = watch
        task = self._watching[id] = self._spawn(watch.run())
        task.add_done_callback(lambda task: self._ended(task, watch, id))
        return watch

    def _ended(self, task: asyncio.Task[None], watch: Watch, id: str) -> None:
        if self._watches.get(id) is watch:
            del self._watches[id], self._watching[id]
            self._room = min(2 * self._room, self.offer.most_lines)
        if watch.was_refused:
            self._room = max(1, watch.size // 2)
        if not task.cancelled() and (error := task.exception()) is not None:
            watch.broke(error)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        # in no job's context: what a job begins is ended with it
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _fail(future: asyncio.Future[Answer], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


async def held(ctx: Context, future: asyncio.Future[_Value]) -> _Value:
    """What a future comes to, waited for without losing the job's time. Cancelling the wait leaves the future alone."""
    while not future.done():
        if not inspect.iscoroutinefunction(ctx.sleep):
            await asyncio.wait((future,))
            break
        waiting = asyncio.ensure_future(ctx.sleep(_FOREVER))
        try:
            await asyncio.wait((waiting, future), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            await asyncio.wait((waiting,))
    return future.result()


# --- who has lanes

_stores: dict[int, LaneStore | None] = {}  # by process: a fork keeps nothing


async def lane_of(service: Service, model: Model, ctx: Context) -> Lane | None:
    """The lane of a model; None where there is none: then it is asked live. A process task has none: its requests
    come one by one."""
    if not inspect.iscoroutinefunction(ctx.sleep) or model.name.partition("/")[0] in OWN_MACHINES:
        return None
    if model.name not in service.lanes:
        transport = AiohttpTransport(max_body=_MOST_BODY)
        service.lanes[model.name] = _opened(service, model, transport, ctx)
        await service.close_at_the_end(transport)
    lane: Lane | None = service.lanes[model.name]
    return None if lane is None or lane.is_closed else lane


def _opened(service: Service, model: Model, transport: Transport, ctx: Context) -> Lane | None:
    endpoint = model.balancer.ways[0].endpoint
    offer = offer_of(model.provider, endpoint, service.timeouts, transport)
    store = store_of_user(ctx.log)
    if offer is None or store is None:
        return None
    settings = service.settings.lanes
    shared = Gathered(store, offer, cache_of_user(ctx.log), settings.poll, _worth(model))
    return Lane(shared, model, place_of(endpoint), settings.least, settings.quiet)


def offer_of(provider: Provider, endpoint: Endpoint, timeouts: Timeouts, transport: Transport) -> Offer | None:
    """The batches at an endpoint, or None."""
    like = HttpRequest("", proxy=endpoint.proxy, ca_file=endpoint.ca_file)
    if isinstance(provider, OpenAI):
        headers = {**reading.bearer(endpoint), **endpoint.headers}
        return OpenAIBatches(provider, endpoint, Speaker(transport, timeouts, "openai", headers, like))
    if isinstance(provider, Anthropic):
        headers = {"anthropic-version": VERSION, **({"x-api-key": endpoint.key} if endpoint.key else {})}
        speaker = Speaker(transport, timeouts, "anthropic", headers | dict(endpoint.headers), like)
        return AnthropicBatches(provider, endpoint, speaker)
    return None


@asynccontextmanager
async def offer_at(batch: Batch, settings: Settings) -> AsyncIterator[Offer]:
    """The batches of the provider that a batch is at. Raises UsageError when that is no longer known."""
    route = endpoints.resolve(batch.model, settings)
    transport = AiohttpTransport(max_body=_MOST_BODY)
    timeouts = Timeouts(settings.connect_timeout, settings.read_timeout)
    try:
        for endpoint in route.endpoints:
            offer = offer_of(route.provider, endpoint, timeouts, transport)
            if offer is not None and place_of(endpoint) == batch.place:
                yield offer
                return
    finally:
        await transport.close()
    raise UsageError(f"the batch `{batch.id[:8]}` is at another address than `{batch.model}` has now")


def place_of(endpoint: Endpoint) -> str:
    """Where an endpoint is, without what may be secret."""
    return blake2b(endpoint.url.encode(), digest_size=8, person=b"batchmill-lane").hexdigest()


def store_of_user(warn: Callable[[str], None]) -> LaneStore | None:
    """The user's batches; None, after `warn` was told so once, where the file cannot be used."""
    process = os.getpid()
    if process not in _stores:
        try:
            _stores[process] = LaneStore(state_folder())
        except (OSError, sqlite3.Error) as error:
            _stores[process] = None
            warn(f"no batch is sent: `{state_folder() / 'lanes.db'}` cannot be used: {error}")
    return _stores[process]


def _worth(model: Model) -> Callable[[bytes], int | None]:
    def worth(body: bytes) -> int | None:
        price = model.price
        if price is None:
            return None
        try:
            usage = model.provider.decode(body).usage
        except Malformed:
            return 0
        return 0 if usage is None else price.in_batches.cost(usage)

    return worth
