"""Batches as OpenAI has them, and Azure, Groq, Mistral and others after it: files of JSON lines, up and down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from batchmill.llm import failures
from batchmill.llm.lanes.offers import Look, Result, Sent, Speaker, id_of, plain, unanswered
from batchmill.llm.messages import Request
from batchmill.llm.providers import reading
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.transport import HttpReply

PATH = "/v1/chat/completions"
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_FULL = "token_limit_exceeded"  # of what waits in batches of the model
_PAGES = 100  # of a list of batches that are looked through
_SKEW = 3600.0  # seconds by which clocks may differ


class OpenAIBatches:
    """`/files` and `/batches` below the endpoint."""

    most_lines = 50_000
    most_bytes = 200_000_000

    def __init__(self, provider: OpenAI, endpoint: Endpoint, speaker: Speaker) -> None:
        self._provider, self._url, self._speaker = provider, endpoint.url, speaker

    def line(self, id: str, request: Request) -> bytes:
        """A request as it stands in a batch."""
        return line(self._provider, id, request)

    async def submit(self, batch: str, lines: Sequence[bytes]) -> str:
        """Upload the lines, and make a batch of the file."""
        body, content_type = _form(_file_name(batch), lines)
        file = await self._speaker.ask("POST", f"{self._url}/files", body, content_type)
        return await self._make(batch, file)

    async def _make(self, batch: str, file: Mapping[str, Any]) -> str:
        asked = {
            "input_file_id": id_of(file),
            "endpoint": PATH,
            "completion_window": "24h",
            "metadata": {"batchmill": batch},
        }
        return id_of(await self._speaker.ask("POST", f"{self._url}/batches", reading.write(asked)))

    async def find(self, sent: Sent, known: frozenset[str], lines: frozenset[str]) -> str | None:
        """The batch with our id in its metadata; where there is but its file, make one of that."""
        async for batch in self._listed("batches?limit=100", sent):
            if reading.mapping(batch.get("metadata")).get("batchmill") == sent.id:
                return id_of(batch)
        async for file in self._listed("files?purpose=batch&limit=10000", sent):
            if file.get("filename") == _file_name(sent.id):
                return await self._make(sent.id, file)
        return None

    async def _listed(self, what: str, sent: Sent) -> AsyncIterator[dict[str, Any]]:
        """What there is, the newest first, down to what is older than the batch."""
        after = ""
        for _ in range(_PAGES):
            page = await self._speaker.ask("GET", f"{self._url}/{what}{after}")
            found = reading.objects(page.get("data"))
            for one in found:
                yield one
            oldest = found[-1].get("created_at") if found else None
            if not page.get("has_more") or not isinstance(oldest, int) or oldest < sent.at - _SKEW:
                return
            after = f"&after={id_of(found[-1])}"

    async def look(self, remote: str) -> Look:
        """How far a batch is."""
        batch = await self._speaker.ask("GET", f"{self._url}/batches/{remote}")
        status = reading.text(batch.get("status"))
        counts = reading.mapping(batch.get("request_counts"))
        files = (batch.get(name) for name in ("output_file_id", "error_file_id"))
        return Look(
            plain(status),
            reading.count(counts.get("completed")) or 0,
            reading.count(counts.get("failed")) or 0,
            status in _OVER,
            tuple(id_of({"id": file}) for file in files if file),
            _problem(batch) if status == "failed" else "",
            status == "failed" and any(error.get("code") == _FULL for error in _errors(batch)),
        )

    async def results(self, look: Look) -> AsyncIterator[Result]:
        """The lines of the file of replies, then of the file of errors."""
        for file in look.outputs:
            async for line in self._speaker.lines(f"{self._url}/files/{file}/content"):
                yield result(line)

    async def cancel(self, remote: str) -> None:
        """Ask for the end of a batch."""
        await self._speaker.ask("POST", f"{self._url}/batches/{remote}/cancel")


def line(provider: OpenAI, id: str, request: Request) -> bytes:
    """A request as a line of a file."""
    return reading.write({"custom_id": id, "method": "POST", "url": PATH, "body": provider.body(request)}) + b"\n"


def result(line: Mapping[str, Any]) -> Result:
    """What became of a line, as files of replies and of errors say it; also those of vLLM's `run-batch`."""
    id, response = reading.text(line.get("custom_id")), reading.mapping(line.get("response"))
    error = reading.mapping(line.get("error"))
    status, body = response.get("status_code"), response.get("body")
    if isinstance(status, int) and isinstance(body, dict) and not error:
        reply = HttpReply(status, {}, reading.write(body))
        failure = failures.classify("openai", reply)
        return Result(id, reply.body if failure is None else None, failure)
    why = reading.text(error.get("message")) or "the batch has no reply to this request"
    kind = "expired" if "expired" in reading.text(error.get("code")) else "server"
    return Result(id, None, unanswered(kind, why))


def _problem(batch: Mapping[str, Any]) -> str:
    return plain("; ".join(reading.text(error.get("message")) for error in _errors(batch)[:3])) or "it was refused"


def _errors(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    return reading.objects(reading.mapping(batch.get("errors")).get("data"))


def _file_name(batch: str) -> str:
    return f"batchmill-{batch}.jsonl"


def _form(name: str, lines: Sequence[bytes]) -> tuple[bytes, str]:
    """A file as `multipart/form-data` (RFC 7578), and its content type."""
    boundary = uuid4().hex
    head = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    )
    return b"".join((head.encode(), *lines, f"\r\n--{boundary}--\r\n".encode())), (
        f"multipart/form-data; boundary={boundary}"
    )
