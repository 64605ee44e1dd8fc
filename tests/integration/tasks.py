"""Tasks of the tests of `Context`, hooks and metering. Jobs tell what they do in files of a folder."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batchmill
from batchmill import Context, InputFile, Metric, QuotaLimit, Rate


def tell(folder: str, word: object, file: str = "done.txt") -> None:
    """Add a line to a file, at once."""
    with open(os.path.join(folder, file), "ab", buffering=0) as stream:
        stream.write(f"{word}\n".encode())


def _everything(folder: str, x: int, ctx: Context, one: Any, again: Any) -> dict[str, Any]:
    print(f"printed {x}")
    ctx.log(f"logged {x}")
    ctx.progress(x, 10, "counting")
    ctx.artifact("note.txt", f"note {x}".encode())
    path = ctx.tmp / "sub.bin"
    path.write_bytes(bytes([x]))
    ctx.artifact("deep/er/sub.bin", path)
    return {
        "x": x,
        "one": one,
        "again": again,
        "attempt": ctx.attempt,
        "seed": ctx.seed,
        "random": random.random(),
        "idempotency_key": ctx.idempotency_key,
        "has_deadline": ctx.deadline is not None and ctx.deadline > time.monotonic(),
        "name": ctx.name,
    }


def _first(folder: str, x: int) -> dict[str, int]:
    tell(folder, f"step {x}")
    return {"value": x}


def everything(folder: str, x: int, ctx: Context) -> dict[str, Any]:
    """Uses all of a context."""
    one = ctx.step("first", _first, folder, x)
    return _everything(folder, x, ctx, one, ctx.step("first", _first, folder, x))


async def everything_async(folder: str, x: int, ctx: Context) -> dict[str, Any]:
    """The same as a coroutine."""
    one = await ctx.step("first", _first, folder, x)
    await asyncio.sleep(0.001)
    return _everything(folder, x, ctx, one, await ctx.step("first", _first, folder, x))


def stepped(folder: str, x: int, ctx: Context, steps: int = 3, gate: str = "") -> list[int]:
    """Several steps; waits for a file before the last."""

    def work(number: int) -> int:
        tell(folder, f"{x} step {number}")
        return number

    values = []
    for number in range(steps):
        if gate and number == steps - 1:
            tell(folder, f"{x} waits")
            while not os.path.exists(os.path.join(folder, gate)):
                time.sleep(0.005)
        values.append(ctx.step(f"step{number}", work, number))
    return values


async def stepped_async(folder: str, x: int, ctx: Context, gate: str = "") -> list[int]:
    """The same as a coroutine."""

    async def work(number: int) -> int:
        tell(folder, f"{x} step {number}")
        return number

    values = []
    for number in range(3):
        if gate and number == 2:
            tell(folder, f"{x} waits")
            while not os.path.exists(os.path.join(folder, gate)):
                await asyncio.sleep(0.005)
        values.append(await ctx.step(f"step{number}", work, number))
    return values


async def buy(folder: str, x: int, ctx: Context, seconds: float = 0.0, cost: float = 0.01) -> dict[str, Any]:
    """One paid request to a toy service: it writes down each request that it gets."""
    async with ctx.call(quota="toy", tokens=10, cost=cost) as call:
        tell(folder, f"{x} {call.idempotency_key}", "requests.txt")
        await asyncio.sleep(seconds)
        call.settle({"tokens": 10}, reply=f"reply to {x}", tokens=10, cost=cost)
    return {"x": x}


def buy_in_process(folder: str, x: int, ctx: Context, cost: float = 0.01) -> dict[str, Any]:
    """The same in a process."""
    with ctx.call(quota="toy", cost=cost) as call:
        tell(folder, f"{x} {call.idempotency_key}", "requests.txt")
        call.settle(cost=cost / 2)
    return {"x": x}


async def buy_slowly(folder: str, x: int, ctx: Context) -> int:
    """A service that admits two requests at once and twenty a second."""
    limit = QuotaLimit(rate=Rate(20, 1.0), concurrency=2)
    async with ctx.call(quota="narrow", limit=limit) as call:
        tell(folder, "in")
        await asyncio.sleep(0.02)
        tell(folder, "out")
        call.settle()
    return x


def _heavy(folder: str, x: int) -> dict[str, int]:
    tell(folder, f"offloaded {x}")
    return {"pid": os.getpid(), "square": x * x}


def _dies(x: int) -> None:
    os._exit(9)


def _hangs() -> None:
    while True:
        time.sleep(1)


async def offloads(folder: str, x: int, ctx: Context) -> dict[str, Any]:
    """Lets a process worker do the heavy part."""
    heavy = await ctx.offload(_heavy, folder, x)
    return {"own": os.getpid(), **heavy}


async def offloads_badly(what: str, ctx: Context) -> str:
    """What an offloaded function does wrong is an exception here."""
    try:
        if what == "dies":
            await ctx.offload(_dies, 1)
        elif what == "raises":
            await ctx.offload(int, "no number")
        else:
            await ctx.offload(_hangs)
    except (batchmill.JobFailed, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing happened"


async def ignores_cancelling(x: int) -> int:
    """Holds on when it is asked to go."""
    if x:
        await asyncio.sleep(0.3)
        return x
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


async def among_others(what: str) -> str:
    """Good coroutines, and such as would end all of them."""
    if what == "stops the loop":
        asyncio.get_running_loop().stop()
    elif what == "interrupts":
        raise KeyboardInterrupt
    elif what == "cancels itself":
        asyncio.current_task().cancel()  # type: ignore[union-attr]
    elif what == "cancels all":
        for task in asyncio.all_tasks():
            task.cancel()
    elif what == "exits in the background":
        kept.append(asyncio.ensure_future(_exit_soon()))
        await asyncio.sleep(0.2)
    elif what == "dies":
        os._exit(3)
    await asyncio.sleep(0.1)
    return what


kept: list[asyncio.Future[None]] = []


async def _exit_soon() -> None:
    raise SystemExit(5)


# --- hooks


def _expand(path: str) -> list[dict[str, Any]] | batchmill.Invalid:
    words = Path(path).read_text().split()
    return [{"path": path, "word": word} for word in words] if words else batchmill.Invalid("the file is empty")


def _prepare(jobs: Iterator[Any], ctx: Context) -> None:
    import numpy

    words = sorted({job.params["word"] for job in jobs})
    ctx.artifact("words.txt", "\n".join(words).encode())
    numpy.save(ctx.tmp / "lengths.npy", numpy.array([len(word) for word in words]))
    ctx.artifact("lengths.npy", ctx.tmp / "lengths.npy")


_set_up = {"by": 0}


def _set_up_once() -> None:
    _set_up["by"] = os.getpid()


def _summarise(results: Iterator[Any], ctx: Context) -> dict[str, Any]:
    letters = sum(result.result["length"] for result in results if result.state == "succeeded")
    ctx.artifact("total.txt", f"{letters}".encode())
    return {"letters": letters}


def _report(results: Iterator[Any]) -> str:
    return f"There were **{sum(1 for _ in results)} words**."


@batchmill.task(
    name="words",
    version="1",
    expand=_expand,
    prepare=_prepare,
    setup=_set_up_once,
    summarise=_summarise,
    report=_report,
    metrics=lambda result: {"length": result["length"]},
    metric_columns=(Metric("length", unit="letters", label="length of the word", better="higher"),),
)
def words(path: InputFile, word: str, ctx: Context) -> dict[str, Any]:
    """A word of a file: uses what `prepare` and `setup` made."""
    lengths = ctx.prepared.array("lengths.npy")
    return {
        "length": len(word),
        "known": word in ctx.prepared["words.txt"].read_text().split(),
        "mapped": type(lengths).__name__,
        "total": int(lengths.sum()),
        "set_up_by_parent": _set_up["by"] == os.getppid(),
    }


words_task = words


async def stamp(folder: str, x: int, ctx: Context) -> int:
    """Tells when its call left."""
    async with ctx.call(quota="service/model", tokens=1, cost="0.01") as call:
        tell(folder, f"{os.getpid()} {time.monotonic()}", "stamps.txt")
        await asyncio.sleep(0.02)
        call.settle({}, tokens=1)
    return x
