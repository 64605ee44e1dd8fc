"""How bytes get to a model's server and back: one small protocol, and aiohttp behind it. No JSON, no retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. Its `headers` may hold secrets: never printed, never stored."""

    url: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
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
    """No reply came. `kind` is `connect`, `timeout`, `reset` or `tls`; `sent` tells whether the request may have
    been received, and so may be billed."""

    def __init__(self, kind: str, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.kind, self.sent = kind, sent


class Transport(Protocol):
    """What carries requests. One per event loop; many requests at once."""

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpReply:
        """The whole reply, of any status. Raises TransportError."""
        ...

    def stream(self, request: HttpRequest, timeouts: Timeouts) -> AsyncIterator[bytes]:
        """The lines of a streamed reply (SSE or JSON lines). Raises TransportError, also midway."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
