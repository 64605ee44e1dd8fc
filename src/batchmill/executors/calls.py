"""Metered calls to outside services: reserved before they leave, settled after. What a service is, core never knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from types import TracebackType
from typing import Any

import pydantic_core

from batchmill.errors import Permanent, UsageError
from batchmill.executors.ports import Port
from batchmill.model.commands import Ack
from batchmill.model.events import CallAsked, CallSettled, LimitSeen
from batchmill.model.limits import MICRO_CENTS_PER_USD, QuotaLimit

Dollars = float | int | str | Decimal


@lru_cache(maxsize=1024)  # requests of one kind cost much the same
def micro_cents(dollars: Dollars) -> int:
    """US dollars as integer micro-cents, rounded up. Raises ValueError for negative or non-finite amounts."""
    amount = Decimal(str(dollars))
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"`{dollars}` is not an amount of money")
    return int((amount * MICRO_CENTS_PER_USD).to_integral_value(ROUND_CEILING))


class Call:
    """A request that counts against a quota and the budget. Made by `ctx.call`; enter it with `with` or `async with`.

    The body runs once the limits admit the call and its reservation is committed. A refused call raises
    `Permanent` with the reason. A body that ends without `settle` is settled at the reserved maximum,
    as one that may be billed where it raises.
    """

    def __init__(
        self,
        port: Port,
        job: int,
        asked: CallAsked,
        idempotency_key: Callable[[], str],
        waits: AbstractContextManager[object],
        keep_reply: Callable[[Any], str],
    ) -> None:
        self._make_key = idempotency_key
        self._port, self._job, self._asked = port, job, asked
        self._waits, self._keep_reply = waits, keep_reply
        self._open = False

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt of the job: a service that knows it does not do the work twice."""
        return self._make_key()

    def settle(
        self,
        usage: Mapping[str, Any] | None = None,
        reply: Any = None,
        *,
        tokens: int | None = None,
        cost: Dollars | None = None,
        sent: bool = True,
        answered: bool = True,
    ) -> None:
        """Say what the call came to; `tokens` and `cost` (US dollars) default to the reserved maximum.

        `usage` is stored as JSON; `reply` (bytes, text or JSON) is kept as an artifact of the job. `sent=False`
        releases the reservation unspent; `answered=False` says that the request left and that nobody knows whether it
        was billed; a `failure` in `usage` that is not empty says that no useful answer came.
        Raises UsageError when the call is not open.
        """
        if not self._open:
            raise UsageError("a call is settled once, inside its `with` block")
        self._open = False
        details = dict(usage or {})
        failed = bool(details.get("failure"))
        if reply is not None:
            details["reply"] = self._keep_reply(reply)
        spent = self._asked.cost if cost is None else micro_cents(cost)
        tokens = self._asked.tokens if tokens is None else tokens
        self._tell_settled(tokens, spent, sent, details, failed, answered)

    def limit_seen(
        self,
        limit: QuotaLimit | None = None,
        *,
        pause: float = 0.0,
        refused: bool = False,
        remaining: float | None = None,
        remaining_tokens: float | None = None,
    ) -> None:
        """Report what the service told of its limits, with every answer that tells something.

        No call of this quota leaves for `pause` seconds. `refused`: this call was one too many (status 429), from
        which the quota's true rate is learned. `remaining` requests and tokens are what the service said is left.
        """
        now, asked = time.monotonic(), self._asked
        until = now + pause if pause else 0.0
        told = (refused, remaining, remaining_tokens)
        self._port.tell(LimitSeen(now, asked.quota, limit, until, self._job, asked.ticket, *told))

    def __enter__(self) -> Call:
        if not self._port.may_wait:
            raise UsageError(
                "a plain `with` would stop every job of this worker", hint="write `async with ctx.call(...)`"
            )
        try:
            with self._waits:
                ack = self._port.ask(self._asked)
            return self._admitted(ack)
        except BaseException:
            self._withdraw()
            raise

    async def __aenter__(self) -> Call:
        try:
            with self._waits:
                ack = await self._port.ask_later(self._asked)
            return self._admitted(ack)
        except BaseException:
            self._withdraw()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self.settle(answered=kind is None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _admitted(self, ack: Ack) -> Call:
        if ack.refused:
            raise Permanent(ack.refused)
        self._open = True
        return self

    def _withdraw(self) -> None:
        """Entering failed: whatever is reserved, or will be, is released."""
        self._tell_settled(0, 0, False, {})

    def _tell_settled(
        self,
        tokens: int,
        cost: int,
        sent: bool,
        usage: Mapping[str, Any],
        failed: bool = False,
        answered: bool = True,
    ) -> None:
        if not sent:
            tokens = cost = 0
        asked, data = self._asked, pydantic_core.to_json(usage, inf_nan_mode="strings")
        now = time.monotonic()
        self._port.tell(
            CallSettled(now, asked.slot, self._job, asked.ticket, tokens, cost, sent, data, failed, answered)
        )
