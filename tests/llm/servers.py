"""Small servers on loopback that do one thing, mostly wrong: what a transport must live with."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Hands each request, head and body as they came, to a handler; `heads` and `bodies` are what arrived."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Event()
        self.asked = asyncio.Event()
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode("latin-1"))
                self.bodies.append(await reader.readexactly(_length(head)))
                self.asked.set()
                await self._handler(self.bodies[-1], reader, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)


@asynccontextmanager
async def serving(
    handler: Handler, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """The server, at its `url`."""
    server = Server(handler)
    listening = await asyncio.start_server(server._serve, host, 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http{'s' if context else ''}://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        yield server
    finally:
        listening.close()


def answering(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> Handler:
    """A whole reply."""
    lines = "".join(f"{header}\r\n" for header in headers)

    async def handle(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return handle


def saying(data: bytes, *, then: str = "close") -> Handler:
    """Bytes as they are; then the connection is closed, reset, or kept without another word."""

    async def handle(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if then == "hang":
            await writer.drain()
            await reader.read()
            raise ConnectionResetError
        if then == "reset":
            writer.transport.abort()
            raise ConnectionResetError
        await writer.drain()
        raise ConnectionResetError

    return handle
