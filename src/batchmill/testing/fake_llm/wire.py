"""HTTP/1.1 on an asyncio protocol: requests are parsed, replies written, slowly or badly where that is asked.

One request of a connection at a time (what is pipelined waits). What a request means is not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Mapping
from enum import Enum, auto
from http import HTTPStatus
from typing import NamedTuple

MAX_HEAD = 64 * 1024
MAX_BODY = 256 * 1024 * 1024
_STATUS = {code.value: f"HTTP/1.1 {code.value} {code.phrase}\r\n" for code in HTTPStatus}


class HttpRequest(NamedTuple):
    """One whole request. Header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Ending(Enum):
    """What becomes of the connection after a reply. `HANG` sends nothing and waits until the client has gone; `RESET`
    sends only `pieces`, if there are any."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    HANG = auto()


class Reply(NamedTuple):
    """What is sent: after `delay` seconds the body, or its `pieces` with `pause` seconds between them.

    `headers` are whole lines, each with its CRLF. Pieces are sent as they are, below a Content-Length of their sum,
    or as chunks where `chunked`; `length` can claim another. `done(delivered)` is called once, at the end.
    """

    status: int
    body: bytes = b""
    headers: str = ""
    content_type: str = "application/json"
    delay: float = 0.0
    pieces: tuple[bytes, ...] = ()
    pause: float = 0.0
    chunked: bool = False
    length: int | None = None
    ending: Ending = Ending.KEEP
    done: Callable[[bool], None] | None = None


class BadHttp(Exception):
    """A request that is no HTTP, or too large; `status` is the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(_STATUS[status])
        self.status = status


class _Head(NamedTuple):
    method: str
    path: str
    query: str
    headers: dict[str, str]
    length: int  # of the body; -1 where it comes in chunks


def parse_head(data: bytes) -> _Head:
    """The request line and the headers, without the empty line after them. Raises BadHttp."""
    line, *rest = data.decode("latin-1").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadHttp(400)
    headers: dict[str, str] = {}
    for field in rest:
        name, colon, value = field.partition(":")
        if not colon:
            raise BadHttp(400)
        headers[name.lower()] = value.strip()
    path, _, query = words[1].partition("?")
    return _Head(words[0], path, query, headers, _body_length(headers))


def _body_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        return -1
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise BadHttp(400)
    if int(text) > MAX_BODY:
        raise BadHttp(413)
    return int(text)


class Connection(asyncio.Protocol):
    """One client. `serve` makes a reply of each request, at once; the waiting is done here."""

    def __init__(self, serve: Callable[[HttpRequest], Reply], open_connections: set[Connection]) -> None:
        self._serve = serve
        self._open = open_connections
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._chunks = bytearray()
        self._head: _Head | None = None
        self._reply: Reply | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone, maybe before its reply."""
        self._open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._finish(delivered=False)

    def data_received(self, data: bytes) -> None:
        """More bytes of requests."""
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        """Answer the next request, if it is there and none is being answered."""
        while self._reply is None and self._buffer and not self._transport.is_closing():
            try:
                request = self._take()
            except BadHttp as error:
                self._begin(Reply(error.status, b"{}", ending=Ending.CLOSE))
                return
            if request is None:
                return
            self._begin(self._serve(request))

    def _take(self) -> HttpRequest | None:
        """The next request, once it is whole. Raises BadHttp."""
        head = self._head or self._take_head()
        if head is None:
            return None
        body = self._take_chunks() if head.length < 0 else self._take_bytes(head.length)
        if body is None:
            return None
        self._head = None
        return HttpRequest(head.method, head.path, head.query, head.headers, body)

    def _take_head(self) -> _Head | None:
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD:
                raise BadHttp(431)
            return None
        self._head = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        if self._head.headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._head

    def _take_bytes(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    def _take_chunks(self) -> bytes | None:
        while (end := self._buffer.find(b"\r\n", 0, 1024)) >= 0:
            try:
                size = int(self._buffer[:end].partition(b";")[0], 16)
            except ValueError:
                raise BadHttp(400) from None
            if size < 0 or len(self._chunks) + size > MAX_BODY:
                raise BadHttp(413)
            if len(self._buffer) < end + size + 4:
                return None
            self._chunks += self._buffer[end + 2 : end + 2 + size]
            del self._buffer[: end + size + 4]
            if size == 0:
                body, self._chunks = bytes(self._chunks), bytearray()
                return body
        return None

    def _begin(self, reply: Reply) -> None:
        self._reply = reply
        if reply.ending is Ending.HANG:
            return
        if reply.delay > 0:
            self._timer = self._loop.call_later(reply.delay, self._send, reply)
        else:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.ending is Ending.RESET and not reply.pieces:
            self._end(reply)
        elif not reply.pieces:
            self._transport.write(_head_of(reply, len(reply.body)) + reply.body)
            self._end(reply)
        else:
            self._transport.write(_head_of(reply, sum(map(len, reply.pieces))))
            self._send_piece(reply, 0)

    def _send_piece(self, reply: Reply, index: int) -> None:
        """Send pieces up to the next pause."""
        while index < len(reply.pieces):
            piece = reply.pieces[index]
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
            index += 1
            if reply.pause > 0 and index < len(reply.pieces):
                self._timer = self._loop.call_later(reply.pause, self._send_piece, reply, index)
                return
        if reply.chunked and reply.ending is Ending.KEEP:
            self._transport.write(b"0\r\n\r\n")
        self._end(reply)

    def _end(self, reply: Reply) -> None:
        self._finish(delivered=reply.ending is Ending.KEEP)
        if reply.ending is Ending.RESET:
            self.reset()
        elif reply.ending is Ending.CLOSE:
            self._transport.close()
        else:
            self._loop.call_soon(self._advance) if self._buffer else None

    def _finish(self, *, delivered: bool) -> None:
        reply, self._reply = self._reply, None
        if reply is not None and reply.done is not None:
            reply.done(delivered)

    def reset(self) -> None:
        """End the connection so that the client sees it reset, not closed."""
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _head_of(reply: Reply, length: int) -> bytes:
    size = length if reply.length is None else reply.length
    framing = "Transfer-Encoding: chunked" if reply.chunked else f"Content-Length: {size}"
    status = _STATUS.get(reply.status) or f"HTTP/1.1 {reply.status} Other\r\n"
    return f"{status}Content-Type: {reply.content_type}\r\n{framing}\r\n{reply.headers}\r\n".encode("latin-1")
