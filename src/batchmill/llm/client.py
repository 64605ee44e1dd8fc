"""`LLM`: how a job talks to language models. Ladder and cascade are put together here; one request is `exchange`'s."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from batchmill import Context, UsageError
from batchmill.llm.answers import Answer
from batchmill.llm.bills import Purpose
from batchmill.llm.cascade import Ascent, Cascade, plain_answer
from batchmill.llm.exchange import Desk, exchange
from batchmill.llm.messages import Image, Message, Reply, Request
from batchmill.llm.service import preload, service_of
from batchmill.llm.settings import CacheMode, Lane, Settings
from batchmill.llm.structured import Schema, shape_of

Prompt = str | Message | Sequence[Message | str | Image]
_Value = TypeVar("_Value")
_kept = threading.local()
_PLAIN = Purpose()
preload("batchmill.llm.transport.direct")  # whoever imports this will ask, most likely


class LLM:
    """Language models for one job: `LLM(ctx)`, once in each job. In a plain process task, use the `_sync` methods.

    `settings` are by default those of the folder, the user and the environment (see `settings.load`). `cache` is
    `on`, `fresh` (ask again, but once for each job in a run) or `off`; `max_age`, in seconds, leaves older replies out.
    `lane` is `live`, `batch` (in the provider's batches: later, at half the price) or `auto`. By default both are the
    settings'.
    """

    def __init__(
        self,
        ctx: Context,
        settings: Settings | None = None,
        *,
        cache: CacheMode | None = None,
        max_age: float | None = None,
        lane: Lane | None = None,
    ) -> None:
        if cache not in (None, "on", "fresh", "off"):
            raise UsageError(f"`{cache}` is no mode of the cache", hint="use `on`, `fresh` or `off`")
        self._ctx, self._settings = ctx, settings
        if lane not in (None, "live", "batch", "auto"):
            raise UsageError(f"`{lane}` is no lane", hint="use `live`, `batch` or `auto`")
        self._cache, self._max_age, self._lane = cache, max_age, lane

    async def ask(
        self,
        model: str | Cascade,
        prompt: Prompt,
        *,
        system: str = "",
        images: Sequence[Image] = (),
        schema: Schema | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        variant: str = "",
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """A model's answer to a text, or to messages.

        With a `schema` (JSON Schema or a pydantic model) the answer's `value` fits it: what does not is repaired, asked
        for again, and asked of the next model of the cascade. What is not given comes from the settings. `variant`
        tells apart requests that are equal and should not share a reply, such as samples. With `on_text` the reply is
        streamed: it is called with each piece of text, from the beginning again when a request is tried again.
        Raises ModelError when there is no answer, Permanent when a limit of the run refuses.
        """
        desk = self._desk()
        shape = None if schema is None else shape_of(schema)
        settings = desk.service.settings
        request = Request(
            model if isinstance(model, str) else model.models[0],
            messages_of(prompt, system, images),
            settings.max_tokens if max_tokens is None else max_tokens,
            settings.temperature if temperature is None else temperature,
            settings.seed if seed is None else seed,
            tuple(stop),
            None if shape is None else shape.schema,
            options or {},
        )
        if shape is None and isinstance(model, str):
            purpose = _PLAIN if on_text is None else Purpose(on_text)
            return plain_answer(model, await exchange(desk, request, purpose, variant))
        cascade = Cascade((model,)) if isinstance(model, str) else model
        return await Ascent(desk, cascade, request, shape, variant, on_text).run()

    async def complete(self, request: Request, *, variant: str = "") -> Reply:
        """The reply to a complete request. Raises as `ask` does."""
        done = await exchange(self._desk(), request, _PLAIN, variant)
        return done.reply

    def ask_sync(self, model: str | Cascade, prompt: Prompt, **options: Any) -> Answer:
        """`ask` for a plain function: it waits."""
        return _waited(self.ask(model, prompt, **options))

    def complete_sync(self, request: Request, *, variant: str = "") -> Reply:
        """`complete` for a plain function: it waits."""
        return _waited(self.complete(request, variant=variant))

    def _desk(self) -> Desk:
        service = service_of(self._settings)
        settings = service.settings
        return Desk(self._ctx, service, self._cache or settings.cache, self._max_age, self._lane or settings.lane)


def messages_of(prompt: Prompt, system: str = "", images: Sequence[Image] = ()) -> tuple[Message, ...]:
    """The messages of a prompt: a text, a message, messages, or the parts of one. Images come before the last text.

    Raises UsageError when there is nothing in it.
    """
    if isinstance(prompt, str) and not images:
        asked = Message("user", (prompt,))
        return (Message("system", (system,)), asked) if system else (asked,)
    parts = (prompt,) if isinstance(prompt, str | Message) else tuple(prompt)
    messages = [part for part in parts if isinstance(part, Message)]
    loose = tuple(part for part in parts if not isinstance(part, Message))
    if loose:
        messages.append(Message("user", loose))
    if not messages:
        raise UsageError("a request needs a prompt")
    if images:
        messages[-1] = Message(messages[-1].role, (*images, *messages[-1].parts))
    if system:
        messages.insert(0, Message("system", (system,)))
    return tuple(messages)


def _waited(coroutine: Coroutine[Any, Any, _Value]) -> _Value:
    """What a coroutine returns, run by a loop of this thread that is kept for its connections."""
    loop = _own_loop(coroutine)
    task = loop.create_task(_after_news(coroutine))
    try:
        return loop.run_until_complete(task)
    except BaseException:
        if not task.done():  # an interrupt, not its own error
            task.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        raise


def _own_loop(coroutine: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
    if asyncio._get_running_loop() is not None:
        coroutine.close()
        raise UsageError("this would stop every job of this worker", hint="write `await llm.ask(...)`")
    loop: asyncio.AbstractEventLoop | None = getattr(_kept, "loop", None)
    if loop is None or _kept.process != os.getpid():
        loop, _kept.process = asyncio.new_event_loop(), os.getpid()
        _kept.loop = loop
    return loop


async def _after_news(coroutine: Coroutine[Any, Any, _Value]) -> _Value:
    await asyncio.sleep(0)  # connections that were closed since the last time are told so first
    return await coroutine
