"""Requests as JSON lines that somebody else runs (vLLM's `run-batch`, a batch made by hand), and their results back.

A line is named by the key of its reply, so that a result finds its place in the reply cache. Nothing is sent here.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from batchmill import Skip, UsageError
from batchmill.llm.cache import ReplyCache
from batchmill.llm.exchange import Done, Exchange
from batchmill.llm.lanes import anthropic, openai
from batchmill.llm.lanes.offers import Result
from batchmill.llm.messages import Request
from batchmill.llm.providers import reading
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Malformed, Provider
from batchmill.llm.providers.openai import OpenAI

EXPORTED = "exported"  # why a job is skipped
_TOGETHER = 0.1  # seconds in which the other requests of a job are written too
_KEY = 20  # bytes
_LONGEST = 64 << 20  # bytes of a line
_AT_ONCE = 200


class ExportExchange(Exchange):
    """Writes the request down instead of asking: the job is skipped. What is in the cache is answered from there."""

    async def _ask(self, cache: ReplyCache | None) -> Done:
        if self._model.provider.family == "python":
            return await super()._ask(cache)
        line = line_of(self._model.provider, self._key.hex(), self._request)
        append(Path(self._service.settings.lanes.export), line)
        await asyncio.sleep(_TOGETHER)
        raise Skip("its request was written down to be run elsewhere", kind=EXPORTED)


def line_of(provider: Provider, id: str, request: Request) -> bytes:
    """A request as a line. Raises UsageError where there is no form for it."""
    if isinstance(provider, OpenAI):
        return openai.line(provider, id, request)
    if isinstance(provider, Anthropic):
        return anthropic.line(provider, id, request)
    raise UsageError(
        f"requests to `{request.model}` have no form as lines of a batch",
        hint="export those of a model that speaks OpenAI's or Anthropic's protocol, such as `vllm/NAME`",
    )


def append(path: Path, line: bytes) -> None:
    """Add a line to a file that several processes write."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line)


class Exported(NamedTuple):
    """How many requests there are, and of which models as their server names them."""

    requests: int
    models: tuple[str, ...]


def publish(written: Path, to: Path) -> Exported:
    """Bring the lines to their file, each once. Raises UsageError when that cannot be written."""
    seen: set[str] = set()
    models: dict[str, None] = {}
    partial = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            for line in _lines(written):
                told = reading.parse(line)
                if (id := str(told["custom_id"])) not in seen:
                    seen.add(id)
                    models[reading.text(reading.mapping(told.get("body") or told.get("params")).get("model"))] = None
                    file.write(line)
        partial.replace(to)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"cannot write `{to}`: {error.strerror}") from error
    return Exported(len(seen), tuple(models))


class Imported(NamedTuple):
    """What became of the lines of a file of results. `foreign`: lines that no request of ours has."""

    replies: int = 0
    failed: int = 0
    foreign: int = 0
    reasons: tuple[str, ...] = ()  # of the first failures


async def bring_in(path: Path, cache: ReplyCache) -> Imported:
    """Put the replies in a file of results into the cache; those that failed are left out.

    Raises UsageError when the file cannot be read, sqlite3.Error when the cache cannot be written.
    """
    replies = failed = foreign = 0
    reasons: list[str] = []
    waiting = []
    for line in _lines(path):
        found = _result(line)
        key = b"" if found is None else _key_of(found.line)
        if found is None or not key:
            foreign += 1
        elif found.body is None:
            failed += 1
            if found.failure is not None and len(reasons) < 3:
                reasons.append(found.failure.message)
        else:
            replies += 1
            waiting.append(cache.put(key, found.body))
        if len(waiting) >= _AT_ONCE:
            await asyncio.gather(*waiting)
            waiting = []
    await asyncio.gather(*waiting)
    return Imported(replies, failed, foreign, tuple(reasons))


def _result(line: bytes) -> Result | None:
    try:
        told = reading.parse(line)
    except Malformed:
        return None
    return anthropic.result(told) if "result" in told else openai.result(told)


def _key_of(name: str) -> bytes:
    try:
        key = bytes.fromhex(name)
    except ValueError:
        return b""
    return key if len(key) == _KEY else b""


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that hold anything. Raises UsageError."""
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST):
                if line.strip():
                    yield line
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror}") from error
