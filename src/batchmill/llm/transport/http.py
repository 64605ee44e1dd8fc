"""The transport over aiohttp: one session for everything, and every way in which an exchange can fail, by name.

What a reply means is not known here, nor who is asked through which proxy: see `origins`.
"""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import lru_cache

import aiohttp

from batchmill.llm.transport import HttpReply, HttpRequest, StatusError, Timeouts, TransportError, origins
from batchmill.llm.transport.origins import MAX_BODY

_SMALL = 1 << 20  # larger bodies are written in pieces, so that the event loop does not stall


class AiohttpTransport:
    """Requests on kept connections, as many as are asked for: how many at once is for the limits to say.

    `proxy` and `ca_file` (PEM certificates to trust beside the system's) are for requests that name none, see `Routes`.
    No redirect is followed: it would take the key to another host. Replies larger than `max_body` bytes, unpacked, are
    refused. One for each event loop.
    """

    def __init__(self, *, proxy: str = "", ca_file: str = "", max_body: int = MAX_BODY) -> None:
        self._max_body = max_body
        self._session: aiohttp.ClientSession | None = None
        self._routes = origins.Routes(proxy, ca_file)

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
        proxy, context = self._routes.of(request)
        body = request.body
        return await session.request(
            request.method,
            request.url,
            data=body if len(body) < _SMALL else io.BytesIO(body),
            headers=request.headers,
            allow_redirects=False,
            timeout=_client_timeout(timeouts),
            proxy=proxy or None,
            ssl=context or True,
        )

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=origins.KEEP_ALIVE, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": origins.USER_AGENT},
            skip_auto_headers=("Accept", "Accept-Encoding"),  # answers are small: not worth unpacking
        )
        return self._session

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
                raise origins.too_large(self._max_body)
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
            raise origins.too_large(most)
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


def _failure(error: Exception, url: str) -> TransportError:
    """What went wrong, and whether the request may have been received: only a failed connection rules it out."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        place = f"`{origins.origin_of(url)}`"
        return TransportError("connect", f"the proxy refused to reach {place}: status {error.status}", sent=False)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return origins.not_connected(error, url)
    if isinstance(error, TimeoutError):
        return origins.too_late(url)
    if isinstance(error, aiohttp.ClientPayloadError):
        return origins.broken_off(url)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return origins.closed(url)
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        place = f"`{origins.origin_of(url)}`"
        return TransportError("connect", f"{place} cannot be asked: {type(error).__name__}", sent=False)
    return origins.no_http(url)
