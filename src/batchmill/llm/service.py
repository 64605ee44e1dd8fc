"""What all jobs of an event loop share: connections, endpoints, prices, what was learned of models, the reply cache.

Made when a first request needs it. What becomes of one request is in `exchange`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from batchmill import QuotaLimit
from batchmill.llm import endpoints
from batchmill.llm.cache import ReplyCache, state_folder
from batchmill.llm.extras import needed
from batchmill.llm.prices import Price, PriceList
from batchmill.llm.providers.base import Provider
from batchmill.llm.routes import Balancer
from batchmill.llm.settings import Settings, load
from batchmill.llm.tokens import TokenCounter
from batchmill.llm.transport import Timeouts, Transport

_LOOK_EVERY = 0.1  # seconds


class Model:
    """What a loop knows of one model."""

    def __init__(self, name: str, route: endpoints.Route, prices: PriceList, transport: Transport) -> None:
        self.name, self.provider, self.transport = name, route.provider, transport
        self.balancer = Balancer(route.endpoints)
        self.tokens = TokenCounter(*name.split("/", 1))
        self.quota = route.quota
        self._prices, self._limit = prices, route.limit
        self._told: set[str] = set()
        self._next_look = 0.0

    @property
    def price(self) -> Price | None:
        """What it costs now."""
        return self._prices.price_of(self.name)

    def limit_for(self, quota: str) -> QuotaLimit | None:
        """The limit that the user knows, the first time that it is wanted for a quota: telling it once is enough."""
        if self._limit is None or quota in self._told:
            return None
        self._told.add(quota)
        return self._limit

    def is_time_to_look(self, now: float) -> bool:
        """Whether what a reply tells of limits is to be read: several times a second is often enough."""
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_EVERY
        return True


class Service:
    """See the module. `transport` is for tests; for others one is opened for each kind of provider."""

    def __init__(self, settings: Settings | None = None, transport: Transport | None = None) -> None:
        self.settings = settings or load()
        self.timeouts = Timeouts(self.settings.connect_timeout, self.settings.read_timeout)
        self.prices = PriceList(self.settings.prices)
        self.flights: dict[bytes, asyncio.Future[None]] = {}  # requests on their way, by key
        self.lanes: dict[str, Any] = {}  # by model, see `lanes.lane`
        self._models: dict[str, Model] = {}
        self._given = transport
        self._transports: dict[type[Provider], Transport] = {}
        self._closers: list[AsyncGenerator[None, None]] = []
        self._opening = asyncio.Lock()

    def known(self, name: str) -> Model | None:
        """What is known of a model that was opened."""
        return self._models.get(name)

    async def open(self, name: str) -> Model:
        """What is known of a model. Raises UsageError for one that there cannot be."""
        async with self._opening:
            if (found := self._models.get(name)) is None:
                # in a thread: a model of this machine may have to be started first
                route = await asyncio.to_thread(endpoints.resolve, name, self.settings)
                found = Model(name, route, self.prices, await self._transport(route.provider))
                self._models[name] = found
        return found

    async def _transport(self, provider: Provider) -> Transport:
        if self._given is not None:
            return self._given
        kind = type(provider)
        if kind not in self._transports:
            if provider.family != "python":  # which sends nothing
                needed("httptools")
            self._transports[kind] = endpoints.open_transport(provider)
            await self.close_at_the_end(self._transports[kind])
        return self._transports[kind]

    async def close_at_the_end(self, transport: Transport) -> None:
        """Close a transport when the loop ends."""
        self._closers.append(_close_with_the_loop(transport))
        await anext(self._closers[-1])


def preload(*names: str) -> None:
    """Import what requests need (by default all of it), where it is installed.

    For a task's `setup`: it runs before workers are forked, each of which would else import it in its first job's time.
    """
    for name in names or ("batchmill.llm.transport.direct", "genai_prices.data", "jsonschema", "json_repair"):
        with suppress(ImportError):  # who needs it then says so
            import_module(name)


async def _close_with_the_loop(transport: Transport) -> AsyncGenerator[None, None]:
    """A generator that a loop closes when it ends (PEP 525), and the connections with it."""
    try:
        yield
    finally:
        await transport.close()


_services: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Service]] = WeakKeyDictionary()
_last: tuple[asyncio.AbstractEventLoop, Settings | None, Service] | None = None  # nearly always the one
_caches: dict[int, ReplyCache | None] = {}  # by process: a fork has no writer


def service_of(settings: Settings | None) -> Service:
    """The service of the running loop for these settings; those of the folder and environment where None."""
    global _last
    loop = asyncio.get_running_loop()
    if _last is not None and _last[0] is loop and _last[1] is settings:
        return _last[2]
    of_loop = _services.get(loop)
    if of_loop is None:
        of_loop = _services[loop] = {}
    found = of_loop.get(id(settings))
    if found is None:
        found = of_loop[id(settings)] = Service(settings)  # which keeps the settings, so that no other gets their id
    _last = (loop, settings, found)
    return found


def cache_of_user(warn: Callable[[str], None]) -> ReplyCache | None:
    """The user's replies; None, after `warn` was told so once, where the file cannot be used."""
    process = os.getpid()
    if process not in _caches:
        path = state_folder() / "replies.db"
        try:
            _caches[process] = ReplyCache(path)
        except (OSError, sqlite3.Error) as error:
            give_up_cache(warn, error)
    return _caches[process]


def give_up_cache(warn: Callable[[str], None], error: Exception) -> None:
    """Do without the user's replies from now on."""
    if _caches.get(os.getpid(), ...) is not None:
        _caches[os.getpid()] = None
        warn(f"replies are not kept: `{state_folder() / 'replies.db'}` cannot be used: {error}")
