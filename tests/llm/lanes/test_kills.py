"""A kill at any point of a batch's life: the same jobs again ask no line twice, and pay what the provider bills."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from batchmill.cli.app import run as command
from batchmill.llm.cache import state_folder
from batchmill.llm.lanes import lane
from batchmill.llm.lanes.anthropic import AnthropicBatches
from batchmill.llm.lanes.openai import OpenAIBatches
from batchmill.llm.lanes.store import LaneStore, read_batches
from batchmill.llm.lanes.watch import Watch
from batchmill.llm.settings import Settings
from batchmill.testing import FakeLLM
from tests.llm.lanes.jobs import LaneJob, ask, jobs, rows, settings_for, spent, states

OFFERS = {"openai/m": OpenAIBatches, "anthropic/m": AnthropicBatches}
WRITING = ("intend", "note", "close_lines", "end", "forget", "leave", "take")


class Kill:
    """Ends a life: from then on its store writes nothing, and holds no lock, as after a kill of its process."""

    def __init__(self) -> None:
        self.happened = asyncio.Event()

    async def __call__(self, *_: Any, **__: Any) -> Any:
        store = lane._stores.popitem()[1]
        assert store is not None
        for name in WRITING:
            setattr(store, name, lambda *_, **__: None)
        store.close()
        self.happened.set()
        await asyncio.Event().wait()


Plan = Callable[[pytest.MonkeyPatch, Kill, type], None]


def before_it_is_written_down(patch: pytest.MonkeyPatch, kill: Kill, offer: type) -> None:
    patch.setattr(lane.Lane, "_send", kill)


def before_the_upload(patch: pytest.MonkeyPatch, kill: Kill, offer: type) -> None:
    patch.setattr(offer, "submit", kill)


def between_file_and_batch(patch: pytest.MonkeyPatch, kill: Kill, offer: type) -> None:
    if offer is AnthropicBatches:
        pytest.skip("its requests go inline")
    patch.setattr(offer, "_make", kill)


def before_the_answer(patch: pytest.MonkeyPatch, kill: Kill, offer: type) -> None:
    submit = offer.submit

    async def unanswered(*given: Any) -> str:
        await submit(*given)
        return str(await kill())

    patch.setattr(offer, "submit", unanswered)


def while_it_is_looked_at(patch: pytest.MonkeyPatch, kill: Kill, offer: type) -> None:
    patch.setattr(offer, "look", kill)


def before_results_are_read(patch: pytest.MonkeyPatch, kill: Kill, offer: type) -> None:
    patch.setattr(Watch, "_collect", kill)


def while_results_are_read(patch: pytest.MonkeyPatch, kill: Kill, offer: type) -> None:
    results = offer.results

    async def two(*given: Any) -> Any:
        count = 0
        async for result in results(*given):
            if count == 2:
                await kill()
            count += 1
            yield result

    patch.setattr("batchmill.llm.lanes.watch._AT_ONCE", 1)
    patch.setattr(offer, "results", two)


def once_all_is_in_the_cache(patch: pytest.MonkeyPatch, kill: Kill, offer: type) -> None:
    close_lines = LaneStore.close_lines
    loop = asyncio.get_running_loop()

    def closed(store: LaneStore, *given: Any) -> None:
        close_lines(store, *given)
        asyncio.run_coroutine_threadsafe(kill(), loop)
        raise SystemError("killed")

    patch.setattr(LaneStore, "close_lines", closed)


PLANS = (
    before_it_is_written_down,
    before_the_upload,
    between_file_and_batch,
    before_the_answer,
    while_it_is_looked_at,
    before_results_are_read,
    while_results_are_read,
    once_all_is_in_the_cache,
)


async def killed_life(asked: Sequence[LaneJob], settings: Settings, model: str, plan: Plan) -> None:
    """Ask until the kill; what is open then is unknown, as the next start of the run finds it."""
    kill = Kill()
    with pytest.MonkeyPatch.context() as patch:
        plan(patch, kill, OFFERS[model])
        life = asyncio.ensure_future(ask(asked, settings, model))
        await asyncio.wait_for(kill.happened.wait(), 20)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            if "fake_llm" not in repr(task.get_coro()):
                task.cancel()
        await asyncio.wait((life,))
    assert set(states(asked)) <= {"unknown", "settled"}


def with_fake(test: Callable[[FakeLLM], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with FakeLLM(**{"batch_time": 0.05, **options}) as fake:
            await test(fake)

    asyncio.run(main())


@pytest.mark.parametrize("model", OFFERS)
@pytest.mark.parametrize("plan", PLANS)
def test_after_a_kill_no_line_is_asked_twice_and_each_is_paid_once(model: str, plan: Plan) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(4)
        await killed_life(asked, settings_for(fake), model, plan)
        answers = await ask(asked, settings_for(fake), model)
        assert all(answer.text for answer in answers)
        counts = fake.counts
        assert (counts.batch_lines, counts.duplicates, counts.requests) == (4, 0, 0)
        assert counts.batches == 1
        assert spent(asked) == counts.cost
        assert set(states(asked)) <= {"settled", "released"}
        assert {batch.state for batch in read_batches(state_folder())} <= {"ended", "submitted"}

    with_fake(check)


@pytest.mark.parametrize("model", OFFERS)
def test_lines_that_failed_while_nobody_looked_are_asked_live_and_cost_nothing(model: str) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(4)
        await killed_life(asked, settings_for(fake), model, while_it_is_looked_at)
        answers = await ask(asked, settings_for(fake), model)
        assert all(answer.text for answer in answers)
        assert (fake.counts.batch_lines, fake.counts.requests, fake.counts.duplicates) == (2, 2, 0)
        assert spent(asked) == fake.counts.cost
        assert len(rows(asked)) == 6

    with_fake(check, batch_done=0.5)


def test_another_run_waits_for_a_batch_that_a_kill_left_and_pays_nothing() -> None:
    async def check(fake: FakeLLM) -> None:
        first, others = jobs(3), [LaneJob(number) for number in range(1, 4)]
        for number, job in enumerate(others, 1):
            job.idempotency_key = f"{'ab' * 14}{number:04x}"  # of another run, with the same questions
        await killed_life(first, settings_for(fake), "openai/m", while_it_is_looked_at)
        answers = await ask(others, settings_for(fake))
        assert all(answer.text for answer in answers)
        assert (fake.counts.batches, fake.counts.batch_lines, fake.counts.requests) == (1, 3, 0)
        assert rows(others) == []
        assert [len(job.hits) for job in others] == [1, 1, 1]

    with_fake(check)


def test_a_batch_of_anthropic_that_is_not_ours_is_left_alone() -> None:
    async def check(fake: FakeLLM) -> None:
        asked, strangers = jobs(3), [LaneJob(number) for number in range(11, 14)]
        await killed_life(asked, settings_for(fake), "anthropic/m", before_the_upload)
        await killed_life(strangers, settings_for(fake), "anthropic/m", before_the_answer)
        answers = await ask([*asked, *strangers], settings_for(fake), "anthropic/m")
        assert all(answer.text for answer in answers)
        assert (fake.counts.batches, fake.counts.batch_lines, fake.counts.duplicates) == (2, 6, 0)
        assert spent([*asked, *strangers]) == fake.counts.cost

    with_fake(check)


def test_a_batch_that_is_gone_is_asked_live_and_may_have_been_billed() -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(2)
        await killed_life(asked, settings_for(fake), "anthropic/m", while_it_is_looked_at)
        (batch,) = read_batches(state_folder())
        fake.reset()
        answers = await ask(asked, settings_for(fake), "anthropic/m")
        assert all(answer.text for answer in answers)
        assert fake.counts.requests == 2
        assert sorted(states(asked)) == ["settled", "settled", "unknown", "unknown"]
        assert read_batches(state_folder())[0] == batch._replace(
            state="ended", status="gone", keeper="", ended=read_batches(state_folder())[0].ended
        )

    with_fake(check)


def test_a_process_waits_for_the_batch_that_another_one_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(fake: FakeLLM) -> None:
        first, others = jobs(3), jobs(3)
        for number, job in enumerate(others, 1):
            job.idempotency_key = f"{'cd' * 14}{number:04x}"
        asking = asyncio.ensure_future(ask(first, settings_for(fake)))
        while not (batches := read_batches(state_folder())) or batches[0].state != "submitted":
            await asyncio.sleep(0.01)
        monkeypatch.setattr(lane, "_stores", {})  # as another process, which opens the file for itself
        await ask(others, settings_for(fake))
        await asking
        assert (fake.counts.batches, fake.counts.batch_lines) == (1, 3)
        assert (len(rows(first)), len(rows(others))) == (3, 0)
        assert spent(first) == fake.counts.cost
        assert [len(job.hits) for job in others] == [1, 1, 1]

    with_fake(check, batch_time=0.4)


@pytest.mark.parametrize("model", OFFERS)
def test_a_batch_that_is_cancelled_ends_early_and_is_asked_live(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def check(fake: FakeLLM) -> None:
        asked = jobs(3)
        urls = {"openai": fake.openai_url, "anthropic": fake.anthropic_url}
        monkeypatch.setenv("BATCHMILL_ENDPOINTS", json.dumps(urls))
        await killed_life(asked, settings_for(fake), model, while_it_is_looked_at)
        (batch,) = read_batches(state_folder())
        assert await asyncio.to_thread(command, ["lanes", "list"]) == 0
        assert batch.remote in capsys.readouterr().out
        assert await asyncio.to_thread(command, ["lanes", "cancel", batch.id[:8]]) == 0
        answers = await ask(asked, settings_for(fake), model)
        assert all(answer.text for answer in answers)
        assert (fake.counts.batches, fake.counts.batch_lines, fake.counts.requests) == (1, 0, 3)
        assert spent(asked) == fake.counts.cost
        assert await asyncio.to_thread(command, ["lanes", "cancel", batch.remote]) == 2
        assert "has ended" in capsys.readouterr().err

    with_fake(check, batch_time=300.0)
