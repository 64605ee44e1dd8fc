"""HTTP of the fake service on real sockets: whatever way requests come in, and replies as badly as asked."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.testing import FakeLLM
from batchmill.testing.fake_llm.wire import BadHttp, parse_head
from tests.llm.fake.clients import chat_body

Script = Callable[[FakeLLM, asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def _chat(text: str = "x", **more: Any) -> bytes:
    body = json.dumps(chat_body("openai", text, **more)).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _play(conversation: Script, **options: Any) -> FakeLLM:
    """Play a script against a service in the same loop, on one connection."""

    async def play() -> FakeLLM:
        async with asyncio.timeout(20), FakeLLM(**options) as fake:
            host, port = fake.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            await conversation(fake, reader, writer)
            writer.close()
        return fake

    return asyncio.run(play())


async def _reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next reply: its status and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Content-Length"))
    return int(head.split(" ")[1]), await reader.readexactly(int(length))


def test_a_connection_is_used_again_and_pipelined_requests_are_answered_in_order() -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(_chat(f"{n}") for n in range(20)))
        texts = [json.loads((await _reply(reader))[1])["choices"][0]["message"]["content"] for _ in range(20)]
        assert texts == [f"{n}" for n in range(20)]
        assert fake.counts.answered == 20

    _play(script, answer="echo", latency="1ms")


def test_a_request_that_comes_byte_by_byte_is_understood() -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in _chat():
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await _reply(reader))[0] == 200

    _play(script)


def test_a_body_in_chunks_is_put_together() -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps(chat_body("openai", "in pieces")).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 7):
            piece = body[start : start + 7]
            writer.write(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert b"in pieces" in (await _reply(reader))[1]

    _play(script, answer="echo")


def test_a_client_that_asks_first_whether_to_send_is_told_to() -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _, body = _chat().partition(b"\r\n\r\n")
        writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await _reply(reader))[0] == 200

    _play(script)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", 413),
        (b"GET /" + b"x" * 70_000, 431),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
    ],
)
def test_what_is_no_request_is_told_so(data: bytes, status: int) -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        assert (await _reply(reader))[0] == status

    _play(script)


@given(st.binary(max_size=200))
def test_a_head_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    read: object
    try:
        head = parse_head(b"POST /path?key=1 HTTP/1.1\r\n" + data)
        read = (head.path, head.query)
    except BadHttp as error:
        read = error.status
    assert read in (("/path", "key=1"), 400, 413)


@pytest.mark.parametrize("fault", ["reset", "cut"])
def test_a_reset_is_a_reset(fault: str) -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, (host, port))
            await loop.sock_sendall(client, _chat())
            if fault == "cut":
                assert (await loop.sock_recv(client, 10_000)).startswith(b"HTTP/1.1 200 OK")
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(client, 10_000)
        assert fake.counts.abandoned == 1
        assert fake.counts.billed == (fault == "cut")

    _play(script, script=[fault])


def test_a_hang_lasts_until_the_client_goes() -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_chat())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        assert fake.counts.in_flight == 1
        writer.close()
        await writer.wait_closed()
        while fake.counts.in_flight:
            await asyncio.sleep(0)
        assert fake.counts.abandoned == 1

    _play(script, script=["hang"])


def test_a_slow_drip_comes_in_pieces_and_whole() -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_chat("all of it"))
        status, body = await _reply(reader)
        assert status == 200
        assert json.loads(body)["choices"][0]["message"]["content"] == "all of it"

    _play(script, script=["drip"], drip=0.001, answer="echo")


def test_a_client_that_goes_before_its_reply_is_noticed() -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_chat())
        while not fake.counts.in_flight:
            await asyncio.sleep(0)
        writer.close()
        while fake.counts.in_flight:
            await asyncio.sleep(0)
        assert (fake.counts.billed, fake.counts.answered, fake.counts.abandoned) == (1, 0, 1)

    _play(script, latency="1h")


def test_a_stream_is_sent_in_chunks() -> None:
    async def script(fake: FakeLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_chat("streamed", stream=True))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        assert b"text/event-stream" in head
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert b"data: [DONE]" in body
        writer.write(_chat("again"))
        assert (await _reply(reader))[0] == 200

    _play(script, answer="echo", token_time=0.0001)
