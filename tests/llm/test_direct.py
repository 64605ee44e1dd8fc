"""What the direct transport does itself: framing, kept connections, hostile servers; and what it leaves to aiohttp.

What both transports have in common is in `test_http`.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from batchmill.llm.transport import HttpReply, HttpRequest, Timeouts, TransportError, connection, origins
from batchmill.llm.transport.connection import Connection, Peer
from batchmill.llm.transport.direct import DirectTransport
from batchmill.llm.transport.http import AiohttpTransport
from tests.llm.servers import Handler, Server, answering, saying, serving

QUICK = Timeouts(connect=5.0, read=5.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Wire(asyncio.Transport):
    """The other end of a connection, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        pass

    def abort(self) -> None:
        self.closed = True


def _asked(loop: asyncio.AbstractEventLoop, max_body: int = 1000) -> tuple[Connection, Wire, asyncio.Future[HttpReply]]:
    wire, connected = Wire(), Connection(Peer("127.0.0.1", 9, None, max_body), loop)
    connected.connection_made(wire)
    return connected, wire, connected.ask("http://h", b"", b"", Timeouts(read=None), float("inf"), kept=True)


def _heard(connected: Connection, data: bytes) -> None:
    """What a loop does with bytes that came."""
    while data:
        buffer = connected.get_buffer(-1)
        size = min(len(data), len(buffer))
        buffer[:size], data = data[:size], data[size:]
        connected.buffer_updated(size)


def _outcome(pieces: list[bytes], *, end: bool, max_body: int = 1000) -> object:
    """What became of a request that was answered in pieces."""
    loop = asyncio.new_event_loop()
    try:
        connected, _, answer = _asked(loop, max_body)
        for piece in pieces:
            if not answer.done():
                _heard(connected, piece)
        if end and not answer.done():
            connected.eof_received()
        if not answer.done():
            return None
        error = answer.exception()
        return (error.kind, error.sent) if isinstance(error, TransportError) else answer.result()
    finally:
        loop.close()


@st.composite
def _replies(draw: st.DrawFn) -> tuple[bytes, HttpReply]:
    """A reply as bytes, and what it says."""
    body = draw(st.binary(max_size=300))
    packing = draw(st.sampled_from(["", "gzip", "deflate"]))
    packed = {"": bytes, "gzip": lambda data: gzip.compress(data, mtime=0), "deflate": zlib.compress}[packing](body)
    headers = {"x-name": draw(st.sampled_from(["", "a", "b: c", "ä"]))} | (
        {"content-encoding": packing} if packing else {}
    )
    framing = draw(st.sampled_from(["length", "chunked", "end"]))
    data = packed
    if framing == "length":
        headers["content-length"] = str(len(packed))
    elif framing == "chunked":
        headers["transfer-encoding"] = "chunked"
        cut = draw(st.integers(0, len(packed)))
        parts = [part for part in (packed[:cut], packed[cut:]) if part]
        trailer = draw(st.sampled_from(["", "X-Name: trailer\r\n"])).encode()
        data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailer + b"\r\n"
    status = draw(st.sampled_from([200, 201, 400, 429, 503]))
    interim = b"HTTP/1.1 103 Early Hints\r\nX-Name: no\r\n\r\n" * draw(st.integers(0, 2))
    lines = "".join(f"{name.title()}: {value}\r\n" for name, value in headers.items())
    return interim + f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + data, HttpReply(status, headers, body)


@given(_replies(), st.lists(st.integers(0, 900), max_size=8))
def test_a_reply_is_the_same_wherever_it_was_cut(reply: tuple[bytes, HttpReply], cuts: list[int]) -> None:
    data, said = reply
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[start:stop] for start, stop in pairwise(places) if start < stop]
    assert _outcome(pieces, end=True) == said


@given(_replies(), st.data())
def test_a_reply_that_was_cut_short_is_none(reply: tuple[bytes, HttpReply], data: st.DataObject) -> None:
    sent, said = reply
    if "content-length" not in said.headers and "transfer-encoding" not in said.headers:
        return  # its end is that of the connection
    short = sent[: data.draw(st.integers(0, len(sent) - 1))]
    if said.headers.get("content-length") != "0":
        assert _outcome([short], end=True) == ("reset", True)


@given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from([b"", OK[:-2], b"HTTP/1.1 200 OK\r\n\r\n"]))
def test_whatever_a_server_says_there_is_a_reply_or_a_transport_error(pieces: list[bytes], start: bytes) -> None:
    assert _outcome([piece for piece in (start, *pieces) if piece], end=True) is not None


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 ", b"O" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 500 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10),
        (CHUNKED + b"5;x=", b"y" * 1000),
        (CHUNKED + b"0\r\nX: ", b"y" * 1000),
        (CHUNKED + b"0\r\n", b"X: " + b"y" * 500 + b"\r\n"),
        (b"", b"\r\n" * 500),
    ],
)
def test_what_is_no_body_does_not_fill_memory(start: bytes, more: bytes) -> None:
    assert _outcome([start, *[more] * 300], end=False) == ("malformed", True)


def test_a_head_is_bounded_also_where_it_comes_at_once() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"Content-Length: 0\r\n\r\n"
    assert _outcome([head], end=False) == ("malformed", True)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("raw", [False, True])
def test_a_bomb_is_not_unpacked(coding: str, raw: bool) -> None:
    bits = {"gzip": 31, "deflate": -15 if raw else 15}[coding]
    packing = zlib.compressobj(9, zlib.DEFLATED, bits)
    bomb = packing.compress(b"\0" * 5_000_000) + packing.flush()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    assert _outcome([head, bomb], end=False, max_body=100_000) == ("too_large", True)


def test_who_gives_up_a_reply_that_is_there_does_not_hurt_the_next_request() -> None:
    loop = asyncio.new_event_loop()
    connected, wire, answer = _asked(loop)
    _heard(connected, OK)
    following = connected.ask("http://h", b"", b"", Timeouts(read=None), float("inf"), kept=True)
    connected.give_up(answer)
    assert not wire.closed
    _heard(connected, OK)
    assert following.result().body == b"{}"
    loop.close()


# --- on sockets ------------------------------------------------------------------------------------------------------


def _run(handler: Handler, use: Callable[[DirectTransport, Server], Awaitable[object]], **options: object) -> Server:
    async def run() -> Server:
        transport = DirectTransport()
        async with serving(handler, **options) as server:  # type: ignore[arg-type]
            try:
                await use(transport, server)
            finally:
                await transport.close()
            return server

    return asyncio.run(run())


async def _twice(transport: DirectTransport, server: Server) -> None:
    for _ in range(2):
        assert (await transport.send(HttpRequest(server.url), QUICK)).body == b"{}"


@pytest.mark.parametrize("extra", [b"x", OK, b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"])
def test_bytes_after_a_reply_are_no_reply_to_the_next_request(extra: bytes) -> None:
    async def talkative(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + extra)

    assert _run(talkative, _twice).connections == 2


@pytest.mark.parametrize("header", ["Connection: close", "Connection: Close", "X: y"])
def test_a_connection_is_kept_unless_the_server_closes_it(header: str) -> None:
    assert _run(answering(b"{}", "200 OK", header), _twice).connections == (1 if header == "X: y" else 2)


def test_a_connection_is_not_kept_where_the_request_says_so() -> None:
    async def use(transport: DirectTransport, server: Server) -> None:
        for _ in range(2):
            await transport.send(HttpRequest(server.url, headers={"Connection": "close"}), QUICK)

    assert _run(answering(), use).connections == 2


def test_trailers_are_not_headers_of_the_next_reply() -> None:
    replies: list[HttpReply] = []

    async def use(transport: DirectTransport, server: Server) -> None:
        for _ in range(2):
            replies.append(await transport.send(HttpRequest(server.url), QUICK))

    async def trailing(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\n{}\r\n0\r\nX-A: b\r\n\r\n")

    assert _run(trailing, use).connections == 1
    assert replies[0] == replies[1] == HttpReply(200, {"transfer-encoding": "chunked"}, b"{}")


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0)


@pytest.mark.parametrize("unasked", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
def test_a_connection_that_the_server_gave_up_is_not_used_again(unasked: bytes) -> None:
    async def once(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        again.set()
        await told.wait()
        writer.write(unasked)
        raise ConnectionResetError

    async def use(transport: DirectTransport, server: Server) -> None:
        await transport.send(HttpRequest(server.url), QUICK)
        (peer,) = transport._peers.values()
        told.set()
        await _until(lambda: not peer.open)
        await transport.send(HttpRequest(server.url), QUICK)

    again, told = asyncio.Event(), asyncio.Event()
    assert _run(once, use).connections == 2


def test_a_request_that_met_a_closing_connection_is_not_sent_again() -> None:
    async def use(transport: DirectTransport, server: Server) -> None:
        await transport.send(HttpRequest(server.url), QUICK)
        with pytest.raises(TransportError) as caught:
            await transport.send(HttpRequest(server.url), QUICK)
        assert (caught.value.kind, caught.value.sent) == ("reset", True)

    async def first_only(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(served) == 1:
            raise ConnectionResetError
        served.append(1)
        writer.write(OK)

    served: list[int] = []
    server = _run(first_only, use)
    assert (server.connections, len(server.heads)) == (1, 2)


def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(transport: DirectTransport, server: Server) -> None:
        await transport.send(HttpRequest(server.url), QUICK)
        await asyncio.wait_for(server.gone.wait(), 5)

    monkeypatch.setattr(origins, "KEEP_ALIVE", 0.0)
    monkeypatch.setattr(connection, "_LOOK_EVERY", 0.01)
    assert _run(answering(), use).gone.is_set()


def test_a_connection_that_was_idle_for_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "KEEP_ALIVE", 0.0)
    assert _run(answering(), _twice).connections == 2


def test_closing_ends_what_is_waited_for() -> None:
    async def use(transport: DirectTransport, server: Server) -> None:
        task = asyncio.create_task(transport.send(HttpRequest(server.url), QUICK))
        await server.asked.wait()
        await transport.close()
        with pytest.raises(TransportError) as caught:
            await task
        assert (caught.value.kind, caught.value.sent) == ("reset", True)

    _run(saying(b"HTTP/1.1 200 OK\r\n\r\nhalf", then="hang"), use)


@asynccontextmanager
async def _deaf(said: bytes) -> AsyncIterator[str]:
    """A server that reads no body; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await over.wait()
        writer.close()

    over = asyncio.Event()
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 16)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        listening.close()


@pytest.mark.parametrize("said", [b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}", b""])
def test_a_server_that_reads_no_body_may_answer_early_or_is_too_late(said: bytes) -> None:
    async def run() -> None:
        transport = DirectTransport()
        async with _deaf(said) as url:
            asked = transport.send(HttpRequest(url, b"x" * 30_000_000), Timeouts(read=5.0 if said else 0.05))
            if said:
                assert (await asked).status == 413
            else:
                with pytest.raises(TransportError, match="in time"):
                    await asked
            (peer,) = transport._peers.values()
            await _until(lambda: not peer.open)
            await transport.close()

    asyncio.run(run())


def test_connections_over_tls_are_kept_and_carry_large_bodies(tmp_path: object) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(f"{tmp_path}/ca.pem")
    body = bytes(range(256)) * 10_000

    async def use(transport: DirectTransport, server: Server) -> None:
        for _ in range(3):
            reply = await transport.send(HttpRequest(server.url, body, ca_file=f"{tmp_path}/ca.pem"), QUICK)
            assert reply.body == b"{}" * 100_000

    server = _run(answering(b"{}" * 100_000), use, context=context)
    assert server.connections == 1
    assert server.bodies == [body] * 3


def test_it_runs_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def run() -> None:
        transport = DirectTransport()
        async with serving(answering()) as server:
            for size in (10, 10, 3_000_000):
                assert (await transport.send(HttpRequest(server.url, b"x" * size), QUICK)).body == b"{}"
            assert server.connections == 1
            await transport.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


# --- what is sent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "?a=b",
        "/v1/models/gemini-2.0-flash:generateContent?alt=sse&x=a/b?c",
        "/v1//chat/",
        "/a/../b/./c",
        "/a%41%2fb",
        "/ä b?c=ü d#there",
        "/~a/(b)/c,d;e=f/@!$&'*+",
        "?q='*'()!$",
    ],
)
def test_both_transports_send_the_same(path: str) -> None:
    heads: list[tuple[str, set[str]]] = []

    async def use(kind: type[DirectTransport | AiohttpTransport], login: str) -> None:
        transport = kind()
        async with serving(answering()) as server:
            url = server.url.replace("://", f"://{login}") + path
            for headers in ({}, {"X-Key": "k", "content-type": "application/json"}, {"USER-AGENT": "me"}):
                await transport.send(HttpRequest(url, b"{}", headers), QUICK)
            port = server.url.rpartition(":")[2]
            heads.extend(_said(head.replace(port, "port")) for head in server.heads)
            await transport.close()

    async def run() -> None:
        for login in ("", "me:pa%20ss@"):
            heads.clear()
            await use(DirectTransport, login)
            own = heads.copy()
            heads.clear()
            await use(AiohttpTransport, login)
            assert own == heads

    asyncio.run(run())


def _said(head: str) -> tuple[str, set[str]]:
    first, *lines = head.strip().split("\r\n")
    return first, {":".join((line.partition(":")[0].lower(), line.partition(":")[2])) for line in lines}


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
def test_an_address_of_ipv6_is_one() -> None:
    server = _run(answering(), _twice, host="::1")
    assert server.connections == 1
    assert f"host: {server.url.removeprefix('http://')}\r\n" in server.heads[0]


def test_requests_that_differ_in_their_headers_fill_no_memory() -> None:
    async def use(transport: DirectTransport, server: Server) -> None:
        for number in range(600):
            await transport.send(HttpRequest(server.url, headers={"x-number": str(number)}), QUICK)
        assert len(transport._ways) <= 256

    server = _run(answering(), use)
    assert server.connections == 1
    assert "x-number: 599\r\n" in server.heads[599]


def test_a_whole_reply_needs_no_general_client() -> None:
    code = "import batchmill.llm.client, batchmill.llm.transport.direct, sys; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
