"""What a provider is to the service: a mapper between our requests and replies and its JSON. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from batchmill import QuotaLimit
from batchmill.llm.messages import Reply, Request
from batchmill.llm.transport import HttpReply, HttpRequest


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is reached. `key` is the secret itself: it is in no repr, and must reach no log.

    `url` holds no password (`endpoints.resolve` makes a header of it). `quota` names whose limits its requests count
    against: provider, model and a fingerprint of the key, or of the address where there is no key.
    """

    url: str
    key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str = field(default="", repr=False)
    weight: float = 1.0
    ca_file: str = ""
    quota: str = ""
    limit: QuotaLimit | None = None  # what is known before anything is asked


class Seen(NamedTuple):
    """What a reply tells of the limits of its quota: `pause` is the seconds to wait that it asks for, `remaining` and
    `remaining_tokens` are what is left of the limits a minute."""

    limit: QuotaLimit | None = None
    pause: float = 0.0
    remaining: float | None = None
    remaining_tokens: float | None = None


class Malformed(Exception):
    """A reply of status 200 that is not what its protocol says. `cut`: it ended too early."""

    def __init__(self, message: str, *, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


class Provider(Protocol):
    """One protocol family. `native_schema`: it takes a JSON Schema for the answer. `sees`: it takes images."""

    family: ClassVar[str]
    native_schema: ClassVar[bool]
    sees: ClassVar[bool]

    def encode(self, request: Request, endpoint: Endpoint, *, stream: bool = False) -> HttpRequest:
        """The request as the provider wants it, without what our `provider/` prefix says."""
        ...

    def decode(self, body: bytes) -> Reply:
        """The answer in a reply of status 200. Raises Malformed."""
        ...

    def seen(self, reply: HttpReply, now: float) -> Seen:
        """What a reply of any status tells of limits; `now` is wall time (for `Retry-After` as a date)."""
        ...

    def absorb(self, whole: dict[str, Any], event: dict[str, Any]) -> str:
        """Add one event of a stream to what becomes the body of a reply that was not streamed; the new text."""
        ...

    def ended(self, whole: Mapping[str, Any]) -> bool:
        """Whether a streamed reply came to its end, so that it is not merely cut off."""
        ...
