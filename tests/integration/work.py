"""Functions that tests run as jobs: this file is copied into the project of each test."""

import ctypes
import os
import random
import signal
import subprocess
import sys
import time


def tell(word, file="done.txt"):
    """Add a line to a file in the project's folder, at once."""
    with open(os.path.join(os.path.dirname(__file__), file), "ab", buffering=0) as stream:
        stream.write(f"{word}\n".encode())


def wait_for_file(name, seconds=30.0):
    """Return once a file exists in the project's folder."""
    path = os.path.join(os.path.dirname(__file__), name)
    until = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > until:
            raise TimeoutError(f"nobody made {name}")
        time.sleep(0.005)


def square(x: int) -> dict:
    tell(x)
    return {"x": x, "square": x * x}


def slow(x: int, seconds: float = 0.05) -> dict:
    time.sleep(seconds)
    tell(x)
    return {"x": x}


def gated(x: int, gate: str = "") -> dict:
    """Tells that it began, waits for a file, tells that it ended."""
    tell(f"begin {x}")
    if gate:
        wait_for_file(gate)
    tell(f"end {x}")
    return {"x": x}


def patricide(x: int, kills: bool = False) -> dict:
    """Works for a while; or ends the process that starts the workers, once another job works."""
    if kills:
        wait_for_file("done.txt")
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(30)
    tell(f"begin {x}")
    time.sleep(0.2)
    return {"x": x}


def drawn(x: int, kind: str = "") -> dict:
    """Numbers from the generators, which the engine seeds."""
    time.sleep(0.003)
    if kind:
        raise ValueError(f"bad {x}")
    return {"x": x, "random": random.random()}


def flaky(x: int, good_from: int, ctx=None) -> dict:
    """Fails until attempt `good_from`."""
    tell(f"{x} attempt {ctx.attempt} key {ctx.idempotency_key}")
    if ctx.attempt < good_from:
        raise ConnectionError(f"attempt {ctx.attempt}")
    return {"attempt": ctx.attempt}


def unless_file(x: int, name: str) -> dict:
    """Fails until a file is there."""
    tell(x)
    if not os.path.exists(os.path.join(os.path.dirname(__file__), name)):
        raise ValueError(f"there is no {name}")
    return {"x": x}


def mixed(n: int = 0, kind: str = "good"):
    """Good and hostile jobs."""
    return HOSTILE[kind](n)


def _good(n):
    return {"n": n, "cwd": os.getcwd(), "evil": os.environ.get("EVIL"), "umask": _umask()}


def _umask():
    before = os.umask(0)
    os.umask(before)
    return before


def _loop_in_c(n):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (10**9) ** (10**9)


def _allocate(n):
    kept = []
    while True:
        kept.append(bytearray(5_000_000))


def _print_much(n):
    line = "x" * 99 + "\n"
    sys.stdout.write("first line\n")
    for _ in range(50):
        sys.stdout.write(line * 1000)
    sys.stdout.write("last line\n")
    return "printed"


def _raise(n):
    raise ValueError("no \x1b[31mgood\nsecond line")


def _fork_daemon(n):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    return "forked"


def _change_everything(n):
    os.chdir("/")
    os.environ["EVIL"] = "1"
    os.umask(0o777)
    sys.stdout.close()
    return "changed"


def _write_binary(n):
    os.write(1, bytes(range(256)))
    return "binary"


def _lower_limits(n):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    return "lowered"


def _leave_alarm(n):
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    return "alarm"


def _block_signals(n):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    return "blocked"


HOSTILE = {
    "good": _good,
    "loop": _loop_in_c,
    "memory": _allocate,
    "segfault": lambda n: ctypes.string_at(0),
    "exit": lambda n: os._exit(3),
    "sys_exit": lambda n: sys.exit(4),
    "print": _print_much,
    "nan": lambda n: {"a": float("nan"), "b": float("inf"), "c": float("-inf")},
    "big": lambda n: "y" * 5_000_000,
    "medium": lambda n: "z" * 100_000,
    "raise": _raise,
    "daemon": _fork_daemon,
    "change": _change_everything,
    "binary": _write_binary,
    "close_fds": lambda n: os.closerange(0, 1000),
    "kill_self": lambda n: os.kill(os.getpid(), signal.SIGKILL),
    "limits": _lower_limits,
    "alarm": _leave_alarm,
    "mask": _block_signals,
    "child": lambda n: subprocess.Popen(["sleep", "1000"], start_new_session=True).pid,
    "unwritable": lambda n: object(),
    "sleep": lambda n: subprocess.run(["sleep", "1000"]),
}


def in_and_out(x: str) -> str:
    tell(f"in {x}")
    time.sleep(0.03)
    tell(f"out {x}")
    return x


def own_pid(x: int) -> dict:
    return {"pid": os.getpid()}


_kept = []


def grow(x: int) -> dict:
    _kept.append(b"x" * 40_000_000)
    time.sleep(0.02)
    return {"pid": os.getpid()}


def hold(x: int, megabytes: int) -> int:
    tell(f"in {x}")
    block = b"x" * (megabytes * 1_000_000)
    time.sleep(0.4)
    tell(f"out {x}")
    return len(block)


def echo(value):
    return value


def read(path: str, times: int) -> dict:
    with open(path) as stream:
        return {"text": stream.read() * times}


def kind_of(value) -> dict:
    return {"repr": repr(value)}


async def later(x: int, ctx) -> dict:
    return {"step": await ctx.step("double", lambda: x), "x": x}
