"""A streamed reply, put together into the body that the same reply would have had in one piece.

So streams are stored, cached, judged and decoded like every other reply; only the caller sees the text early.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pydantic_core

from batchmill.llm.providers import reading
from batchmill.llm.providers.base import Malformed, Provider
from batchmill.llm.transport import HttpReply, Lines, StatusError

_DONE = b"[DONE]"


async def collect(provider: Provider, lines: Lines, on_text: Callable[[str], None] | None = None) -> HttpReply:
    """The whole reply; `on_text` is called with each new piece of its text.

    An error that the stream tells is a reply with that error. Raises Malformed (`cut` where the end is missing) and
    TransportError.
    """
    whole: dict[str, Any] = {}
    done = False
    try:
        async for data in _events(lines):
            if data == _DONE:
                done = True
                continue
            new = provider.absorb(whole, reading.parse(data))
            if whole.get("error"):
                return HttpReply(200, lines.headers, reading.write({"error": whole["error"]}))
            if new and on_text:
                on_text(new)
    except StatusError as refused:
        return refused.reply
    if not (done or provider.ended(whole)):
        raise Malformed("the stream ended too early", cut=True)
    return HttpReply(200, lines.headers, pydantic_core.to_json(whole))


async def _events(lines: Lines) -> AsyncIterator[bytes]:
    """The data of server-sent events (WHATWG HTML 9.2.6), or lines of JSON as they are."""
    data: list[bytes] = []
    async for line in lines:
        if line.startswith(b"{"):
            yield line
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []
    if data:
        yield b"\n".join(data)
