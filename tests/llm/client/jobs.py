"""A job's side of the engine that remembers everything: what the client asks of a `Context`, without an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any

from batchmill.llm import LLM, Settings, load_settings
from batchmill.testing import FakeLLM

PRICES = {"openai/*": {"input": 1, "output": 4}, "openai/strong": {"input": 10, "output": 40}}


@dataclass
class Row:
    """One request as the ledger would have it. Costs are in micro-cents."""

    quota: str
    key: str
    tokens: int
    cost: int | None
    state: str = "reserved"
    usage: dict[str, Any] = field(default_factory=dict)


class RecordedCall:
    """Stands for a `Call` that is admitted at once."""

    def __init__(self, job: RecordedJob, row: Row) -> None:
        self._job, self._row = job, row

    async def __aenter__(self) -> RecordedCall:
        self._job.rows.append(self._row)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._row.state == "reserved":
            self._row.state = "unknown"

    def settle(
        self,
        usage: dict[str, Any],
        *,
        tokens: int | None = None,
        cost: Decimal | int | None = None,
        sent: bool = True,
        answered: bool = True,
    ) -> None:
        row = self._row
        assert row.state == "reserved"
        row.usage = usage
        row.state = "released" if not sent else "settled" if answered else "unknown"
        row.tokens = row.tokens if tokens is None else tokens
        row.cost = row.cost if cost is None else int(cost * 100_000_000)

    def limit_seen(self, limit: Any = None, **told: Any) -> None:
        self._job.limits.append((limit, told))


class RecordedJob:
    """Stands for a `Context`. Sleeps are remembered, and not slept."""

    def __init__(self, number: int = 1) -> None:
        self.idempotency_key = f"{number:032x}"
        self.rows: list[Row] = []
        self.hits: list[dict[str, Any]] = []
        self.limits: list[tuple[Any, dict[str, Any]]] = []
        self.lines: list[str] = []
        self.slept: list[float] = []

    def call(self, *, quota: str, key: str, tokens: int, cost: Decimal | None, limit: Any) -> RecordedCall:
        most = None if cost is None else int(cost * 100_000_000)
        return RecordedCall(self, Row(quota, key, tokens, most))

    def cache_hit(self, *, quota: str, key: str, usage: dict[str, Any]) -> None:
        self.hits.append(usage)

    def log(self, line: str) -> None:
        self.lines.append(line)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def llm(self, settings: Settings, **options: Any) -> LLM:
        return LLM(self, settings, **options)  # type: ignore[arg-type]


def settings_for(*urls: str, **more: Any) -> Settings:
    """Settings whose provider `openai` is at these addresses."""
    flags = {"endpoints": {"openai": list(urls)}, "prices": PRICES, **more}
    return load_settings(flags=flags, environ={})


def with_fake(test: Callable[[FakeLLM, Settings], Awaitable[None]], **options: Any) -> None:
    """Run a test in a loop in which a fake service listens."""

    async def main() -> None:
        async with FakeLLM(**options) as fake:
            await test(fake, settings_for(fake.openai_url))

    asyncio.run(main())


def answers(*texts: str) -> Callable[[Any], str]:
    """A fake model that says these texts, one after the other, and the last one from then on."""
    left = list(texts)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def failures(rows: Sequence[Row]) -> list[str | None]:
    """What went wrong with each request."""
    return [row.usage.get("failure") for row in rows]
