"""What the embedded model answers, and how the service reads it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from batchmill.llm.endpoints import resolve
from batchmill.llm.failures import classify
from batchmill.llm.local import server
from batchmill.llm.local.provider import address
from batchmill.llm.local.server import ServerOptions
from batchmill.llm.messages import Reply
from batchmill.llm.settings import load
from batchmill.llm.transport import HttpReply, HttpRequest, Timeouts, Transport
from tests.llm.local.asking import MODEL, ask, asked, with_transport

pytestmark = pytest.mark.usefixtures("shared")


def test_it_answers_through_the_service_and_counts_tokens(smollm2: Path) -> None:
    reply = with_transport(lambda transport: ask(transport, asked("Say hello.")))
    assert reply.text.strip()
    assert reply.model == "smollm2"
    assert reply.usage is not None
    assert reply.usage.input > 5
    assert 0 < reply.usage.output <= 12


def test_a_stream_ends_as_the_whole_reply_says(smollm2: Path) -> None:
    async def both(transport: Transport) -> tuple[str, str]:
        route = resolve(MODEL, load(Path("/nonexistent")))
        lines = transport.stream(
            route.provider.encode(asked("Count to five."), route.endpoints[0], stream=True), Timeouts()
        )
        whole: dict[str, object] = {}
        text = ""
        async for line in lines:
            if line.startswith(b"data: {"):
                text += route.provider.absorb(whole, json.loads(line[6:]))
        assert route.provider.ended(whole)
        return text, (await ask(transport, asked("Count to five."))).text

    streamed, whole = with_transport(both)
    assert streamed == whole


def test_an_answer_does_not_depend_on_what_else_is_asked(smollm2: Path) -> None:
    texts = [f"Name {n} things that float on water, and say why each of them does." for n in range(1, 3)]

    async def act(transport: Transport) -> tuple[list[Reply], list[Reply]]:
        alone = [await ask(transport, asked(text)) for text in texts]
        together = await asyncio.gather(*(ask(transport, asked(text)) for text in reversed(texts)))
        return alone, together[::-1]

    alone, together = with_transport(act)
    assert [reply.text for reply in alone] == [reply.text for reply in together]


def test_a_prompt_that_is_too_long_is_known_as_that(smollm2: Path) -> None:
    async def act(transport: Transport) -> HttpReply:
        place = address("smollm2", ServerOptions())
        body = {"messages": [{"role": "user", "content": "word " * 4200}], "max_tokens": 4}
        return await transport.send(HttpRequest(f"{place}/chat/completions", json.dumps(body).encode()), Timeouts())

    failure = classify("openai", with_transport(act))
    assert failure is not None
    assert (failure.kind, failure.retry) == ("too_long", False)


def test_strangers_on_the_machine_are_refused(smollm2: Path) -> None:
    from batchmill.llm.transport.http import AiohttpTransport

    async def act() -> int:
        transport = AiohttpTransport()
        try:
            found = await server.running(MODEL)
            return (await transport.send(HttpRequest(f"{found.url}/v1/chat/completions", b"{}"), Timeouts())).status
        finally:
            await transport.close()

    assert asyncio.run(act()) == 401
