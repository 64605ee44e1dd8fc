"""One connection over which requests go, one after the other, and the connections to one server that are kept.

How bytes become a reply is here; which bytes a request is made of is in `direct`.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final, cast

import httptools

from batchmill.llm.transport import HttpReply, Timeouts, TransportError, origins

_MOST_HEAD = 1 << 16  # bytes of a reply's headers, and of anything else in it that is not its body
_PIECE = 1 << 18  # a larger body is written in pieces, so that neither the event loop nor memory fills with it
_UNPACKED: Final[Mapping[str, int]] = {"gzip": 31, "deflate": zlib.MAX_WBITS}  # what zlib calls each coding
_READ = 1 << 16  # bytes at once
_LOOK_EVERY = 1.0  # seconds between two looks at idle connections
_FAMILIES_DELAY = 0.25  # seconds until the next address of a name is tried beside the first (RFC 8305)
_LENIENCIES: Final = {  # those of aiohttp
    "lenient_headers": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_spaces_after_chunk_size": True,
}
_NEVER = float("inf")


class Peer:
    """One server, and the connections to it. `context` where it is spoken to over TLS."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, max_body: int) -> None:
        self.max_body = max_body
        # one for all: to allocate as much for each read takes six times as long as the read itself
        self.buffer = memoryview(bytearray(_READ))
        self.open: set[Connection] = set()
        self._address = host, port, context
        self._idle: list[Connection] = []  # the longest idle first
        self._sweeper: asyncio.TimerHandle | None = None

    def take(self, now: float) -> Connection | None:
        """A kept connection: the one used last, which is the least likely to be closed as the request leaves."""
        while self._idle:
            connection = self._idle.pop()
            if now - connection.heard < origins.KEEP_ALIVE:
                return connection
            connection.abort()
        return None

    def keep(self, connection: Connection) -> None:
        """Keep a connection that has no request, for a while."""
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = connection.loop.call_later(_LOOK_EVERY, self._sweep, connection.loop)

    def forget(self, connection: Connection) -> None:
        """Do not use a connection any more."""
        if connection in self._idle:
            self._idle.remove(connection)

    async def connect(self, url: str, within: float) -> Connection:
        """A new connection, within seconds. Raises TransportError."""
        loop = asyncio.get_running_loop()
        host, port, context = self._address
        more: dict[str, Any] = {}
        is_name = ":" not in host and not host.rpartition(".")[2].isdigit()
        if is_name and isinstance(loop, asyncio.BaseEventLoop):  # uvloop tries one address after the other
            more["happy_eyeballs_delay"] = _FAMILIES_DELAY
        try:
            async with asyncio.timeout(within):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, loop), host, port, ssl=context, **more
                )
        except (OSError, ValueError) as error:  # ValueError: a name that can be none
            raise origins.not_connected(error, url) from None
        return connection

    async def close(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self.open):
            connection.close()
        await asyncio.sleep(0)  # until the sockets are closed

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._idle and now - self._idle[0].heard >= origins.KEEP_ALIVE:
            self._idle.pop(0).abort()
        self._sweeper = loop.call_later(_LOOK_EVERY, self._sweep, loop) if self._idle else None


class Connection(asyncio.BufferedProtocol):
    """Takes one request at a time, by `ask`. `heard` is when (by the loop) anything last came or went."""

    def __init__(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.heard = loop.time()
        self._peer = peer
        self._answer: asyncio.Future[HttpReply] | None = None
        self._url = ""
        self._rest = memoryview(b"")  # of a request's body
        self._paused = False
        self._alarm: asyncio.TimerHandle | None = None
        self._rings_at = _NEVER

    def ask(
        self, url: str, head: bytes, body: bytes, timeouts: Timeouts, until: float, *, kept: bool
    ) -> asyncio.Future[HttpReply]:
        """Send a request. The reply, or the TransportError, is set in what is returned. `until` is by the loop's time;
        `kept` tells whether the connection may be used again. Whoever does not wait for the reply calls `give_up`."""
        answer = self._answer = self.loop.create_future()
        self._url, self._read, self._until, self._kept = url, timeouts.read or _NEVER, until, kept
        self._begin_reply()
        self._unread = 0  # bytes since the last that belonged to a body
        self._parser = httptools.HttpResponseParser(self)  # a new one: trailers of a reply would be in the next
        self._parser.set_dangerous_leniencies(**_LENIENCIES)
        if self._transport.is_closing():
            self._fail(origins.closed(url, sent=False))
            return answer
        self.heard = self.loop.time()
        self._watch()
        if len(body) <= _PIECE:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._rest = memoryview(body)
            self._write()
        if not self._transport.is_reading():
            self._transport.resume_reading()
        return answer

    def give_up(self, answer: asyncio.Future[HttpReply]) -> None:
        """Nobody waits for this answer any more: its connection cannot be used again."""
        if self._answer is answer:
            self.abort()

    def close(self) -> None:
        """Close, also where a reply is waited for."""
        self._fail(origins.closed(self._url))

    def abort(self) -> None:
        """Close at once."""
        self._answer, self._rest = None, memoryview(b"")
        self._peer.forget(self)
        self._transport.abort()

    # --- called by the loop ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is read before something was asked."""
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop says that it is none
        self._peer.open.add(self)
        self._transport.pause_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what comes: it is read before the loop does anything else."""
        return self._peer.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """A part of a reply. What comes unasked, or after a reply, may be the answer to nothing: the end."""
        if self._answer is None:
            self.abort()
            return
        self.heard = self.loop.time()
        self._unread += nbytes
        try:
            self._parser.feed_data(self._peer.buffer[:nbytes])
        except httptools.HttpParserUpgrade:
            self._kept = False
        except httptools.HttpParserError as error:
            self._kept = False
            if not self._whole:
                cause = error.__context__  # what one of the callbacks below raised
                self._fail(cause if isinstance(cause, TransportError) else origins.no_http(self._url))
                return
        if self._whole:
            self._finish()
        elif self._unread > _MOST_HEAD:
            self._fail(origins.no_http(self._url))

    def eof_received(self) -> None:
        """The server says no more; nor do we."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """What has come so far is all."""
        self._peer.open.discard(self)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._answer is None:
            self.abort()
        elif self._status and exc is None and self._ends_with_connection():
            self._kept = False
            self._finish()
        else:
            self._fail(origins.broken_off(self._url) if self._status else origins.closed(self._url))

    def pause_writing(self) -> None:
        """Enough is on its way."""
        self._paused = True

    def resume_writing(self) -> None:
        """Most of it went out."""
        self._paused = False
        self.heard = self.loop.time()
        self._write()

    def _write(self) -> None:
        while self._rest and not self._paused:
            piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            self._transport.write(piece)

    # --- called by the parser ----------------------------------------------------------------------------------------

    def _begin_reply(self) -> None:
        self._status, self._whole = 0, False
        self._fields: list[tuple[bytes, bytes]] = []
        self._body = bytearray()  # no list: a server may send two bytes at a time

    def on_message_begin(self) -> None:
        """Raises an error, which ends the parsing, where this is a second reply."""
        if self._whole:
            raise origins.no_http(self._url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; of trailers, nothing is kept."""
        if not self._status:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Take the status and the headers, unless this is but an interim reply."""
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        fields = b"".join(chain.from_iterable(self._fields))
        if status < 100 or len(fields) > _MOST_HEAD or b"\0" in fields:
            raise origins.no_http(self._url)
        self._headers = {_text(name).lower(): _text(value).rstrip(" \t") for name, value in self._fields}
        self._status, self._unread = status, 0
        if int(self._headers.get("content-length") or 0) > self._peer.max_body:
            raise origins.too_large(self._peer.max_body)

    def on_body(self, chunk: bytes) -> None:
        """A part of the body, as it was sent."""
        self._unread = 0
        self._body += chunk
        if len(self._body) > self._peer.max_body:
            raise origins.too_large(self._peer.max_body)

    def on_message_complete(self) -> None:
        """The reply is whole, if it was one."""
        if self._status:
            self._whole = True
            self._kept = self._kept and self._parser.should_keep_alive()
        else:
            self._begin_reply()

    # --- how it ends -------------------------------------------------------------------------------------------------

    def _ends_with_connection(self) -> bool:
        coding = self._headers.get("transfer-encoding", "").lower().rpartition(",")[2].strip()
        return "content-length" not in self._headers and coding != "chunked"

    def _finish(self) -> None:
        answer, body = self._answer, bytes(self._body)
        assert answer is not None
        self._body = bytearray()
        try:
            coding = self._headers.get("content-encoding")
            if coding is not None and body:
                body = self._unpacked(body, coding.lower())
        except TransportError as error:
            self._fail(error)
            return
        self._answer = None
        if self._kept and not self._rest and not self._transport.get_write_buffer_size():
            self._peer.keep(self)
        else:
            self.abort()
        if not answer.done():
            answer.set_result(HttpReply(self._status, self._headers, body))

    def _unpacked(self, body: bytes, coding: str) -> bytes:
        """The body as it was before it was packed. Never more than may be is unpacked."""
        if coding not in _UNPACKED:
            return body
        # what many servers call `deflate` lacks the header of zlib (RFC 9110, 8.4.1.2)
        bits = -zlib.MAX_WBITS if coding == "deflate" and body[0] & 15 != 8 else _UNPACKED[coding]
        unpacking, most = zlib.decompressobj(bits), self._peer.max_body
        try:
            unpacked = unpacking.decompress(body, most + 1)
        except zlib.error:
            raise origins.broken_off(self._url) from None
        if len(unpacked) > most:
            raise origins.too_large(most)
        if not unpacking.eof or unpacking.unused_data:
            raise origins.broken_off(self._url)
        return unpacked

    def _fail(self, error: TransportError) -> None:
        answer = self._answer
        self.abort()
        if answer is not None and not answer.done():
            answer.set_exception(error)

    # --- time --------------------------------------------------------------------------------------------------------

    def _due(self) -> float:
        return min(self.heard + self._read, self._until)

    def _watch(self) -> None:
        """Have `_look` called in time: mostly the timer of an earlier request rings early enough, and costs nothing."""
        due = self._due()
        if due >= self._rings_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._rings_at = due
        self._alarm = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._alarm, self._rings_at = None, _NEVER
        if self._answer is None:
            return
        if self.loop.time() >= self._due():
            self._fail(origins.too_late(self._url))
        else:
            self._watch()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
