"""The transport for whole replies: POST over kept connections, at a fraction of what a general client costs.

What needs more, such as a proxy, a stream, or a URL that must be rewritten first, goes to `AiohttpTransport`. How a
reply is read is in `connection`.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchmill.llm.extras import needed
from batchmill.llm.transport import HttpReply, HttpRequest, Lines, Timeouts, origins
from batchmill.llm.transport.connection import Peer
from batchmill.llm.transport.origins import MAX_BODY

if TYPE_CHECKING:
    from batchmill.llm.transport.http import AiohttpTransport

_MOST_WAYS = 256
_PORTS = {"http": 80, "https": 443}
# URLs that are sent as they stand: nothing to escape, no login, no dot segments, no fragment
_PATH = r"[A-Za-z0-9._~!$&'()*+,;=:@-]"
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
    rf"(?P<path>(?:/(?!\.){_PATH}*)*)(?P<query>(?:\?(?:{_PATH}|[/?])*)?)"
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_FRAMING = frozenset({"host", "content-length", "content-encoding", "transfer-encoding", "expect", "upgrade", "te"})


@dataclass(frozen=True, slots=True)
class _Way:
    """What requests with one URL and the same headers have in common: `head` up to the body's length."""

    peer: Peer
    head: bytes = field(repr=False)
    kept: bool


class DirectTransport:
    """Requests on kept connections, as many as are asked for: how many at once is for the limits to say.

    `proxy`, `ca_file` and `max_body` are as for `AiohttpTransport`, and so is all that is seen of a request; none is
    ever sent a second time. One for each event loop.
    """

    def __init__(self, *, proxy: str = "", ca_file: str = "", max_body: int = MAX_BODY) -> None:
        self._proxy, self._ca_file, self._max_body = proxy, ca_file, max_body
        self._routes = origins.Routes(proxy, ca_file)
        self._peers: dict[tuple[str, ...], Peer] = {}
        self._ways: dict[tuple[object, ...], _Way | None] = {}
        self._general: AiohttpTransport | None = None

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpReply:
        """The whole reply, of any status. Raises TransportError."""
        way = self._way(request)
        if way is None:
            return await self._others().send(request, timeouts)
        now = asyncio.get_running_loop().time()
        until = float("inf") if timeouts.total is None else now + timeouts.total
        connection = way.peer.take(now)
        if connection is None:
            connection = await way.peer.connect(request.url, min(timeouts.connect, until - now))
        head = b"%b%d\r\n\r\n" % (way.head, len(request.body))
        answer = connection.ask(request.url, head, request.body, timeouts, until, kept=way.kept)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.give_up(answer)
            raise

    def stream(self, request: HttpRequest, timeouts: Timeouts) -> Lines:
        """The lines of a streamed reply. Raises StatusError, and TransportError also midway."""
        return self._others().stream(request, timeouts)

    async def close(self) -> None:
        """Close every connection."""
        for peer in self._peers.values():
            await peer.close()
        if self._general is not None:
            await self._general.close()

    def _others(self) -> AiohttpTransport:
        if self._general is None:
            needed("aiohttp")
            from batchmill.llm.transport.http import AiohttpTransport  # heavy, and mostly not needed

            self._general = AiohttpTransport(proxy=self._proxy, ca_file=self._ca_file, max_body=self._max_body)
        return self._general

    def _way(self, request: HttpRequest) -> _Way | None:
        """The way of a request; None where it is for the other transport."""
        key = (request.method, request.url, request.proxy, request.ca_file, *request.headers.items())
        try:
            return self._ways[key]
        except KeyError:
            if len(self._ways) >= _MOST_WAYS:
                self._ways.clear()
            way = self._ways[key] = self._find_way(request)
            return way

    def _find_way(self, request: HttpRequest) -> _Way | None:
        found = _URL.fullmatch(request.url)
        if request.method != "POST" or found is None or not _are_plain(request):
            return None
        scheme, host, port = found["scheme"], found["host"], int(found["port"] or _PORTS[found["scheme"]])
        try:
            proxy, context = self._routes.of(request)
        except ValueError:  # brackets around what is no address: it is refused in one place
            return None
        if proxy or port > 65535:
            return None
        of_peer = (scheme, host, str(port), request.ca_file)
        peer = self._peers.get(of_peer)
        if peer is None:
            context = context if scheme == "https" else None
            peer = self._peers[of_peer] = Peer(host.strip("[]"), port, context, self._max_body)
        named = host if port == _PORTS[scheme] else f"{host}:{port}"
        return _Way(peer, _head(request, named, (found["path"] or "/") + found["query"]), not _closes(request))


def _are_plain(request: HttpRequest) -> bool:
    """Whether the headers are sent as they stand, and say nothing about how the body is sent."""
    return all(
        _NAME.fullmatch(name)
        and _VALUE.fullmatch(value)
        and name.lower() not in _FRAMING
        and (name.lower() != "connection" or value == "close")
        for name, value in request.headers.items()
    )


def _closes(request: HttpRequest) -> bool:
    return any(name.lower() == "connection" for name in request.headers)


def _head(request: HttpRequest, host: str, target: str) -> bytes:
    own = {"user-agent": origins.USER_AGENT, "content-type": "application/octet-stream"}
    given = {name.lower() for name in request.headers}
    headers = [("host", host), *request.headers.items(), *(pair for pair in own.items() if pair[0] not in given)]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"POST {target} HTTP/1.1\r\n{lines}content-length: ".encode("ascii")
