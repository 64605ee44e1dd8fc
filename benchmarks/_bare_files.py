"""The least that asking about files can cost: `python benchmarks/_bare_files.py URL AT_ONCE FILE...`.

Reads each file and asks about it through aiohttp; prints the answers. Keeps, limits and records nothing.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp


async def main(url: str, at_once: str, *files: str) -> None:
    """Ask about every file, so many at once."""
    gate = asyncio.Semaphore(int(at_once))

    async def ask(session: aiohttp.ClientSession, file: str) -> None:
        async with gate:
            body = {
                "model": "bench",
                "messages": [{"role": "user", "content": f"Summarise\n\n{Path(file).read_text()}"}],
            }
            async with session.post(f"{url}/chat/completions", json=body) as reply:
                print((await reply.json())["choices"][0]["message"]["content"])

    async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-bench"}) as session:
        await asyncio.gather(*(ask(session, file) for file in files))


asyncio.run(main(*sys.argv[1:]))
