"""A function as a model: its answers and its errors look like those of a service."""

from __future__ import annotations

import asyncio

import pytest

from batchmill import RetryLater
from batchmill.llm.failures import Failure, classify
from batchmill.llm.messages import Image, Message, Reply, Request, Usage
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.providers.python import Python, PythonTransport
from batchmill.llm.streaming import collect
from batchmill.llm.transport import HttpReply, Timeouts, TransportError

IMAGE = Image(b"\x00\xff", "image/gif")


def shout(request: Request) -> str:
    return request.messages[-1].text.upper() + "!" * len(request.images)


async def count(request: Request) -> Reply:
    assert request.images == (IMAGE,)
    assert request.stop == ("X",)
    assert request.schema == {"type": "string"}
    return Reply("4", "length", Usage(3, 2, 1), "counter", "id-1")


def later(request: Request) -> str:
    raise RetryLater("not now", after=2.5)


def broken(request: Request) -> str:
    raise ConnectionResetError("gone")


def wrong(request: Request) -> str:
    raise KeyError("api_key=sk-1234567890abcdef")


def nothing(request: Request) -> str:
    return None  # type: ignore[return-value]


async def forever(request: Request) -> str:
    await asyncio.Event().wait()
    return ""


def _request() -> Request:
    parts = ("hello", IMAGE)
    return Request("python/x", (Message("user", parts),), stop=("X",), schema={"type": "string"})


async def _ask(name: str, timeouts: Timeouts = Timeouts()) -> HttpReply:  # noqa: B008 - it is frozen
    sent = Python().encode(_request(), Endpoint(f"python:{name}"))
    return await PythonTransport().send(sent, timeouts)


def _failure(name: str) -> Failure:
    failure = classify("python", asyncio.run(_ask(name)))
    assert failure is not None
    return failure


def test_a_plain_function_answers_with_a_text() -> None:
    assert Python().decode(asyncio.run(_ask(f"{__name__}:shout")).body) == Reply("HELLO!")


def test_a_coroutine_function_sees_the_whole_request_and_answers_with_a_reply() -> None:
    reply = Python().decode(asyncio.run(_ask(f"{__name__}:count")).body)
    assert reply == Reply("4", "length", Usage(3, 2, 1), "counter", "id-1")


def test_an_answer_can_be_streamed_as_one_piece() -> None:
    async def stream() -> tuple[HttpReply, list[str]]:
        told: list[str] = []
        sent = Python().encode(_request(), Endpoint(f"python:{__name__}:shout"), stream=True)
        return await collect(Python(), PythonTransport().stream(sent, Timeouts()), told.append), told

    reply, told = asyncio.run(stream())
    assert Python().decode(reply.body).text == "HELLO!"
    assert told == ["HELLO!"]


def test_retry_later_is_a_pause() -> None:
    reply = asyncio.run(_ask(f"{__name__}:later"))
    assert Python().seen(reply, 0.0).pause == 2.5
    failure = _failure(f"{__name__}:later")
    assert (failure.kind, failure.retry, failure.after) == ("server", True, 2.5)


def test_a_broken_connection_is_tried_again_and_a_bug_is_not() -> None:
    assert _failure(f"{__name__}:broken").retry
    bug = _failure(f"{__name__}:wrong")
    assert not bug.retry
    assert "KeyError" in bug.message
    assert "sk-123" not in bug.message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module_here:f", "No module named"),
        (f"{__name__}:no_such_function", "no_such_function"),
        (f"{__name__}:IMAGE", "no function"),
        ("nothing", "names no function"),
        (f"{__name__}:nothing", "NoneType"),
    ],
)
def test_what_cannot_be_called_says_why(name: str, said: str) -> None:
    failure = _failure(name)
    assert (failure.kind, failure.retry) == ("invalid_request", False)
    assert said in failure.message


def test_a_function_that_takes_too_long_times_out() -> None:
    with pytest.raises(TransportError) as caught:
        asyncio.run(_ask(f"{__name__}:forever", Timeouts(total=0.01)))
    assert caught.value.kind == "timeout"
