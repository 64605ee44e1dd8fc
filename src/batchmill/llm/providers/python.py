"""A plain Python function as a model: `python/module:function`. Nothing leaves the process.

The function takes a `Request` and returns a text or a `Reply`; it may be a coroutine function. A function that blocks
runs in a thread. It may raise `RetryLater`, or an error of the operating system, to be tried again; any other error
is final, because the same call would raise it again.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, ClassVar

from batchmill import RetryLater, UsageError
from batchmill.llm import headers
from batchmill.llm.messages import Image, Message, Reply, Request
from batchmill.llm.providers import reading
from batchmill.llm.providers.base import Endpoint, Malformed, Seen
from batchmill.llm.transport import HttpReply, HttpRequest, Lines, Timeouts, TransportError

Answerer = Callable[[Request], str | Reply | Awaitable[str | Reply]]
SCHEME = "python:"


@dataclass(frozen=True, slots=True)
class Python:
    """Requests and replies as JSON of our own, so that they are stored and cached as those of a service are."""

    family: ClassVar[str] = "python"
    native_schema: ClassVar[bool] = True
    sees: ClassVar[bool] = True

    def encode(self, request: Request, endpoint: Endpoint, *, stream: bool = False) -> HttpRequest:
        """The whole request, as JSON."""
        fields = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
        messages = [{"role": m.role, "parts": [_coded(part) for part in m.parts]} for m in request.messages]
        return HttpRequest(endpoint.url, reading.write(fields | {"messages": messages}))

    def decode(self, body: bytes) -> Reply:
        """The function's reply. Raises Malformed."""
        answer = reading.parse(body)
        if not isinstance(answer.get("text"), str):
            raise Malformed("the reply has no `text`")
        told = reading.mapping(answer.get("usage"))
        usage = reading.usage(told.get("input"), told.get("output"), told.get("cached"))
        names = reading.text(answer.get("model")), reading.text(answer.get("request_id"))
        return Reply(answer["text"], answer.get("finish", "stop"), usage, *names)

    def seen(self, reply: HttpReply, now: float) -> Seen:
        """The pause that the function asked for."""
        pause = headers.pause_of(reply, now)
        return Seen(None, pause) if pause else headers.NOTHING

    def absorb(self, whole: dict[str, Any], event: dict[str, Any]) -> str:
        """The one event is the whole reply."""
        whole.update(event)
        return reading.text(event.get("text"))

    def ended(self, whole: Mapping[str, Any]) -> bool:
        """A function's reply is never cut."""
        return True


class PythonTransport:
    """Calls the function that a request's URL names."""

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpReply:
        """Its answer, or its error as a status. Raises TransportError when it takes too long."""
        name = request.url.removeprefix(SCHEME)
        try:
            async with asyncio.timeout(timeouts.total):
                reply = await _answer(_function(name), _request_of(request.body))
        except TimeoutError:
            raise TransportError("timeout", f"`{name}` did not answer in time", sent=True) from None
        except RetryLater as later:
            return _error(503, f"`{name}`: {later}", {"retry-after": f"{later.after:g}"})
        except OSError as error:
            return _error(503, f"`{name}` raised {type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything; it becomes the failure
            return _error(400, f"`{name}` raised {type(error).__name__}: {error}")
        return HttpReply(200, {}, reading.write(dataclasses.asdict(reply)))

    def stream(self, request: HttpRequest, timeouts: Timeouts) -> Lines:
        """The whole answer as one line."""
        return _OneLine(self, request, timeouts)

    async def close(self) -> None:
        """Nothing is open."""


class _OneLine:
    headers: Mapping[str, str] = {}

    def __init__(self, transport: PythonTransport, request: HttpRequest, timeouts: Timeouts) -> None:
        self._send = transport.send, request, timeouts

    async def __aiter__(self) -> Any:
        from batchmill.llm.transport import StatusError

        send, request, timeouts = self._send
        reply = await send(request, timeouts)
        if reply.status != 200:
            raise StatusError(reply)
        yield reply.body


@lru_cache(maxsize=64)
def _function(name: str) -> Answerer:
    """The function `module:function`. Raises UsageError."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(f"`python/{name}` names no function", hint="write it as `python/module:function`")
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot use `python/{name}`: {error}") from None
    if not callable(function):
        raise UsageError(f"`python/{name}` is no function")
    return function  # type: ignore[no-any-return]


async def _answer(function: Answerer, request: Request) -> Reply:
    if inspect.iscoroutinefunction(function):
        said = await function(request)
    else:
        said = await asyncio.to_thread(function, request)
    if isinstance(said, str):
        return Reply(said)
    if not isinstance(said, Reply):
        raise TypeError(f"the answer is a {type(said).__name__}, not a text or a Reply")
    return said


def _error(status: int, message: str, sent: Mapping[str, str] | None = None) -> HttpReply:
    return HttpReply(status, sent or {}, reading.write({"error": {"message": message}}))


def _coded(part: str | Image) -> Any:
    return part if isinstance(part, str) else {"data": part.base64, "media_type": part.media_type}


def _request_of(body: bytes) -> Request:
    fields = reading.parse(body)
    messages = tuple(Message(m["role"], tuple(_part(part) for part in m["parts"])) for m in fields["messages"])
    return Request(**{**fields, "messages": messages, "stop": tuple(fields["stop"])})


def _part(part: Any) -> str | Image:
    return part if isinstance(part, str) else Image(base64.b64decode(part["data"]), part["media_type"])
