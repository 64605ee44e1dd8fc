"""What asking language models costs and keeps, through Batchmill and through its peers, on the fake service.

- CPU per request at 50 connections, all processes of the client together, beside a bare loop around aiohttp;
- 900 requests at a limit of 600 a minute: pace, refusals, losses;
- the same where the client is told a limit twice too high, and the service tells none;
- ten files at the terminal, from the start of the process to its end, beside a script around aiohttp;
- memory of 50,000 requests;
- money for 50 calls, and 500 calls, 100 of them at once: how many leave.

Peers that are not installed (`pip install -e '.[bench-llm]'`) are left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from batchmill.testing import FakeLLM
from batchmill.testing.fake_llm import Counts
from benchmarks._llm_clients import NEEDS, Done, Settings

CONNECTIONS = 50
PRICE_IN, PRICE_OUT = 1.0, 4.0  # dollars a million tokens, what every client is told
EVERY = 0.5  # seconds between two looks at memory
LIMIT, BURST, ASKED = 600, 10, 900


class Outcome(NamedTuple):
    """What a client did, by its own account and by the service's. `cpu` is of all its processes, in seconds."""

    done: Done
    seconds: float
    cpu: float
    memory: float  # megabytes at the highest, of all processes; what they share counts once
    counts: Counts
    service: float  # CPU seconds of the service
    span: float  # seconds from the first request to the last


class Failed(Exception):
    """A client that did not come to its end."""


def measured(client: str, settings: dict[str, Any], service: dict[str, Any]) -> Outcome:
    """Run a client against a fake service of its own. Raises Failed."""
    with FakeLLM(default_price=(PRICE_IN, PRICE_OUT), log=200_000, **service) as fake:
        given = Settings(url=fake.openai_url, **settings)
        service_cpu = psutil.Process(fake.pid).cpu_times
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as talk:
            command = [sys.executable, "-m", "benchmarks._llm_clients", client, json.dumps(given._asdict())]
            process = subprocess.Popen(command, stdout=out, stderr=talk, stdin=subprocess.DEVNULL)
            highest = _Highest(process.pid)
            _, status, usage = os.wait4(process.pid, 0)  # of its children too, which it has waited for
            memory = highest.stop()
            process.returncode = os.waitstatus_to_exitcode(status)
            for file in (out, talk):
                file.seek(0)
            lines, said = out.read().decode().splitlines(), talk.read().decode(errors="replace")
        if process.returncode or not lines:
            raise Failed(f"{client}: exit code {process.returncode}: {said.strip()[-300:]}")
        told = json.loads(lines[-1])
        log = fake.log
        span = log[-1].seconds - log[0].seconds if log else 0.0
        cpu = usage.ru_utime + usage.ru_stime
        done = Done(told["answered"], told["failed"])
        return Outcome(done, told["seconds"], cpu, memory, fake.counts, sum(service_cpu()[:2]), span)


class _Highest:
    """The highest memory of a process and its descendants, looked at now and then until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._process, self._ended, self._most = psutil.Process(pid), threading.Event(), 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Megabytes: the sum of the proportional set sizes."""
        self._ended.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            with contextlib.suppress(psutil.Error):
                tree = [self._process, *self._process.children(recursive=True)]
                self._most = max(self._most, sum(_pss(process) for process in tree) / 1e6)


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it has ended, or is ending
        return 0


def present(wanted: list[str]) -> list[str]:
    """The clients among those wanted that are installed; a line for each other one."""
    found = []
    for client in wanted:
        if client in NEEDS and find_spec(NEEDS[client]) is None:
            print(f"{client:24} skipped: `{NEEDS[client]}` is not installed")
        else:
            found.append(client)
    return found


class Cost(NamedTuple):
    """What a client took: CPU seconds for each request, its own and the service's, and megabytes at the highest."""

    cpu: float
    service: float
    memory: float


def cpu(requests: int, rounds: int) -> None:
    """CPU milliseconds per request: a long run less a short one, so that starting does not count.

    In each round every client has its turn, and is compared with the bare loop of that round: machines have moods.
    """
    print(
        f"\nCPU per request, {CONNECTIONS} connections, no latency ({requests:,} requests; medians of {rounds} rounds)"
    )
    shapes = {
        "bare aiohttp loop": ("bare", requests, 0),
        "batchmill, job a request": ("batchmill", requests, 0),
        "batchmill, 50 jobs": ("batchmill", requests, CONNECTIONS),
        "openai SDK": ("openai", requests // 4, 0),
        "litellm": ("litellm", requests // 8, 0),
        "curator": ("curator", requests // 8, 0),
    }
    installed = present(list(dict.fromkeys(client for client, _, _ in shapes.values())))
    costs: dict[str, list[Cost]] = {title: [] for title, (client, _, _) in shapes.items() if client in installed}
    for _ in range(rounds):
        for title, found in costs.items():
            try:
                found.append(_cost(*shapes[title]))
            except Failed as error:
                print(f"{title:24} failed: {error}")
    bare = costs["bare aiohttp loop"]
    service = median(cost.service for cost in bare)
    print(f"{'the service itself':24} {1000 * service:8.3f} ms {1 / service:10,.0f} requests/s on one core")
    for title, found in costs.items():
        if found:
            ratio = median(own.cpu / peer.cpu for own, peer in zip(found, bare, strict=False))
            memory = max(cost.memory for cost in found)
            print(f"{title:24} {1000 * median(c.cpu for c in found):8.3f} ms {ratio:8.2f} x bare {memory:8.0f} MB")


def _cost(client: str, most: int, jobs: int) -> Cost:
    few = max(CONNECTIONS, most // 10)
    outcomes = []
    for n in (few, most):
        settings = {"requests": n, "concurrency": CONNECTIONS, "jobs": jobs}
        outcome = measured(client, settings, {})
        if outcome.done.answered != n or outcome.counts.billed != n:
            raise Failed(f"{client}: {outcome.done.answered} answered, {outcome.counts.billed} billed, of {n}")
        outcomes.append(outcome)
    small, large = outcomes
    few_to_most = most - few
    return Cost((large.cpu - small.cpu) / few_to_most, (large.service - small.service) / few_to_most, large.memory)


def limited(told: int, *, tell_limits: bool) -> None:
    """900 requests at a limit, all clients side by side, each with a service of its own."""
    hints = "which its headers tell" if tell_limits else "which no header tells"
    print(f"\n{ASKED} requests, the service allows {LIMIT} a minute, {BURST} at once, {hints}; clients are told {told}")
    service = {"rpm": LIMIT, "burst": BURST, "latency": "50ms", "tell_limits": tell_limits}
    settings = {"requests": ASKED, "concurrency": CONNECTIONS, "rpm": told}
    clients = present(["batchmill", "openai", "litellm", "curator"])
    with ThreadPoolExecutor(len(clients)) as pool:
        futures = {client: pool.submit(measured, client, settings, service) for client in clients}
    for client, future in futures.items():
        try:
            outcome = future.result()
        except Failed as error:
            print(f"{client:24} failed: {error}")
            continue
        allowed = (outcome.counts.answered - BURST) / (LIMIT / 60)  # seconds that the limit asks for
        print(
            f"{client:24} {outcome.done.answered:4} answered {outcome.done.failed:4} failed "
            f"{outcome.counts.refused:5} refused {100 * allowed / max(outcome.span, 1e-9):6.1f} % of the allowed rate",
            flush=True,
        )


def budget() -> None:
    """500 calls with money for 50, 100 at once."""
    print("\nmoney for 50 calls, 500 calls, 100 at once")
    one = measured("bare", {"requests": 1}, {}).counts.cost / 1e8
    for client in present(["batchmill", "litellm"]):
        settings = {"requests": 500, "concurrency": 100, "budget": 50 * one * 1.0001}
        try:
            outcome = measured(client, settings, {"latency": "50ms", "answer": same_answer})
        except Failed as error:
            print(f"{client:24} failed: {error}")
            continue
        counts = outcome.counts
        print(f"{client:24} {counts.billed:4} left, {counts.cost / 1e8 / (50 * one):5.2f} of the budget", flush=True)


def memory(requests: int) -> None:
    """Many requests: does memory grow with them?"""
    print(f"\nmemory of {requests:,} requests, all processes")
    for many in (requests // 10, requests):
        outcome = measured("batchmill", {"requests": many, "jobs": CONNECTIONS}, {})
        pace = many / outcome.seconds
        print(f"batchmill, {many:7,} {outcome.memory:8.0f} MB at the highest, {pace:8,.0f} requests/s", flush=True)


FILES, AT_ONCE, LATENCY = 10, 5, 0.05


def files(rounds: int) -> None:
    """Ten small files at the terminal: how long a user waits beyond what the service takes, and CPU of all processes.

    The two take turns, so that whatever else the machine does is fair to both.
    """
    ideal = FILES / AT_ONCE * LATENCY
    print(f"\n{FILES} files, {AT_ONCE} at once, {LATENCY:g} s each: {ideal:g} s at best (median of {rounds} runs)")
    shapes: dict[str, list[tuple[float, float]]] = {"a script around aiohttp": [], "batchmill documents": []}
    with FakeLLM(latency=f"{LATENCY}s") as fake, tempfile.TemporaryDirectory() as folder:
        documents = Path(folder) / "documents"
        documents.mkdir()
        for number in range(FILES):
            (documents / f"{number}.txt").write_text(f"Document {number} tells of long runs and of how they end.\n" * 5)
        paths = sorted(map(str, documents.iterdir()))
        script = [str(Path(__file__).parent / "_bare_files.py"), fake.openai_url, str(AT_ONCE), *paths]
        command = ["-m", "batchmill", "documents", str(documents), "--prompt", "Summarise", "--model", "openai/bench"]
        for number in range(rounds + 1):  # the first one warms the disk's cache
            home = str(Path(folder) / str(number))
            os.mkdir(home)
            known = {"XDG_STATE_HOME": home, "OPENAI_BASE_URL": fake.openai_url, "OPENAI_API_KEY": "sk-bench"}
            for words, times in zip((script, command), shapes.values(), strict=True):
                times.append(_timed([sys.executable, *words], home, known))
        assert fake.counts.answered == 2 * FILES * (rounds + 1)
    for title, times in shapes.items():
        seconds, cpu = (statistics.median(each[of] for each in times[1:]) for of in (0, 1))
        print(f"{title:24} {seconds:5.2f} s, {seconds - ideal:5.2f} s over the ideal {cpu:8.2f} s of CPU", flush=True)


def _timed(command: list[str], folder: str, known: dict[str, str]) -> tuple[float, float]:
    """Seconds from the start of a process to its end, and its CPU seconds with those of its children."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **known}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"{command[1]}: exit code {process.returncode}: {said[-300:]}")
    return seconds, usage.ru_utime + usage.ru_stime


def same_answer(asked: object) -> str:
    """An answer as long as any."""
    return "word" * 16


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "cpu": lambda options: cpu(options.requests, options.rounds),
    "memory": lambda options: memory(options.many),
    "files": lambda options: files(3 * options.rounds),
    "limit": lambda options: limited(LIMIT, tell_limits=True),
    "twice": lambda options: limited(2 * LIMIT, tell_limits=False),
    "budget": lambda options: budget(),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llm", description=__doc__)
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--many", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    os.chdir(Path(__file__).parents[1])
    for part in options.only:
        PARTS[part](options)


if __name__ == "__main__":
    main()
