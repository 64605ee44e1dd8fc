"""Pictures on the whole way through the real server, with a projector that the test writes: it sees plain colours.

What the small model says of them is poor; asserted are the colours that it gets right, and that answers differ.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from batchmill.llm.failures import Failure, classify
from batchmill.llm.local.provider import address
from batchmill.llm.local.server import ServerOptions
from batchmill.llm.local.transport import LocalTransport
from batchmill.llm.messages import Image, Message, Reply, Request
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.transport import Timeouts
from batchmill.llm.transport.http import AiohttpTransport
from tests.llm.local.asking import MODEL

pil = pytest.importorskip("PIL.Image")
pytest.importorskip("gguf")
pytestmark = pytest.mark.usefixtures("shared")
RIGHT = ("red", "blue", "white", "black")


@pytest.fixture(scope="module")
def seeing(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> ServerOptions:
    """A server that takes pictures."""
    from tests.llm.local import colour_projector

    path = colour_projector.write(tmp_path_factory.mktemp("projector") / "colours.gguf", smollm2)
    assert path.stat().st_size < 200_000
    return ServerOptions(projector=str(path), slots=1, context=1024)


def _picture(colour: str) -> Image:
    target = io.BytesIO()
    pil.new("RGB", (64, 64), colour).save(target, "PNG")
    return Image(target.getvalue())


def _ask(options: ServerOptions, *messages: Message) -> list[Reply | Failure]:
    """The replies to one message after another."""
    provider, endpoint = OpenAI(), Endpoint(address(MODEL, options))

    async def main() -> list[Reply | Failure]:
        transport = LocalTransport(AiohttpTransport())
        replies: list[Reply | Failure] = []
        for message in messages:
            request = Request(MODEL, (message,), max_tokens=10, temperature=0)
            got = await transport.send(provider.encode(request, endpoint), Timeouts())
            replies.append(classify("openai", got) or provider.decode(got.body))
        await transport.close()
        return replies

    return asyncio.run(main())


def _question(*pictures: Image) -> Message:
    return Message("user", (*pictures, "What is the color of the picture?"))


def test_plain_colours_are_seen_and_count_as_tokens(seeing: ServerOptions) -> None:
    blind, *replies = _ask(seeing, _question(), *(_question(_picture(colour)) for colour in RIGHT))
    assert isinstance(blind, Reply)
    assert blind.usage is not None
    for colour, reply in zip(RIGHT, replies, strict=True):
        assert isinstance(reply, Reply), reply
        assert reply.usage is not None
        assert reply.usage.input > blind.usage.input
        if colour != "black":  # it says `a deep, rich` first
            assert colour in reply.text
    assert len({reply.text for reply in replies if isinstance(reply, Reply)}) == len(RIGHT)


def test_a_model_that_reads_text_only_refuses_a_picture_for_good(smollm2: Path) -> None:
    (failure,) = _ask(ServerOptions(), _question(_picture("red")))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.retry, failure.status) == ("unsupported", False, 500)
