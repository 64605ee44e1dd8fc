"""What one request came to: the row that the ledger keeps of it. Nothing here asks or waits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from batchmill.llm.failures import Failure
from batchmill.llm.messages import Reply, Request, Usage
from batchmill.llm.prices import WITHOUT_MODEL, Price
from batchmill.llm.tokens import TokenCounter

_SLACK = 256  # tokens of output beyond `max_tokens` that are believed: of thoughts, and of ends of turns


class Purpose:
    """What a request is for: the `stage` of a cascade, and what its reply is worth. This one takes any reply.

    With `on_text` the reply is streamed, and each piece of its text told as it comes.
    """

    stage = ""

    def __init__(self, on_text: Callable[[str], None] | None = None) -> None:
        self.on_text = on_text

    def judge(self, reply: Reply) -> str:
        """The rung of the ladder that the reply reached."""
        return ""

    def saved(self, usage: Usage, cost: int) -> int | None:
        """Micro-cents that the reply saved against asking another model; None where nobody would have."""
        return None


class Bill:
    """A request before it leaves, and what it came to.

    It may take `expected` tokens, hardly more, and cost `most` micro-cents, never more (None: the price is unknown).
    """

    __slots__ = ("_price", "_request", "_size", "_tokens", "batch", "expected", "most", "seconds", "status")

    def __init__(self, request: Request, tokens: TokenCounter, price: Price | None) -> None:
        self._request, self._tokens, self._price = request, tokens, price
        size = self._size = tokens.size(request)
        self.expected = size.expected + request.max_tokens
        self.most = None if price is None else price.most(size.most, request.max_tokens)
        self.status, self.seconds, self.batch = 0, 0.0, ""

    def settle(self, call: Any, reply: Reply | None, failure: Failure | None, purpose: Purpose) -> int | None:
        """Close the call; returns its cost in micro-cents, or None where the price is unknown."""
        details = self._details(purpose)
        if failure is not None:
            details["failure"] = failure.kind
            if not failure.sent:
                call.settle(details, sent=False)
                return 0
            if failure.status >= 400:
                call.settle(details, tokens=0, cost=0)  # nobody bills a refusal
                return 0
        if reply is None:
            call.settle(details, answered=self.status > 0)
            return self.most
        return self._settle_reply(call, details, reply, failure, purpose)

    def _settle_reply(
        self, call: Any, details: dict[str, Any], reply: Reply, failure: Failure | None, purpose: Purpose
    ) -> int | None:
        usage, price = reply.usage, self._price
        cost: int | None
        most_output = 2 * self._request.max_tokens + _SLACK
        if self._request.model.partition("/")[0] in WITHOUT_MODEL:
            usage, cost = Usage(), 0
        elif usage is not None and usage.output <= most_output and self._tokens.learn(self._size, usage.input):
            cost = None if price is None else price.cost(usage)
        else:
            usage, cost = Usage(self.expected - self._request.max_tokens, self._request.max_tokens), self.most
            details["estimated"] = True
        describe(details, reply, usage)
        if failure is None:
            _judge(details, purpose, reply, usage, cost)
        call.settle(details, tokens=usage.input + usage.output, cost=None if cost is None else dollars(cost))
        return cost

    def _details(self, purpose: Purpose) -> dict[str, Any]:
        details: dict[str, Any] = {"model": self._request.model, "seconds": round(self.seconds, 4)}
        if self.status:
            details["status"] = self.status
        if self.batch:
            details["batch"] = self.batch
        if self._price is not None:
            details["price"] = self._price.version
        if purpose.stage:
            details["stage"] = purpose.stage
        return details


def _judge(details: dict[str, Any], purpose: Purpose, reply: Reply, usage: Usage, cost: int | None) -> None:
    if rung := purpose.judge(reply):
        details["rung"] = rung
    if cost is not None and (saved := purpose.saved(usage, cost)) is not None:
        details["saved"] = saved


def describe(details: dict[str, Any], reply: Reply, usage: Usage | None) -> None:
    """Add what the ledger keeps of a reply beside its text, under the names that it sums up."""
    if usage is not None:
        details["input"], details["output"] = usage.input, usage.output
        if usage.cached:
            details["cached_input"] = usage.cached
    if reply.request_id:
        details["request_id"] = reply.request_id[:200]
    if reply.finish != "stop":
        details["finish"] = reply.finish


@lru_cache(maxsize=1024)  # requests of one kind cost much the same
def dollars(micro_cents: int) -> Decimal:
    """Micro-cents as US dollars, exactly."""
    return Decimal(micro_cents).scaleb(-8)
