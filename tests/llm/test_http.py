"""The transport on real sockets: replies of every kind, and every way in which there is none, by its name."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from batchmill.llm.transport import HttpReply, HttpRequest, StatusError, Timeouts, TransportError
from batchmill.llm.transport.direct import DirectTransport
from batchmill.llm.transport.http import AiohttpTransport
from batchmill.llm.transport.origins import origin_of
from tests.llm.servers import Handler, Server, answering, saying, serving

QUICK = Timeouts(connect=5.0, read=5.0)
Either = AiohttpTransport | DirectTransport


@pytest.fixture(params=[AiohttpTransport, DirectTransport], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test is of both transports."""
    monkeypatch.setattr(f"{__name__}._opened", request.param)


_opened: type[Either] = DirectTransport


def _run(
    handler: Handler,
    use: Callable[[Either, Server], Awaitable[object]],
    *,
    context: ssl.SSLContext | None = None,
    max_body: int = 1 << 20,
) -> Server:
    async def run() -> Server:
        transport = _opened(max_body=max_body)
        async with serving(handler, context) as server:
            try:
                await use(transport, server)
            finally:
                await transport.close()
            return server

    return asyncio.run(run())


def _reply(handler: Handler, max_body: int = 1 << 20) -> HttpReply:
    replies: list[HttpReply] = []

    async def use(transport: Either, server: Server) -> None:
        request = HttpRequest(f"{server.url}/v1/chat", b'{"a": 1}', {"authorization": "Bearer the-key"})
        replies.append(await transport.send(request, QUICK))

    _run(handler, use, max_body=max_body)
    return replies[0]


def _error(handler: Handler, timeouts: Timeouts = QUICK, max_body: int = 1 << 20) -> TransportError:
    errors: list[TransportError] = []

    async def use(transport: Either, server: Server) -> None:
        request = HttpRequest(f"{server.url}/v1/x?key=the-key", b"{}", {"authorization": "Bearer the-key"})
        with pytest.raises(TransportError) as caught:
            await transport.send(request, timeouts)
        errors.append(caught.value)

    server = _run(handler, use, max_body=max_body)
    assert "the-key" not in str(errors[0])
    assert server.url in str(errors[0]) or errors[0].kind == "too_large"
    return errors[0]


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "429 Too Many Requests", "500 Oh", "307 Elsewhere"])
def test_a_reply_of_any_status_is_a_reply_with_lower_case_headers(status: str) -> None:
    reply = _reply(answering(b'{"b": 2}', status, "X-RateLimit-Limit: 9", "Location: http://127.0.0.1:9/"))
    assert (reply.status, reply.body) == (int(status[:3]), b'{"b": 2}')
    assert reply.headers["x-ratelimit-limit"] == "9"


def test_what_is_sent_is_the_request_and_no_more_than_it_needs() -> None:
    async def use(transport: Either, server: Server) -> None:
        await transport.send(HttpRequest(f"{server.url}/v1/m:do?a=b", b"{}", {"x-api-key": "k"}), QUICK)

    server = _run(answering(), use)
    first, *lines = server.heads[0].strip().split("\r\n")
    sent = {line.partition(":")[0].lower() for line in lines}
    assert first == "POST /v1/m:do?a=b HTTP/1.1"
    assert sent == {"host", "user-agent", "x-api-key", "content-length", "content-type"}
    assert server.bodies == [b"{}"]


def test_a_body_larger_than_a_megabyte_arrives_whole() -> None:
    body = b"x" * 3_000_000

    async def use(transport: Either, server: Server) -> None:
        assert (await transport.send(HttpRequest(server.url, body), QUICK)).status == 200

    assert _run(answering(), use).bodies == [body]


def test_connections_are_kept() -> None:
    async def use(transport: Either, server: Server) -> None:
        for _ in range(10):
            await transport.send(HttpRequest(server.url), QUICK)

    assert _run(answering(), use).connections == 1


def test_as_many_requests_are_on_their_way_as_were_sent() -> None:
    async def use(transport: Either, server: Server) -> None:
        together = asyncio.Barrier(150)

        async def wait(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await together.wait()
            await answering()(_, __, writer)

        async with serving(wait) as crowd:
            replies = (transport.send(HttpRequest(crowd.url), QUICK) for _ in range(150))
            assert {reply.status for reply in await asyncio.gather(*replies)} == {200}

    _run(answering(), use)


def test_a_packed_reply_is_unpacked() -> None:
    assert _reply(answering(gzip.compress(b"hello"), "200 OK", "Content-Encoding: gzip")).body == b"hello"


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (saying(b""), "reset"),
        (saying(b"", then="reset"), "reset"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"), "reset"),
        (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"), "reset"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", then="reset"), "reset"),
        (saying(b"hello\r\n\r\n"), "malformed"),
        (saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), "malformed"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"), "malformed"),
        (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "reset"),
        (answering(b"no gzip", "200 OK", "Content-Encoding: gzip"), "reset"),
    ],
)
def test_a_reply_that_broke_off_or_was_none_may_have_been_billed(handler: Handler, kind: str) -> None:
    error = _error(handler)
    assert error.kind in (kind, "malformed")
    assert error.sent


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"])
@pytest.mark.parametrize("timeouts", [Timeouts(read=0.05), Timeouts(read=None, total=0.05)])
def test_a_server_that_falls_silent_is_a_timeout(data: bytes, timeouts: Timeouts) -> None:
    error = _error(saying(data, then="hang"), timeouts)
    assert (error.kind, error.sent) == ("timeout", True)


def test_a_connection_that_is_never_ready_is_a_timeout_before_anything_was_sent() -> None:
    async def use(transport: Either, server: Server) -> None:
        request = HttpRequest(server.url.replace("http:", "https:"))
        with pytest.raises(TransportError) as caught:
            await transport.send(request, Timeouts(connect=0.05))
        assert (caught.value.kind, caught.value.sent) == ("timeout", False)

    async def silent(_: bytes, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()

    _run(silent, use)


def test_nobody_who_listens_is_no_connection() -> None:
    async def use(transport: Either, server: Server) -> None:
        async with serving(answering()) as closed:
            url = closed.url
        named = url.replace("127.0.0.1", "localhost")  # which may have several addresses
        for bad in (f"{url}/x?key=the-key", url.replace("://", "://user:the-key@"), named):
            with pytest.raises(TransportError) as caught:
                await transport.send(HttpRequest(bad), QUICK)
            assert (caught.value.kind, caught.value.sent) == ("connect", False)
            place = named if bad == named else url
            assert str(caught.value) == f"cannot connect to `{place}`: connection refused"

    _run(answering(), use)


@pytest.mark.parametrize("host", ["a" * 70, "no..host", "h:99999", "[::::]", "", "such.host.invalid"])
def test_a_name_that_can_be_none_is_no_connection(host: str) -> None:
    async def use(transport: Either, server: Server) -> None:
        with pytest.raises(TransportError) as caught:
            await transport.send(HttpRequest(f"http://{host}/?key=the-key"), QUICK)
        assert (caught.value.kind, caught.value.sent) == ("connect", False)
        assert "the-key" not in str(caught.value)

    _run(answering(), use)


def test_a_server_that_speaks_no_tls_is_no_secure_connection() -> None:
    async def use(transport: Either, server: Server) -> None:
        async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(speak, "127.0.0.1", 0) as plain:
            port = plain.sockets[0].getsockname()[1]
            with pytest.raises(TransportError) as caught:
                await transport.send(HttpRequest(f"https://127.0.0.1:{port}"), QUICK)
            assert (caught.value.kind, caught.value.sent) == ("tls", False)

    _run(answering(), use)


@pytest.mark.parametrize(
    "handler",
    [
        answering(b"x" * 5_000),
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 0x1000, then="hang"),
        saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000),
        answering(gzip.compress(b"\0" * 50_000_000), "200 OK", "Content-Encoding: gzip"),
    ],
)
def test_a_reply_above_the_cap_is_refused_also_where_it_is_packed(handler: Handler) -> None:
    error = _error(handler, max_body=1_000)
    assert (error.kind, error.sent) == ("too_large", True)


@pytest.mark.parametrize("headers", [{"x-key": "a\r\nb: the-key"}, {"x\ny": "z"}])
def test_a_header_that_would_become_two_is_refused(headers: dict[str, str]) -> None:
    async def use(transport: Either, server: Server) -> None:
        with pytest.raises(TransportError) as caught:
            await transport.send(HttpRequest(server.url, b"", headers), QUICK)
        assert not caught.value.sent
        assert "the-key" not in str(caught.value)

    assert _run(answering(), use).heads == []


def test_a_cancelled_request_gives_its_connection_up() -> None:
    async def use(transport: Either, server: Server) -> None:
        task = asyncio.create_task(transport.send(HttpRequest(server.url), QUICK))
        await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 5)

    _run(saying(b"", then="hang"), use)


def test_a_closed_transport_opens_anew() -> None:
    async def use(transport: Either, server: Server) -> None:
        await transport.send(HttpRequest(server.url), QUICK)
        await transport.close()
        assert (await transport.send(HttpRequest(server.url), QUICK)).status == 200

    assert _run(answering(), use).connections == 2


# --- proxies and TLS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["request", "environment"])
def test_a_proxy_is_asked_with_its_login(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(transport: Either, server: Server) -> None:
        proxy = server.url.replace("://", "://me:the-key@")
        if way == "environment":
            monkeypatch.setenv("http_proxy", proxy)
        request = HttpRequest("http://models.test/v1", proxy=proxy if way == "request" else "")
        assert (await transport.send(request, QUICK)).body == b"{}"

    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    head = _run(answering(), use).heads[0]
    assert head.startswith("POST http://models.test/v1 HTTP/1.1")
    assert "Proxy-Authorization: Basic bWU6dGhlLWtleQ==" in head


def test_loopback_is_not_reached_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert _reply(answering()).status == 200


def test_a_proxy_that_refuses_is_no_connection() -> None:
    async def use(transport: Either, server: Server) -> None:
        proxy = server.url.replace("://", "://me:the-key@")
        with pytest.raises(TransportError) as caught:
            await transport.send(HttpRequest("https://models.test/v1", proxy=proxy), QUICK)
        assert (caught.value.kind, caught.value.sent) == ("connect", False)
        assert str(caught.value) == "the proxy refused to reach `https://models.test`: status 407"

    _run(answering(b"", "407 Proxy Authentication Required"), use)


def test_a_certificate_is_trusted_where_its_authority_is_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def use(transport: Either, server: Server) -> None:
        request = HttpRequest(server.url, ca_file=str(tmp_path / "ca.pem"))
        assert (await transport.send(request, QUICK)).status == 200
        with pytest.raises(TransportError) as caught:
            await transport.send(HttpRequest(server.url), QUICK)
        assert (caught.value.kind, caught.value.sent) == ("tls", False)
        assert str(caught.value).startswith(f"no secure connection to `{server.url}`: ")
        with pytest.raises(TransportError, match="cannot read the certificates"):
            await transport.send(HttpRequest(server.url, ca_file=str(tmp_path / "none.pem")), QUICK)

    _run(answering(), use, context=context)


# --- streams ---------------------------------------------------------------------------------------------------------


def _chunked(*pieces: bytes, end: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nX-Limit: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if end else b"")


def _lines(handler: Handler, max_body: int = 1 << 20, timeouts: Timeouts = QUICK) -> tuple[list[bytes], str]:
    lines: list[bytes] = []
    error: list[str] = []

    async def use(transport: Either, server: Server) -> None:
        stream = transport.stream(HttpRequest(server.url), timeouts)
        try:
            async for line in stream:
                assert stream.headers["x-limit"] == "7"
                lines.append(line)
        except TransportError as caught:
            error.append(caught.kind)

    _run(handler, use, max_body=max_body)
    return lines, "".join(error)


def test_a_stream_is_read_by_lines_wherever_it_was_cut_into_pieces() -> None:
    pieces = (b"data: a", b"b\r", b"\n\r\nda", b"ta: c\n", b"\xc3", b"\xa4")
    assert _lines(saying(_chunked(*pieces), then="hang")) == ([b"data: ab", b"", b"data: c", "ä".encode()], "")


@pytest.mark.parametrize(
    ("data", "then", "kind"),
    [
        (_chunked(b"one\n", b"two", end=False), "close", "reset"),
        (_chunked(b"one\n", b"two", end=False), "hang", "timeout"),
        (_chunked(b"one\n", b"x" * 5_000), "hang", "too_large"),
    ],
)
def test_a_stream_that_fails_midway_gives_its_lines_and_then_the_error(data: bytes, then: str, kind: str) -> None:
    lines, error = _lines(saying(data, then=then), 1_000, Timeouts(read=0.1 if then == "hang" else 5.0))
    assert lines in ([b"one"], [])  # what had come may have come together with the rest
    assert error == kind


def test_a_refused_stream_holds_the_whole_reply() -> None:
    async def use(transport: Either, server: Server) -> None:
        with pytest.raises(StatusError) as caught:
            async for _ in transport.stream(HttpRequest(server.url), QUICK):
                pass
        reply = caught.value.reply
        assert (reply.status, json.loads(reply.body), reply.headers["retry-after"]) == (429, {"error": "slow"}, "3")

    _run(answering(b'{"error": "slow"}', "429 Too Many Requests", "Retry-After: 3"), use)


def test_a_stream_that_nobody_reads_on_gives_its_connection_up() -> None:
    async def use(transport: Either, server: Server) -> None:
        stream = transport.stream(HttpRequest(server.url), QUICK)
        assert await anext(stream) == b"one"
        await stream.aclose()
        await asyncio.wait_for(server.gone.wait(), 5)

    _run(saying(_chunked(b"one\n", end=False), then="hang"), use)


@pytest.mark.parametrize(
    ("url", "origin"),
    [("https://u:p@h:1/a?k=v", "https://h:1"), ("http://h", "http://h"), ("http://a@b@h/x", "http://h")],
)
def test_an_origin_holds_nothing_secret(url: str, origin: str) -> None:
    assert origin_of(url) == origin
