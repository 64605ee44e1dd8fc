"""What a provider of batches is to a lane: how lines are written, batches made, found, looked at and read.

And the one way in which it is spoken to: JSON there and back, or lines back; failures are `Trouble`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from batchmill.llm import failures
from batchmill.llm.failures import Failure
from batchmill.llm.messages import Request
from batchmill.llm.providers import reading
from batchmill.llm.providers.base import Malformed
from batchmill.llm.secrets import conceal
from batchmill.llm.transport import HttpReply, HttpRequest, StatusError, Timeouts, Transport, TransportError

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,200}")
_LONGEST = 300  # characters of a message that are kept
_READ = 300.0  # seconds between two bytes: a provider may look through a whole file before it answers


class Trouble(Exception):
    """A provider of batches could not be asked, or said no."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Look(NamedTuple):
    """How far a batch is: the provider's word for it, lines that are done and that failed, whether it is over, and
    where its results are then. `problem`: why none of its lines was worked on; `is_full`: too much waits already."""

    status: str
    done: int = 0
    failed: int = 0
    is_over: bool = False
    outputs: tuple[str, ...] = ()
    problem: str = ""
    is_full: bool = False


class Result(NamedTuple):
    """What became of a line: the body of a reply, or why there is none."""

    line: str
    body: bytes | None
    failure: Failure | None = None


class Sent(NamedTuple):
    """A batch that may have come to the provider: its id with us, how many lines it has, when it was intended."""

    id: str
    lines: int
    at: float


class Offer(Protocol):
    """The batches of one provider, at one endpoint. What is asked of it raises Trouble."""

    most_lines: int
    most_bytes: int

    def line(self, id: str, request: Request) -> bytes:
        """A request as it stands in a batch."""
        ...

    async def submit(self, batch: str, lines: Sequence[bytes]) -> str:
        """Make a batch; its id at the provider."""
        ...

    async def find(self, sent: Sent, known: frozenset[str], lines: frozenset[str]) -> str | None:
        """The id of a batch that may have been made; None: there is none. `known` are the ids of others, `lines`
        those of its own lines."""
        ...

    async def look(self, remote: str) -> Look:
        """How far a batch is."""
        ...

    def results(self, look: Look) -> AsyncIterator[Result]:
        """What became of the lines, in any order; some may be missing."""
        ...

    async def cancel(self, remote: str) -> None:
        """Ask for the end of a batch; what is done by then stays."""
        ...


class Speaker:
    """Speaks to one endpoint. `headers` hold its key."""

    def __init__(
        self, transport: Transport, timeouts: Timeouts, family: str, headers: Mapping[str, str], like: HttpRequest
    ) -> None:
        self._transport, self._family, self._headers, self._like = transport, family, headers, like
        self._timeouts = Timeouts(timeouts.connect, max(timeouts.read or 0.0, _READ))

    async def ask(self, method: str, url: str, body: bytes = b"", content_type: str = "application/json") -> Any:
        """The JSON object of the answer. Raises Trouble."""
        request = self._request(method, url, body, content_type)
        got: HttpReply | TransportError | Malformed
        try:
            got = await self._transport.send(request, self._timeouts)
        except TransportError as error:
            got = error
        if (failure := failures.classify(self._family, got)) is None:
            assert isinstance(got, HttpReply)
            try:
                return reading.parse(got.body)
            except Malformed as error:
                failure = failures.classify(self._family, error)
        assert failure is not None
        raise Trouble(failure)

    async def lines(self, url: str) -> AsyncIterator[dict[str, Any]]:
        """The JSON objects of the lines of the answer; what is none is left out. Raises Trouble, also midway."""
        try:
            async for line in self._transport.stream(self._request("GET", url), self._timeouts):
                if line.strip():
                    try:
                        yield reading.parse(line)
                    except Malformed:
                        continue
        except (StatusError, TransportError) as error:
            failure = failures.classify(self._family, error)
            assert failure is not None
            raise Trouble(failure) from None

    def _request(self, method: str, url: str, body: bytes = b"", content_type: str = "") -> HttpRequest:
        headers = dict(self._headers)
        if body:
            headers["content-type"] = content_type
        return HttpRequest(url, body, headers, method, self._like.proxy, self._like.ca_file)


def unanswered(kind: str, why: str) -> Failure:
    """Why there is no reply to a line that nobody bills."""
    return Failure("timeout" if kind == "expired" else "server", plain(why), retry=True, status=408)


def id_of(told: Mapping[str, Any]) -> str:
    """The id in what a provider told of a file or a batch. Raises Trouble where it has none that can be in a URL."""
    id = reading.text(told.get("id"))
    if not _ID.fullmatch(id):
        raise Trouble(Failure("malformed", "the provider's answer names no file or batch", retry=True, status=200))
    return id


def plain(said: str) -> str:
    """What a provider said, as one line that can be shown."""
    return " ".join("".join(c if c.isprintable() else " " for c in conceal(said[:_LONGEST])).split())
