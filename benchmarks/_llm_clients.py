"""What `benchmarks.llm` measures, each in a process of its own: `python -m benchmarks._llm_clients CLIENT SETTINGS`.

Every client asks the fake service the same questions, so many at once, and prints as JSON what it has to show for it.
The peers are used as their documentation shows, with retries where they are the default.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from batchmill import Context, task

KEY, MODEL, MOST_TOKENS = "sk-bench", "bench", 64


class Settings(NamedTuple):
    """Where, how many requests, how many at once, and the limits that the client is told of (0: of none)."""

    url: str
    requests: int
    concurrency: int = 50
    rpm: int = 0
    budget: float = 0.0  # dollars
    jobs: int = 0  # of batchmill; 0: one for each request


def question(number: int) -> str:
    """The question of one request: all of the same length, no two the same."""
    return f"Please summarise document number {number:07d} of this archive in two short sentences."


class Done(NamedTuple):
    """What a client reports."""

    answered: int
    failed: int


def bare(settings: Settings) -> Done:
    """A loop around aiohttp: the least that asking can cost."""
    import aiohttp

    async def ask(session: aiohttp.ClientSession, number: int) -> None:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": question(number)}],
            "max_tokens": MOST_TOKENS,
        }
        async with session.post(f"{settings.url}/chat/completions", json=body) as reply:
            assert reply.status == 200
            assert (await reply.json())["choices"][0]["message"]["content"]

    async def main() -> Done:
        headers = {"authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
            return await _at_once(settings, lambda number: ask(session, number))

    return asyncio.run(main())


def openai(settings: Settings) -> Done:
    """The openai SDK as it comes: two retries."""
    from openai import AsyncOpenAI

    async def main() -> Done:
        async with AsyncOpenAI(base_url=settings.url, api_key=KEY) as client:

            async def ask(number: int) -> None:
                messages: Any = [{"role": "user", "content": question(number)}]
                reply = await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=MOST_TOKENS)
                assert reply.choices[0].message.content

            return await _at_once(settings, ask)

    return asyncio.run(main())


def litellm(settings: Settings) -> Done:
    """litellm: its router where a limit is known, `acompletion` where not; `max_budget` for a budget."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network
    import litellm as library

    library.suppress_debug_info = True
    model = {"model": f"openai/{MODEL}", "api_base": settings.url, "api_key": KEY}
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6, "litellm_provider": "openai"}
    library.register_model({MODEL: {**prices, "mode": "chat", "max_tokens": 4096}})
    if settings.budget:
        library.max_budget = settings.budget
    complete: Callable[..., Awaitable[Any]] = library.acompletion
    if settings.rpm:
        deployment = {"model_name": MODEL, "litellm_params": {**model, "rpm": settings.rpm}}
        router = library.Router([deployment], num_retries=10)
        complete, model = router.acompletion, {"model": MODEL}

    async def ask(number: int) -> None:
        messages = [{"role": "user", "content": question(number)}]
        reply = await complete(**model, messages=messages, max_tokens=MOST_TOKENS)
        assert reply.choices[0].message.content

    return asyncio.run(_at_once(settings, ask))


def curator(settings: Settings) -> Done:
    """Bespoke Curator. It needs a vocabulary that it would download; litellm's copy serves."""
    os.environ |= {"TELEMETRY_ENABLED": "0", "CURATOR_DISABLE_RICH_DISPLAY": "1", "OPENAI_API_KEY": KEY}
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    from importlib.util import find_spec
    from pathlib import Path

    vocabulary = Path(find_spec("litellm").origin).parent / "litellm_core_utils" / "tokenizers"  # type: ignore[union-attr,arg-type]
    os.environ["TIKTOKEN_CACHE_DIR"] = str(vocabulary)
    from bespokelabs import curator as library

    params: dict[str, Any] = {"base_url": settings.url, "max_concurrent_requests": settings.concurrency}
    params |= {"max_requests_per_minute": settings.rpm or 10_000_000, "max_tokens_per_minute": 10**10}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CURATOR_CACHE_DIR"] = folder
        llm = library.LLM(
            model_name=f"gpt-4o-mini-{MODEL}",
            backend="openai",
            backend_params=params,
            generation_params={"max_tokens": MOST_TOKENS},
        )
        found = llm([question(number) for number in range(settings.requests)])
        rows = getattr(found, "dataset", found)
        answered = sum(1 for row in rows if row["response"])
    return Done(answered, settings.requests - answered)


@task(name="bench-ask", version="1", mode="async", timeout="1h")
async def ask_many(first: int, count: int, ctx: Context) -> int:
    """Ask some questions, one after the other; how many were answered."""
    from batchmill.llm import LLM

    llm = LLM(ctx)
    for number in range(first, first + count):
        assert (await llm.ask(f"openai/{MODEL}", question(number), max_tokens=MOST_TOKENS)).text
    return count


def batchmill(settings: Settings) -> Done:
    """Batchmill: each request reserved, sent, settled and recorded; replies kept."""
    import batchmill as library

    with tempfile.TemporaryDirectory() as folder:
        limits = {f"openai/{MODEL}": {"requests": f"{settings.rpm}/min"}} if settings.rpm else {}
        os.environ |= {
            "XDG_STATE_HOME": folder,
            "OPENAI_API_KEY": KEY,
            "BATCHMILL_ENDPOINTS": json.dumps({"openai": [{"url": settings.url}]}),
            "BATCHMILL_PRICES": json.dumps({f"openai/{MODEL}": {"input": 1.0, "output": 4.0}}),
            "BATCHMILL_LIMITS": json.dumps(limits),
        }
        jobs = settings.jobs or settings.requests
        count = settings.requests // jobs
        table = [library.Job({"first": n * count, "count": count}) for n in range(jobs)]
        budget = {"budget": f"{settings.budget:.8f} USD"} if settings.budget else {}
        run = library.run(
            ask_many,
            jobs=table,
            home=folder,
            progress=False,
            workers=1,
            limits={"concurrency": settings.concurrency, **budget},
        )
        answered = sum(outcome.value for outcome in run.results(state="succeeded"))
    return Done(answered, settings.requests - answered)


CLIENTS: dict[str, Callable[[Settings], Done]] = {
    "bare": bare,
    "batchmill": batchmill,
    "openai": openai,
    "litellm": litellm,
    "curator": curator,
}
NEEDS = {"openai": "openai", "litellm": "litellm", "curator": "bespokelabs", "bare": "aiohttp"}


async def _at_once(settings: Settings, ask: Callable[[int], Awaitable[None]]) -> Done:
    """Ask every question, so many at once; a question that raises has failed."""
    numbers = iter(range(settings.requests))
    failures: list[Exception] = []

    async def work() -> None:
        for number in numbers:
            try:
                await ask(number)
            except Exception as error:  # noqa: BLE001 - a peer's errors are what is counted
                failures.append(error)

    await asyncio.gather(*(work() for _ in range(settings.concurrency)))
    if failures:
        print(f"{type(failures[0]).__name__}: {failures[0]}"[:300], file=sys.stderr)
    return Done(settings.requests - len(failures), len(failures))


def main() -> None:
    """Run the client that is named; print what it did."""
    client, settings = sys.argv[1], Settings(**json.loads(sys.argv[2]))
    started = time.perf_counter()
    done = CLIENTS[client](settings)
    print(json.dumps({**done._asdict(), "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
