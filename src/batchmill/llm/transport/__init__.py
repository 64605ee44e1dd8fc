"""How bytes get to a model's server and back: one small protocol, see `direct` and `http`. No JSON, no retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class HttpRequest:
    """One request. Its `headers` may hold secrets: never printed, never stored."""

    url: str
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"
    proxy: str = field(default="", repr=False)  # empty: what the transport or the environment says
    ca_file: str = ""  # PEM certificates to trust beside the system's


@dataclass(slots=True)
class HttpReply:
    """One whole reply. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, between two bytes, and for the whole exchange (None: unlimited)."""

    connect: float = 10.0
    read: float | None = 120.0
    total: float | None = None


class TransportError(Exception):
    """No reply came. `kind` is `connect`, `timeout`, `reset`, `tls`, `malformed` (what came is no HTTP) or `too_large`
    (more than the transport's cap); `sent` tells whether the request may have been received, and so may be billed."""

    def __init__(self, kind: str, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.kind, self.sent = kind, sent


class StatusError(TransportError):
    """A stream was answered with another status than 2xx: its whole `reply` instead."""

    def __init__(self, reply: HttpReply) -> None:
        super().__init__("status", f"the server answered with status {reply.status}", sent=True)
        self.reply = reply


class Lines(Protocol):
    """The lines of a streamed reply, without their ends. `headers` (lower case) are there once the first line is."""

    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Transport(Protocol):
    """What carries requests. One per event loop; many requests at once."""

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpReply:
        """The whole reply, of any status. Raises TransportError."""
        ...

    def stream(self, request: HttpRequest, timeouts: Timeouts) -> Lines:
        """The lines of a streamed reply (SSE or JSON lines). Raises StatusError, and TransportError also midway."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
