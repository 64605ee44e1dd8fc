"""Carries requests for `local/...` to the embedded server, which is started by the first of them, and again after it
died. Everything else goes on to the transport beneath."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from batchmill.llm.local import server
from batchmill.llm.local.provider import SCHEME, read_address
from batchmill.llm.transport import HttpReply, HttpRequest, Lines, Timeouts, Transport


class LocalTransport:
    """See the module. Starting the server is not part of what the timeouts are for."""

    def __init__(self, beneath: Transport) -> None:
        self._beneath = beneath

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpReply:
        """See Transport. Raises UsageError too, when there can be no server."""
        return await self._beneath.send(await _addressed(request), timeouts)

    def stream(self, request: HttpRequest, timeouts: Timeouts) -> Lines:
        """See Transport. Raises UsageError too, when there can be no server."""
        return _Lines(self._beneath, request, timeouts)

    async def close(self) -> None:
        """Close every connection. The server lives on: others may use it."""
        await self._beneath.close()


class _Lines:
    headers: Mapping[str, str] = {}

    def __init__(self, beneath: Transport, request: HttpRequest, timeouts: Timeouts) -> None:
        self._asked = beneath, request, timeouts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        beneath, request, timeouts = self._asked
        lines = beneath.stream(await _addressed(request), timeouts)
        async for line in lines:
            self.headers = lines.headers
            yield line


async def _addressed(request: HttpRequest) -> HttpRequest:
    """The request as the living server takes it."""
    if not request.url.startswith(SCHEME):
        return request
    name, options, path = read_address(request.url)
    found = await server.running(name, options)
    # a connection of its own: the server drops kept ones as it likes, and a request on one would seem to be lost
    headers = {**request.headers, "authorization": f"Bearer {found.key}", "connection": "close"}
    return replace(request, url=f"{found.url}/v1{path}", headers=headers)
