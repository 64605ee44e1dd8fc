"""What one request came to: the row that the ledger keeps of it. Nothing here asks or waits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from batchmill.llm.failures import Failure
from batchmill.llm.messages import Reply, Request, Usage
from batchmill.llm.prices import Price
from batchmill.llm.tokens import Size, TokenCounter

_SLACK = 256  # tokens of output beyond `max_tokens` that are believed: of thoughts, and of ends of turns


class Purpose:
    """What a request is for: the `stage` of a cascade, and what its reply is worth. This one takes any reply."""

    stage = ""

    def judge(self, reply: Reply) -> str:
        """The rung of the ladder that the reply reached."""
        return ""

    def saved(self, usage: Usage, cost: int) -> int | None:
        """Micro-cents that the reply saved against asking another model; None where nobody would have."""
        return None


@dataclass(slots=True)
class Bill:
    """A request on its way. `most` is what it can cost, in micro-cents; None where the price is unknown."""

    call: Any  # of `ctx.call`, open
    request: Request
    tokens: TokenCounter
    size: Size
    price: Price | None
    most: int | None
    status: int = 0
    seconds: float = 0.0

    def settle(self, reply: Reply | None, failure: Failure | None, purpose: Purpose) -> int | None:
        """Close the call; returns its cost in micro-cents, or None where the price is unknown."""
        details = self._details(failure, purpose)
        if failure is not None and not failure.sent:
            self.call.settle(details, sent=False)
            return 0
        if failure is not None and failure.status >= 400:
            self.call.settle(details, tokens=0, cost=0)  # nobody bills a refusal
            return 0
        if reply is None:
            self.call.settle(details)
            return self.most
        return self._settle_reply(details, reply, failure, purpose)

    def _settle_reply(
        self, details: dict[str, Any], reply: Reply, failure: Failure | None, purpose: Purpose
    ) -> int | None:
        details |= reply_details(reply)
        usage = reply.usage
        believed = usage is not None and self._is_plausible(usage)
        if usage is None or not believed:
            usage = Usage(self.tokens.expected(self.size), self.request.max_tokens)
            details |= usage_details(usage) | {"estimated": True}
        else:
            self.tokens.learn(self.size, usage.input)
        cost = self.most if self.price is None or not believed else self.price.cost(usage)
        if failure is None:
            details |= _worth(purpose, reply, usage, cost)
        self.call.settle(details, tokens=usage.input + usage.output, cost=None if cost is None else dollars(cost))
        return cost

    def _is_plausible(self, usage: Usage) -> bool:
        most_output = 2 * self.request.max_tokens + _SLACK
        return usage.input > 0 and usage.output <= most_output and self.tokens.is_plausible(self.size, usage.input)

    def _details(self, failure: Failure | None, purpose: Purpose) -> dict[str, Any]:
        details: dict[str, Any] = {"model": self.request.model, "seconds": round(self.seconds, 4)}
        if self.status:
            details["status"] = self.status
        if self.price is not None:
            details["price"] = self.price.version
        if purpose.stage:
            details["stage"] = purpose.stage
        if failure is not None:
            details["failure"] = failure.kind
        return details


def _worth(purpose: Purpose, reply: Reply, usage: Usage, cost: int | None) -> dict[str, Any]:
    rung = purpose.judge(reply)
    saved = None if cost is None else purpose.saved(usage, cost)
    return ({"rung": rung} if rung else {}) | ({} if saved is None else {"saved": saved})


def reply_details(reply: Reply) -> dict[str, Any]:
    """What the ledger keeps of a reply, beside its text."""
    details: dict[str, Any] = usage_details(reply.usage) if reply.usage is not None else {}
    if reply.request_id:
        details["request_id"] = reply.request_id[:200]
    if reply.finish != "stop":
        details["finish"] = reply.finish
    return details


def usage_details(usage: Usage) -> dict[str, Any]:
    """Tokens under the names that the ledger sums up."""
    details = {"input": usage.input, "output": usage.output}
    if usage.cached:
        details["cached_input"] = usage.cached
    return details


def dollars(micro_cents: int) -> Decimal:
    """Micro-cents as US dollars, exactly."""
    return Decimal(micro_cents).scaleb(-8)
