"""Tasks that ask a model, for whole runs."""

from __future__ import annotations

import asyncio

from batchmill import Context
from batchmill.llm import LLM, Image, ModelError

PIXEL = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0" + bytes(24) + b"\0\0\xff\0"  # red


async def ask(n: int, ctx: Context) -> str:
    """One question."""
    return (await LLM(ctx).ask("openai/m", f"Question {n}", max_tokens=30)).text


def ask_plainly(n: int, ctx: Context) -> str:
    """The same in a plain function."""
    llm = LLM(ctx)
    first = llm.ask_sync("openai/m", f"Question {n}", max_tokens=30).text
    assert llm.ask_sync("openai/m", f"Question {n}", max_tokens=30).cached
    return first


async def ask_several(n: int, ctx: Context) -> list[str]:
    """Several questions at once."""
    llm = LLM(ctx)
    answers = await asyncio.gather(*(llm.ask("openai/m", f"Part {k} of {n}", max_tokens=30) for k in range(4)))
    return [answer.text for answer in answers]


async def ask_for_json(n: int, ctx: Context) -> int:
    """A number."""
    answer = await LLM(ctx).ask("openai/m", f"Number {n}", schema={"type": "array", "items": {"type": "integer"}})
    return int(answer.value[0])


async def ask_or_say_why(n: int, ctx: Context) -> str:
    """One question, or the kind of failure."""
    try:
        return await ask(n, ctx)
    except ModelError as error:
        return error.failure


async def ask_many(n: int, ctx: Context) -> int:
    """More requests than the driver takes in at once."""
    llm = LLM(ctx)
    return len([await llm.ask("openai/m", f"Part {k} of {n}", max_tokens=30) for k in range(150)])


async def ask_without_a_model(n: int, ctx: Context) -> str:
    """One question to what answers here, by rules."""
    if n % 2:
        return (await LLM(ctx).ask("extractive/lead", f"Summarise in one sentence. It rained {n} days.")).text
    return (await LLM(ctx).ask("describe/basic", "Describe it", images=[Image(PIXEL)])).text
