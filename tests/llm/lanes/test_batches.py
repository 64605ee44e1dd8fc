"""Requests in batches against a fake service: half the price, one answer each, and live requests where batches fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from batchmill.llm import ModelError
from batchmill.llm.cache import state_folder
from batchmill.llm.lanes.openai import OpenAIBatches
from batchmill.llm.lanes.store import read_batches
from batchmill.llm.lanes.watch import Watch
from batchmill.testing import FakeLLM
from tests.llm.lanes.jobs import HALF, LaneJob, ask, jobs, rows, settings_for, spent, states

MODELS = ("openai/m", "anthropic/m")


def with_fake(test: Callable[[FakeLLM], Awaitable[None]], **options: Any) -> None:
    """Run a test in a loop in which a fake service listens."""

    async def main() -> None:
        async with FakeLLM(**{"batch_time": 0.05, **options}) as fake:
            await test(fake)

    asyncio.run(main())


@pytest.mark.parametrize("model", MODELS)
def test_requests_of_many_jobs_go_in_one_batch_at_half_the_price(model: str) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(5)
        answers = await ask(asked, settings_for(fake), model)
        assert all(answer.text for answer in answers)
        counts = fake.counts
        assert (counts.batches, counts.batch_lines, counts.requests, counts.duplicates) == (1, 5, 0, 0)
        assert spent(asked) == counts.cost == HALF[0] * counts.tokens_in + HALF[1] * counts.tokens_out
        assert states(asked) == ["settled"] * 5
        (row, *_) = rows(asked)
        assert row.quota.endswith("/batch")
        assert "0.5 in batches" in row.usage["price"]
        assert row.usage["batch"] == read_batches(state_folder())[0].remote
        assert [answer.cost for answer in answers] == [row.cost for row in rows(asked)]

    with_fake(check)


def test_a_batch_waits_until_no_more_requests_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(fake: FakeLLM) -> None:
        monkeypatch.setattr(OpenAIBatches, "most_lines", 3)
        asked = jobs(7)
        await ask(asked, settings_for(fake))
        assert sorted(batch.lines for batch in read_batches(state_folder())) == [1, 3, 3]
        assert (fake.counts.batches, fake.counts.batch_lines) == (3, 7)

    with_fake(check)


@pytest.mark.parametrize(("count", "batches"), [(4, 0), (5, 1)])
def test_auto_makes_a_batch_of_enough_requests(count: int, batches: int) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(count)
        answers = await ask(asked, settings_for(fake, lane="auto", lanes={"least": 5}))
        assert all(answer.text for answer in answers)
        assert (fake.counts.batches, fake.counts.requests) == (batches, 0 if batches else count)

    with_fake(check)


@pytest.mark.parametrize("model", MODELS)
def test_lines_that_expire_are_asked_live(model: str) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(4)
        answers = await ask(asked, settings_for(fake), model)
        assert all(answer.text for answer in answers)
        counts = fake.counts
        assert (counts.batch_lines, counts.requests, counts.duplicates) == (2, 2, 0)
        assert sorted(states(asked)) == ["settled"] * 6
        assert [row.cost for row in rows(asked) if row.usage.get("failure")] == [0, 0]
        assert spent(asked) == counts.cost

    with_fake(check, batch_done=0.5)


@pytest.mark.parametrize("model", MODELS)
def test_lines_that_fail_are_asked_live(model: str) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(3)
        answers = await ask(asked, settings_for(fake), model)
        assert all(answer.text for answer in answers)
        assert (fake.counts.batch_lines, fake.counts.requests) == (3, 2)
        assert spent(asked) == fake.counts.cost

    with_fake(check, by_text={"Question 0001": ["server"], "Question 0002": ["empty"]})


def test_what_is_too_long_in_a_batch_is_not_asked_live() -> None:
    async def check(fake: FakeLLM) -> None:
        (error,) = await ask(jobs(1), settings_for(fake))
        assert isinstance(error, ModelError)
        assert error.failure == "too_long"
        assert fake.counts.requests == 0

    with_fake(check, context=2)


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_that_is_refused_is_asked_live_and_was_never_paid(model: str) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(2)
        answers = await ask(asked, settings_for(fake), model)
        assert all(answer.text for answer in answers)
        assert sorted(states(asked)) == ["released", "released", "settled", "settled"]
        assert (fake.counts.batches, fake.counts.requests) == (0, 2)
        assert read_batches(state_folder()) == []

    with_fake(check, batch_script=["invalid_request"])


def test_where_too_much_waits_at_the_provider_smaller_batches_go_one_after_the_other() -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(8)
        answers = await ask(asked, settings_for(fake))
        assert all(answer.text for answer in answers)
        assert (fake.counts.batch_lines, fake.counts.requests, fake.counts.duplicates) == (8, 0, 0)
        assert spent(asked) == fake.counts.cost

    with_fake(check, batch_tokens=55)


@pytest.mark.parametrize("fault", ["reset", "server", "truncated", "rate_limited"])
@pytest.mark.parametrize("model", MODELS)
def test_a_lost_answer_makes_no_second_batch(model: str, fault: str) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(3)
        answers = await ask(asked, settings_for(fake), model)
        assert all(answer.text for answer in answers)
        counts = fake.counts
        assert (counts.batch_lines, counts.duplicates, counts.requests) == (3, 0, 0)
        assert spent(asked) == counts.cost

    with_fake(check, batch_script=[fault])


@pytest.mark.parametrize("mode", ["fresh", "off"])
def test_without_the_cache_equal_questions_of_two_jobs_are_two_lines(mode: Any) -> None:
    async def check(fake: FakeLLM) -> None:
        settings = settings_for(fake)
        asked = [LaneJob(1), LaneJob(2)]
        await asyncio.gather(*(job.llm(settings, cache=mode).ask("openai/m", "The same") for job in asked))
        assert (fake.counts.batches, fake.counts.batch_lines) == (1, 2)

    with_fake(check)


def test_equal_questions_of_two_jobs_are_one_line() -> None:
    async def check(fake: FakeLLM) -> None:
        settings = settings_for(fake)
        asked = [LaneJob(1), LaneJob(2)]
        await asyncio.gather(*(job.llm(settings).ask("openai/m", "The same") for job in asked))
        assert fake.counts.batch_lines == 1
        assert sorted(len(job.hits) for job in asked) == [0, 1]

    with_fake(check)


def test_models_of_ones_own_machine_and_plain_jobs_are_asked_live() -> None:
    async def check(fake: FakeLLM) -> None:
        settings = settings_for(fake, endpoints={"vllm": fake.openai_url})
        assert (await LaneJob().llm(settings).ask("vllm/m", "Hello")).text
        assert (fake.counts.batches, fake.counts.requests) == (0, 1)

    with_fake(check)


def test_what_looks_after_a_batch_belongs_to_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers end what a job began when the job ends: here others still wait for the batch."""
    job = ContextVar("job", default="none")
    seen = []
    run = Watch.run

    async def watched(watch: Watch) -> None:
        seen.append(job.get())
        await run(watch)

    monkeypatch.setattr(Watch, "run", watched)

    async def check(fake: FakeLLM) -> None:
        job.set("first")
        await ask(jobs(2), settings_for(fake))
        assert seen == ["none"]

    with_fake(check)
