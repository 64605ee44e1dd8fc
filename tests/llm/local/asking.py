"""Asking the embedded model without an engine: through its provider and its transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from batchmill.llm.endpoints import open_transport, resolve
from batchmill.llm.failures import classify
from batchmill.llm.messages import Message, Reply, Request
from batchmill.llm.settings import load
from batchmill.llm.transport import Timeouts, Transport

MODEL = "local/smollm2"
_Value = TypeVar("_Value")


def asked(text: str, max_tokens: int = 12) -> Request:
    return Request(MODEL, (Message("user", (text,)),), max_tokens=max_tokens)


def with_transport(act: Callable[[Transport], Awaitable[_Value]]) -> _Value:
    async def main() -> _Value:
        transport = open_transport(resolve(MODEL, load(Path("/nonexistent"))).provider)
        try:
            return await act(transport)
        finally:
            await transport.close()

    return asyncio.run(main())


async def ask(transport: Transport, request: Request) -> Reply:
    route = resolve(MODEL, load(Path("/nonexistent")))
    reply = await transport.send(route.provider.encode(request, route.endpoints[0]), Timeouts(5, 60))
    assert classify("openai", reply) is None, reply.body
    return route.provider.decode(reply.body)
