"""`Context`: what the engine offers to a running job. Public; it talks to the driver through a Port."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import pydantic_core

from batchmill.errors import TaskError, UsageError
from batchmill.executors.blobs import store_bytes, store_file
from batchmill.executors.calls import Call, Dollars, micro_cents
from batchmill.executors.messages import Work
from batchmill.executors.offload import pack_function, unpack_value
from batchmill.executors.ports import Port
from batchmill.executors.runner import to_json
from batchmill.executors.seeding import seed_of
from batchmill.model.commands import Ack
from batchmill.model.events import (
    CallAsked,
    CallCached,
    CallFound,
    LullAsked,
    OffloadAsked,
    Progress,
    StepDone,
    WaitBegan,
    WaitEnded,
)
from batchmill.model.jobs import SavedStep
from batchmill.model.limits import QuotaLimit
from batchmill.model.outcomes import Artifact, Blob

_PROGRESS_EVERY = 0.1  # seconds: displays redraw four times a second at most
_STEP: ContextVar[str] = ContextVar("batchmill_step", default="")


class Prepared(Mapping[str, Path]):
    """The files that the task's `prepare` made, by artifact name. Read only, shared by all workers."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> Path:
        return Path(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def array(self, name: str) -> Any:
        """A `.npy` file as a numpy array mapped read-only: all workers share its memory."""
        import numpy

        return numpy.load(self[name], mmap_mode="r", allow_pickle=False)


class Waits:
    """Waits for grants, and of the job's own will: they do not count against its timeout, overlapping ones once."""

    def __init__(self, extend: Callable[[float], None]) -> None:
        self._extend = extend
        self._open = 0
        self._since = 0.0

    def __enter__(self) -> None:
        if not self._open:
            self._since = time.monotonic()
        self._open += 1

    def __exit__(self, *_: object) -> None:
        self._open -= 1
        if not self._open:
            self._extend(time.monotonic() - self._since)


class Context:
    """The engine's side of one attempt. A task that takes a `Context` argument gets it."""

    def __init__(self, work: Work, run: str, run_seed: int, tmp: Path, prepared: Mapping[str, str], port: Port) -> None:
        self.job = work.job
        """The plan number of the job, from 1."""
        self.name = work.name
        self.group = work.group
        self.attempt = work.attempt
        """Counts all attempts of this job in this run, from 1."""
        self.version = work.version
        """The version of the task that this job was planned with."""
        self.params: Any = None
        """The validated parameters; None in hooks."""
        self.prepared = Prepared(prepared)
        self.deadline: float | None = None
        """`time.monotonic()` at which the attempt is killed; None without a timeout."""
        if work.timeout is not None:
            self.deadline = time.monotonic() + work.timeout
        self._run, self._run_seed = run, run_seed
        self._key = work.key or f"job:{work.job}"
        self._port, self._blobs = port, tmp
        self._saved = {step.name: step for step in work.steps}
        self._running: set[str] = set()
        self._calls: Counter[str] = Counter()
        self._artifacts: dict[str, Blob] = {}
        self._told = float("-inf")
        self._waits = Waits(self._extend)

    @cached_property
    def seed(self) -> int:
        """63 bits made from the run's seed and the job's key: `random` and `numpy.random` start from it."""
        return seed_of(self._run_seed, self._key)

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt of this job, another one in each step. A call has its own."""
        return self._idempotency_key(f"step:{_STEP.get()}") if _STEP.get() else self._job_key

    @cached_property
    def tmp(self) -> Path:
        """A folder for scratch files, removed after the attempt."""
        folder = self._blobs / f"job-{self.job}-{self.attempt}-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def step(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """`fn(*args)`, at most once per job: its value is saved before this returns, and read back in later attempts.

        The value is what its JSON reads back as, also the first time. In an `async` task, await it; `fn` may be a
        coroutine function there. Raises TaskError when the name was used with other arguments.
        """
        arguments, saved = self._begin(name, args)
        if saved is not None:
            return pydantic_core.from_json(saved.value)
        started = time.monotonic()
        token = _STEP.set(name)
        try:
            value = fn(*args)
        finally:
            _STEP.reset(token)
            self._running.discard(name)
        done = self._done(name, arguments, value, started)
        self._port.ask(done)
        return self._keep(done)

    def progress(self, n: float, total: float | None = None, stage: str = "") -> None:
        """Tell how far the job is. Cheap to call often: at most ten times a second it goes anywhere."""
        now = time.monotonic()
        if now - self._told >= _PROGRESS_EVERY or n == total:
            self._told = now
            self._port.hint(Progress(now, self._port.slot, self.job, float(n), total, str(stage)[:200]))

    def log(self, message: object) -> None:
        """Add a line to the job's captured output."""
        self._port.log(self.job, f"{message}\n")

    def artifact(self, name: str, content: bytes | str | os.PathLike[str]) -> str:
        """Keep a file of this job under `out/<job>/<name>`: `bytes` are its content, anything else is a path to copy.

        Returns the SHA-256 of the content. Raises UsageError for a name that is used twice or leaves the folder.
        """
        if not _is_inside(name):
            raise UsageError(f"`{name}` cannot be an artifact's name", hint="use a relative path without `..`")
        if name in self._artifacts:
            raise UsageError(f"this job has an artifact `{name}` already")
        store = store_bytes(self._blobs, content) if isinstance(content, bytes) else None
        self._artifacts[name] = blob = store or store_file(self._blobs, Path(os.fspath(content)))  # type: ignore[arg-type]
        return blob.digest

    def offload(self, fn: Callable[..., Any], *args: Any) -> Any:
        """`fn(*args)`: awaited in an `async` task, where a process worker runs it; elsewhere, here and now."""
        return fn(*args)

    def call(
        self,
        *,
        quota: str,
        key: str = "",
        tokens: int = 0,
        cost: Dollars | None = 0,
        limit: QuotaLimit | None = None,
    ) -> Call:
        """A metered request, to be used in `with` or `async with`.

        `quota` names what is limited, for all runs of a user on this machine; `key` tells accounts apart, `tokens` and
        `cost` (US dollars) are the most that it can come to, `limit` is what the caller knows of the quota. A `cost`
        of None means that the price is unknown: such a call is refused where a budget is set.
        """
        scope = _STEP.get()
        self._calls[scope] += 1
        own_key = partial(self._idempotency_key, f"call:{scope}:{self._calls[scope]}")
        ticket = next(self._port.tickets)
        most = 0 if cost is None else micro_cents(cost)
        now, slot = time.monotonic(), self._port.slot
        asked = CallAsked(now, slot, self.job, ticket, quota, key, tokens, most, limit, cost is None)
        return Call(self._port, self.job, asked, own_key, self._waits, self._keep_reply)

    def cache_hit(self, *, quota: str, key: str = "", usage: Mapping[str, Any] | None = None) -> None:
        """Record that a request need not leave, since its reply is at hand: it counts, and costs nothing."""
        data = to_json(dict(usage or {}))
        self._port.tell(CallCached(time.monotonic(), self._port.slot, self.job, quota, key, data))

    def call_found(
        self,
        *,
        quota: str,
        key: str,
        usage: Mapping[str, Any] | None = None,
        tokens: int = 0,
        cost: Dollars = 0,
        sent: bool = True,
    ) -> None:
        """Record what became of a call of an earlier attempt of this job, whose end nobody saw since a kill came first.

        It is settled as `Call.settle` would have done. Where there is no such call of this quota and key, this counts
        as a cache hit; with `sent=False`, or a `failure` in `usage`, as nothing.
        """
        details, now = dict(usage or {}), time.monotonic()
        settled = (tokens, micro_cents(cost), sent, to_json(details), bool(details.get("failure")))
        self._port.tell(CallFound(now, self._port.slot, self.job, quota, key, *settled))

    def sleep(self, seconds: float) -> Any:
        """Wait, as before another try at a service: `seconds` that do not count against the timeout.

        In an `async` task, await it.
        """
        if not self._port.may_wait:
            raise UsageError("a plain wait would stop every job of this worker", hint="write `await ctx.sleep(...)`")
        with self._waiting():
            time.sleep(max(seconds, 0.0))

    def lull(self) -> Any:
        """Wait until every job that runs waits too, for a limit, an answer or in `sleep`, and none can start before one
        of them goes on: nobody will soon bring what could be done together. In an `async` task, await it.
        """
        with self._waiting():
            self._port.ask(self._lull_asked())

    def _lull_asked(self) -> LullAsked:
        return LullAsked(time.monotonic(), self._port.slot, self.job, next(self._port.tickets))

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Tell the driver that the time limit waits too."""
        port = self._port
        wait = (port.slot, self.job, next(port.tickets))
        port.tell(WaitBegan(time.monotonic(), *wait))
        try:
            with self._waits:
                yield
        finally:
            port.tell(WaitEnded(time.monotonic(), *wait))

    def awaitable(self) -> AsyncContext:
        """This context for a coroutine function: `step` and `offload` are awaited."""
        twin = AsyncContext.__new__(AsyncContext)
        twin.__dict__ = self.__dict__
        return twin

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What `artifact` kept so far."""
        return tuple(Artifact(name, blob) for name, blob in self._artifacts.items())

    def close(self) -> None:
        """Remove the scratch folder."""
        if "tmp" in self.__dict__:
            shutil.rmtree(self.tmp, ignore_errors=True)

    @cached_property
    def _job_key(self) -> str:
        return self._idempotency_key("")

    def _idempotency_key(self, scope: str) -> str:
        return hashlib.blake2b(f"{self._run}\0{self._key}\0{scope}".encode(), digest_size=16).hexdigest()

    def _begin(self, name: str, args: tuple[Any, ...]) -> tuple[str, SavedStep | None]:
        """The digest of a step's arguments, and the step if it is saved; else it counts as running."""
        arguments = _digest(name, args)
        saved = self._saved.get(name)
        if saved is not None and saved.arguments != arguments:
            raise TaskError(
                f"step `{name}` is saved with other arguments",
                hint="give each call its own name, or a new task version",
            )
        if saved is None and name in self._running:
            raise TaskError(f"step `{name}` is running already", hint="give each call its own name")
        if saved is None:
            self._running.add(name)
        return arguments, saved

    def _done(self, name: str, arguments: str, value: Any, started: float) -> StepDone:
        now = time.monotonic()
        step = SavedStep(name, arguments, to_json(value, non_finite="constants"))
        return StepDone(now, self._port.slot, self.job, next(self._port.tickets), step, now - started)

    def _keep(self, done: StepDone) -> Any:
        self._saved[done.step.name] = done.step
        return pydantic_core.from_json(done.step.value)

    def _extend(self, waited: float) -> None:
        if self.deadline is not None:
            self.deadline += waited

    def _keep_reply(self, reply: Any) -> str:
        data = reply if isinstance(reply, bytes) else reply.encode() if isinstance(reply, str) else to_json(reply)
        number = sum(name.startswith("replies/") for name in self._artifacts) + 1
        return self.artifact(f"replies/{number}", data)


class AsyncContext(Context):
    """The Context of a coroutine function: what waits is awaited."""

    async def step(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """See Context."""
        arguments, saved = self._begin(name, args)
        if saved is not None:
            return pydantic_core.from_json(saved.value)
        started = time.monotonic()
        token = _STEP.set(name)
        try:
            value = fn(*args)
            if inspect.isawaitable(value):
                value = await value
        finally:
            _STEP.reset(token)
            self._running.discard(name)
        done = self._done(name, arguments, value, started)
        await self._port.ask_later(done)
        return self._keep(done)

    async def sleep(self, seconds: float) -> None:
        """See Context."""
        with self._waiting():
            await asyncio.sleep(max(seconds, 0.0))

    async def lull(self) -> None:
        """See Context. That one coroutine waits here does not mean that the job does."""
        await self._port.ask_later(self._lull_asked())

    async def offload(self, fn: Callable[..., Any], *args: Any) -> Any:
        """See Context. Raises what `fn` raised, or JobFailed when its process was killed."""
        if not self._port.offloads:
            return fn(*args)
        payload = pack_function(fn, args)
        asked = OffloadAsked(time.monotonic(), self._port.slot, self.job, next(self._port.tickets), payload)
        ack: Ack = await self._port.ask_later(asked)
        return unpack_value(ack.value, ack.refused)


def _digest(name: str, args: tuple[Any, ...]) -> str:
    try:
        data = pydantic_core.to_json(args, inf_nan_mode="strings", bytes_mode="base64")
    except ValueError as error:
        raise TaskError(
            f"the arguments of step `{name}` cannot be compared: {error}",
            hint="pass plain values, and bind other objects with a lambda",
        ) from error
    # pydantic keeps the order of keys; equal mappings must count as equal
    canonical = json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
