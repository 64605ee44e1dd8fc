"""The transport over aiohttp: one session for everything, and every way in which an exchange can fail, by name.

What a reply means is not known here. Messages name the server by its origin alone: never a header, a query or a
password.
"""

from __future__ import annotations

import io
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from batchmill import __version__
from batchmill.llm.transport import HttpReply, HttpRequest, StatusError, Timeouts, TransportError

MAX_BODY = 64 * 1024 * 1024
_KEEP_ALIVE = 4.0  # seconds that an idle connection is kept: many servers close theirs after 5, as a request may leave
_SMALL = 1 << 20  # larger bodies are written in pieces, so that the event loop does not stall
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class AiohttpTransport:
    """Requests on kept connections, as many as are asked for: how many at once is for the limits to say.

    `proxy` and `ca_file` (PEM certificates to trust beside the system's) are for requests that name none; without
    them `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` hold, except for loopback. No redirect is followed: it would take
    the key to another host. Replies larger than `max_body` bytes, unpacked, are refused. One for each event loop.
    """

    def __init__(self, *, proxy: str = "", ca_file: str = "", max_body: int = MAX_BODY) -> None:
        self._proxy, self._ca_file, self._max_body = proxy, ca_file, max_body
        self._session: aiohttp.ClientSession | None = None
        self._routes: dict[tuple[str, str, str], tuple[str | None, ssl.SSLContext | bool]] = {}

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpReply:
        """The whole reply, of any status. Raises TransportError."""
        try:
            response = await self._open(request, timeouts)
            return HttpReply(response.status, _lower(response), await self._body(response))
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError, ValueError) as error:
            raise _failure(error, request.url) from None

    def stream(self, request: HttpRequest, timeouts: Timeouts) -> AiohttpLines:
        """The lines of a streamed reply. Raises StatusError, and TransportError also midway."""
        return AiohttpLines(self, request, timeouts)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _open(self, request: HttpRequest, timeouts: Timeouts) -> aiohttp.ClientResponse:
        session = self._session or self._new_session()
        proxy, context = self._route(request)
        body = request.body
        return await session.request(
            request.method,
            request.url,
            data=body if len(body) < _SMALL else io.BytesIO(body),
            headers=request.headers,
            allow_redirects=False,
            timeout=_client_timeout(timeouts),
            proxy=proxy,
            ssl=context,
        )

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"batchmill/{__version__}"},
            skip_auto_headers=("Accept", "Accept-Encoding"),  # answers are small: not worth unpacking
        )
        return self._session

    def _route(self, request: HttpRequest) -> tuple[str | None, ssl.SSLContext | bool]:
        """The proxy and the TLS context of a request: the same for all requests of an origin."""
        end = request.url.find("/", 8)
        key = (request.url[:end] if end > 0 else request.url, request.proxy, request.ca_file)
        route = self._routes.get(key)
        if route is None:
            proxy = request.proxy or self._proxy or _proxy_of_environment(request.url)
            context = _tls_context(request.ca_file or self._ca_file)
            route = self._routes[key] = (proxy or None, context)
        return route

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        content, size = response.content, response.content_length or 0
        chunks: list[bytes] = []
        try:
            if size <= self._max_body:
                size = 0
                while chunk := await content.readany():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self._max_body:
                        break
            if size > self._max_body:
                raise TransportError("too_large", f"the reply is larger than {self._max_body} bytes", sent=True)
        except BaseException:
            response.close()
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class AiohttpLines:
    """The lines of one streamed reply, as an asynchronous iterator; the request leaves with the first `anext`."""

    def __init__(self, transport: AiohttpTransport, request: HttpRequest, timeouts: Timeouts) -> None:
        self.headers: Mapping[str, str] = {}
        self._transport, self._request, self._timeouts = transport, request, timeouts
        self._lines = self._read()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._lines

    async def __anext__(self) -> bytes:
        return await anext(self._lines)

    async def aclose(self) -> None:
        """Give the connection up, wherever the reading stands."""
        await self._lines.aclose()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        transport = self._transport
        try:
            response = await transport._open(self._request, self._timeouts)
            self.headers = _lower(response)
            if not 200 <= response.status < 300:
                raise StatusError(HttpReply(response.status, self.headers, await transport._body(response)))
            try:
                async for line in _lines_of(response.content, transport._max_body):
                    yield line
            finally:
                response.close()
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError, ValueError) as error:
            raise _failure(error, self._request.url) from None


async def _lines_of(content: aiohttp.StreamReader, most: int) -> AsyncIterator[bytes]:
    """Lines without their ends; all of them together hold `most` bytes."""
    begun: list[bytes] = []  # of a line whose end has not come
    size = 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > most:
            raise TransportError("too_large", f"the reply is larger than {most} bytes", sent=True)
        first, *others = chunk.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun).removesuffix(b"\r")
            begun = [other]
    if any(begun):
        yield b"".join(begun)


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


@lru_cache(maxsize=64)
def _client_timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeouts.total, connect=timeouts.connect, sock_read=timeouts.read)


def _proxy_of_environment(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _LOOPBACK or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    return getproxies().get(parts.scheme, "")


def _tls_context(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise TransportError("tls", f"cannot read the certificates in `{ca_file}`: {error}", sent=False) from None
    return context


def origin_of(url: str) -> str:
    """`scheme://host:port` of a URL, without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _failure(error: Exception, url: str) -> TransportError:
    """What went wrong, and whether the request may have been received: only a failed connection rules it out."""
    place = f"`{origin_of(url)}`"
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return TransportError("tls", f"no secure connection to {place}: {_reason(error)}", sent=False)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransportError("timeout", f"no connection to {place} in time", sent=False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return TransportError("connect", f"the proxy refused to reach {place}: status {error.status}", sent=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return TransportError("connect", f"cannot connect to {place}: {_reason(error)}", sent=False)
    if isinstance(error, TimeoutError):
        return TransportError("timeout", f"no answer of {place} in time", sent=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return TransportError("reset", f"the answer of {place} broke off", sent=True)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return TransportError("reset", f"{place} closed the connection", sent=True)
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return TransportError("connect", f"{place} cannot be asked: {type(error).__name__}", sent=False)
    return TransportError("malformed", f"what {place} answered is no HTTP", sent=True)


def _reason(error: Exception) -> str:
    """What the system says, without the address that aiohttp puts before it."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number > 0 and not isinstance(cause, ssl.SSLError):
        return os.strerror(number).lower()
    return (getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or type(cause).__name__).lower()
