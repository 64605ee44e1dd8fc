"""Jobs that ask through lanes without an engine, and what a kill leaves of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from batchmill.llm import Settings, load_settings
from batchmill.llm.answers import Answer
from batchmill.testing import FakeLLM
from tests.llm.client.jobs import RecordedJob, Row

PRICE = {"input": 1, "output": 4}
PRICES = {f"{provider}/*": PRICE for provider in ("openai", "anthropic")}
HALF = 50, 200  # micro-cents for a token in and out
LANES = {"quiet": 0.03, "poll": 0.02}


class LaneJob(RecordedJob):
    """A job that really waits, and can settle what an earlier attempt left."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(seconds)

    async def lull(self) -> None:
        await asyncio.Event().wait()  # nobody sees all jobs here

    def call_found(
        self,
        *,
        quota: str,
        key: str,
        usage: dict[str, Any],
        tokens: int = 0,
        cost: Decimal | int = 0,
        sent: bool = True,
    ) -> None:
        lost = [row for row in self.rows if (row.quota, row.key, row.state) == (quota, key, "unknown")]
        if lost:
            row = lost[-1]
            row.state, row.usage = "settled" if sent else "released", usage
            row.cost = int(cost * 100_000_000) if sent else 0
        elif sent and not usage.get("failure"):
            self.hits.append(usage)


def settings_for(fake: FakeLLM, **more: Any) -> Settings:
    """Settings whose providers are the fake service, and whose batches leave at once."""
    flags = {
        "endpoints": {"openai": fake.openai_url, "anthropic": fake.anthropic_url},
        "prices": PRICES,
        "lane": "batch",
        **more,
    }
    return load_settings(flags={**flags, "lanes": LANES | more.get("lanes", {})}, environ={})


async def ask(
    jobs: Sequence[LaneJob], settings: Settings, model: str = "openai/m", **options: Any
) -> list[Answer | BaseException]:
    """Each job asks its own question, all at once."""
    asked = [
        job.llm(settings, **options).ask(model, f"Question {job.idempotency_key[-4:]}", max_tokens=30) for job in jobs
    ]
    return await asyncio.gather(*asked, return_exceptions=True)


def jobs(count: int) -> list[LaneJob]:
    """Jobs of one run."""
    return [LaneJob(number) for number in range(1, count + 1)]


def rows(asked: Sequence[LaneJob]) -> list[Row]:
    """All requests as the ledger has them."""
    return [row for job in asked for row in job.rows]


def spent(asked: Sequence[LaneJob]) -> int:
    """What the ledger says that all of it cost, in micro-cents."""
    return sum(row.cost or 0 for row in rows(asked) if row.state == "settled")


def states(asked: Sequence[LaneJob]) -> list[str]:
    """The state of each request."""
    return [row.state for row in rows(asked)]
