"""Tasks that the tests of executors run in real workers."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from batchmill.errors import ManifestError, Permanent, RetryLater, Skip
from batchmill.executors.context import Context


def noop() -> int:
    return 1


def echo(value: Any = None) -> Any:
    return value


def length(text: str) -> int:
    return len(text)


def pid() -> int:
    return os.getpid()


def look_around() -> list[str | None]:
    return [os.getcwd(), os.environ.get("SET_AFTER_THE_START"), os.environ.get("HOME")]


def exit_now(code: int) -> None:
    os._exit(code)


def sys_exit() -> None:
    sys.exit("enough")


def segfault() -> None:
    ctypes.string_at(0)


def fail(text: str) -> None:
    raise ValueError("\ud800" + text)


def signal_engine(what: str) -> None:
    if what == "later":
        raise RetryLater("busy", after=7.5)
    if what == "permanent":
        raise Permanent("never")
    if what == "skip":
        raise Skip("nothing to do")
    if what == "memory":
        raise MemoryError
    if what == "manifest":
        raise ManifestError("a bad model")
    raise KeyboardInterrupt


def unwritable() -> Any:
    return object()


class Point(BaseModel):
    x: int
    y: float = 2.0


def point(x: int) -> Point:
    return {"x": x}  # type: ignore[return-value]


def wrong_point() -> Point:
    return {"x": "no"}  # type: ignore[return-value]


def numpy_result() -> dict[str, Any]:
    import numpy

    return {"n": numpy.int64(3), "a": numpy.arange(3), "f": numpy.float32(0.5)}


def numpy_count() -> int:
    import numpy

    return numpy.int64(3)  # type: ignore[return-value]


def not_finite() -> list[float]:
    return [float("nan"), float("inf"), -float("inf")]


def large(size: int) -> str:
    return "x" * size


def allocate(size: int) -> int:
    return len(bytearray(size))


def hold_memory(size: int, flag: str) -> int:
    data = b"x" * size
    wait_for(flag)
    return len(data)


def wait_for(flag: str) -> str:
    while not os.path.exists(flag):
        time.sleep(0.002)
    return flag


def mark_and_wait(mark: str, flag: str) -> None:
    Path(mark).touch()
    wait_for(flag)


def loop_in_c(mark: str) -> None:
    """A C loop that no Python signal handler can interrupt, and that ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(mark).touch()
    sum(range(10**12))


def daemonise(pid_file: str) -> None:
    """A grandchild in a session of its own, whose parent is gone; then never return."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            Path(pid_file).write_text(str(os.getpid()))
            time.sleep(1000)
        os._exit(0)
    time.sleep(1000)


def leave_child(pid_file: str) -> None:
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    Path(pid_file).write_text(str(child.pid))
    child.returncode = 0  # it is left behind on purpose: no ResourceWarning


def print_much(megabytes: int) -> None:
    block = "x" * 1023 + "\n"
    print("the beginning")
    for _ in range(megabytes * 1024):
        sys.stdout.write(block)
    print("the end")


def say(text: str) -> None:
    print(text)
    os.write(2, b"and to stderr\n")


def log_lines(ctx: Context, text: str) -> None:
    print("printed")
    ctx.log(text)


def spoil() -> None:
    """Change everything that the next job must not see."""
    import resource

    os.chdir("/")
    os.environ["BATCHMILL_TEST_SPOILED"] = "1"
    os.umask(0o077)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    sys.stdout.close()
    os.close(1)


def state() -> dict[str, Any]:
    import resource

    print("still here")
    umask = os.umask(0)
    os.umask(umask)
    return {
        "cwd": os.getcwd(),
        "spoiled": "BATCHMILL_TEST_SPOILED" in os.environ,
        "umask": umask,
        "handler": signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def draw() -> list[float]:
    import random

    import numpy

    return [random.random(), float(numpy.random.random())]


def seeds(ctx: Context) -> list[Any]:
    return [ctx.seed, ctx.idempotency_key]


def touch_input(path: str) -> None:
    Path(path).write_text("something else")


def steps(ctx: Context, folder: str, stop: bool = False) -> list[Any]:
    first = ctx.step("first", _count, folder, "first")
    second = ctx.step("second", _nan, folder)
    if stop:
        raise RuntimeError("stopped")
    return [first, second, ctx.step("first", _count, folder, "first")]


def _count(folder: str, name: str) -> dict[str, Any]:
    with open(Path(folder, name), "a") as file:
        file.write("x")
    return {"name": name, "pair": (1, 2)}


def _nan(folder: str) -> float:
    return float("nan")


def clashing_steps(ctx: Context, folder: str) -> None:
    ctx.step("a", _count, folder, "x")
    ctx.step("a", _nan, folder)


def metered(ctx: Context, settle: bool = True) -> str:
    with ctx.call(quota="toy", key="k", tokens=100, cost="0.02") as call:
        call.limit_seen(pause=1.0)
        if settle:
            call.settle({"input": 3}, reply={"text": "hello"}, tokens=5, cost=0.01)
        return call.idempotency_key


def with_artifact(ctx: Context) -> str:
    (ctx.tmp / "scratch").write_text("scratch")
    ctx.artifact("a/note.txt", b"hello")
    ctx.artifact("copy.txt", ctx.tmp / "scratch")
    return str(ctx.tmp)


def bad_artifact(ctx: Context) -> None:
    ctx.artifact("../escape", b"")


def tell_progress(ctx: Context) -> None:
    ctx.progress(1, 3, "reading")


def prepared_sum(ctx: Context) -> float:
    return float(ctx.prepared.array("numbers").sum())


async def async_echo(value: int) -> int:
    return value


async def async_gate(ctx: Context, mark: str, flag: str) -> str:
    import asyncio

    ctx.log(f"waiting for {Path(flag).name}")
    print("printed")
    Path(mark).touch()
    while not os.path.exists(flag):
        await asyncio.sleep(0.002)
    return flag


async def async_stubborn(mark: str) -> None:
    import asyncio

    Path(mark).touch()
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            continue


async def async_crash(mark: str) -> None:
    import asyncio

    Path(mark).touch()
    await asyncio.gather(_crash())


async def _crash() -> None:
    ctypes.string_at(0)


async def async_steps(ctx: Context, folder: str) -> list[Any]:
    import asyncio

    async def slow(name: str) -> str:
        await asyncio.sleep(0)
        return name

    return list(await asyncio.gather(ctx.step("a", slow, "one"), ctx.step("b", _count, folder, "b")))


async def async_metered(ctx: Context) -> str:
    async with ctx.call(quota="toy", cost=1) as call:
        call.settle({"n": 1})
    return "done"


async def async_offload(ctx: Context, bad: bool = False) -> Any:
    own = os.getpid()
    if bad:
        return await ctx.offload(fail, "offloaded")
    return await ctx.offload(lambda: os.getpid() != own)


async def hang_loop() -> None:
    sum(range(10**12))


def naps(ctx: Context, seconds: float) -> bool:
    before = ctx.deadline or 0.0
    ctx.sleep(seconds)
    return (ctx.deadline or 0.0) >= before + seconds


async def async_naps(ctx: Context, seconds: float) -> bool:
    import asyncio

    before = ctx.deadline or 0.0
    await asyncio.gather(*(ctx.sleep(seconds) for _ in range(50)))
    return before + seconds <= (ctx.deadline or 0.0) < before + 49 * seconds


async def unpriced(ctx: Context) -> str:
    async with ctx.call(quota="toy", cost=None):
        return "sent"
