"""Anthropic's message batches: requests go inline, results come as JSON lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from batchmill.llm import failures
from batchmill.llm.failures import Failure
from batchmill.llm.lanes.offers import Look, Result, Sent, Speaker, Trouble, id_of, plain, unanswered
from batchmill.llm.messages import Request
from batchmill.llm.providers import reading
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.transport import HttpReply

_PAGES = 100  # of the list of batches that are looked through
_SKEW = 3600.0  # seconds by which clocks may differ
_UNDECIDED = Failure("server", "a batch that may be the one is not over", retry=True)


class AnthropicBatches:
    """`/v1/messages/batches` of the endpoint.

    A batch carries no name of ours. Which one it was, after a kill, is told by its time and size, and by the names of
    its lines, which can be seen once it is over.
    """

    most_lines = 100_000
    most_bytes = 256_000_000

    def __init__(self, provider: Anthropic, endpoint: Endpoint, speaker: Speaker) -> None:
        self._provider, self._speaker = provider, speaker
        self._url = f"{endpoint.url.removesuffix('/v1')}/v1/messages/batches"

    def line(self, id: str, request: Request) -> bytes:
        """A request as it stands in a batch."""
        return line(self._provider, id, request)

    async def submit(self, batch: str, lines: Sequence[bytes]) -> str:
        """Make a batch of the lines."""
        body = b'{"requests":[' + b",".join(lines) + b"]}"
        return id_of(await self._speaker.ask("POST", self._url, body))

    async def find(self, sent: Sent, known: frozenset[str], lines: frozenset[str]) -> str | None:
        """The batch of this size, made since, that holds one of our lines."""
        async for batch in self._listed(sent.at - _SKEW):
            counts = reading.mapping(batch.get("request_counts"))
            if sum(reading.count(n) or 0 for n in counts.values()) != sent.lines or batch.get("id") in known:
                continue
            remote = id_of(batch)
            if batch.get("processing_status") != "ended":
                raise Trouble(_UNDECIDED)
            async for result in self.results(Look("ended", outputs=(remote,))):
                if result.line in lines:
                    return remote
                break
        return None

    async def _listed(self, since: float) -> AsyncIterator[dict[str, Any]]:
        after = ""
        for _ in range(_PAGES):
            page = await self._speaker.ask("GET", f"{self._url}?limit=100{after}")
            for batch in (found := reading.objects(page.get("data"))):
                if _time_of(batch) < since:
                    return
                yield batch
            if not page.get("has_more") or not found:
                return
            after = f"&after_id={id_of(found[-1])}"

    async def look(self, remote: str) -> Look:
        """How far a batch is."""
        batch = await self._speaker.ask("GET", f"{self._url}/{remote}")
        status = reading.text(batch.get("processing_status"))
        told = reading.mapping(batch.get("request_counts"))
        counts = {name: reading.count(told.get(name)) or 0 for name in ("succeeded", "errored", "canceled", "expired")}
        done = counts.pop("succeeded")
        return Look(plain(status), done, sum(counts.values()), status == "ended", (remote,))

    async def results(self, look: Look) -> AsyncIterator[Result]:
        """What became of the lines; what was not worked on is among them."""
        for remote in look.outputs:
            async for line in self._speaker.lines(f"{self._url}/{remote}/results"):
                yield result(line)

    async def cancel(self, remote: str) -> None:
        """Ask for the end of a batch."""
        await self._speaker.ask("POST", f"{self._url}/{remote}/cancel")


def line(provider: Anthropic, id: str, request: Request) -> bytes:
    """A request as a line of a file, or one of the requests of a batch."""
    return reading.write({"custom_id": id, "params": provider.body(request)}) + b"\n"


def result(line: Mapping[str, Any]) -> Result:
    """What became of a line, as the results say it."""
    id, told = reading.text(line.get("custom_id")), reading.mapping(line.get("result"))
    kind = reading.text(told.get("type"))
    if kind == "succeeded" and isinstance(told.get("message"), dict):
        return Result(id, reading.write(told["message"]))
    if kind == "errored":
        error = reading.mapping(told.get("error"))
        body = reading.write(error if "error" in error else {"error": error})
        failure = failures.classify("anthropic", HttpReply(200, {}, body))
        return Result(id, None, failure or unanswered(kind, "the request failed in its batch"))
    return Result(id, None, unanswered(kind, f"the request was not worked on in its batch: {kind or 'no reason'}"))


def _time_of(batch: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(reading.text(batch.get("created_at"))).timestamp()
    except ValueError:
        return 0.0
