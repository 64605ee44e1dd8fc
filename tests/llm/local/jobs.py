"""Jobs that ask the embedded models, run by the engine."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from batchmill import Context, task
from batchmill.llm import LLM, embed
from batchmill.llm.local import server

MODEL = "local/smollm2"


async def greet(name: str, ctx: Context) -> dict[str, Any]:
    """An answer of the embedded model, and the process that gave it."""
    answer = await LLM(ctx, cache="off").ask(MODEL, f"Say hello to {name}.", max_tokens=8)
    return {"text": answer.text, "server": (await server.running(MODEL)).pid}


def greet_plainly(name: str, ctx: Context) -> dict[str, Any]:
    """The same from a process of its own, which may come to a bad end."""
    if name.endswith(("die", "wait")):
        server.start(MODEL)
        os.kill(os.getpid(), signal.SIGKILL if name.endswith("die") else signal.SIGSTOP)
    answer = LLM(ctx, cache="off").ask_sync(MODEL, f"Say hello to {name}.", max_tokens=8)
    return {"text": answer.text, "server": server.start(MODEL).pid}


def greet_and_stay(folder: str) -> None:
    """Start the server, tell which processes there are, and stay."""
    found = {"server": server.start(MODEL).pid, "zygote": os.getppid(), "worker": os.getpid()}
    Path(folder, "told").write_text(json.dumps(found))
    signal.pause()


def _embed_all(jobs: Iterable[Any], ctx: Context) -> None:
    import io

    import numpy

    words = sorted({job.params["word"] for job in jobs})
    content = io.BytesIO()
    numpy.save(content, embed(words))
    ctx.artifact("vectors.npy", content.getvalue())
    ctx.artifact("words.txt", "\n".join(words).encode())


@task(version="1", prepare=_embed_all)
def first_number(word: str, ctx: Context) -> float:
    """The first number of a word's vector, which `prepare` made for all words."""
    words = ctx.prepared["words.txt"].read_text().split("\n")
    return float(ctx.prepared.array("vectors.npy")[words.index(word)][0])
